"""A run, its registry and quick judging, for the tests of gates, registry and promotion."""

from tests.factories.run import quick, registry, run, steps, workspace

__all__ = ["quick", "registry", "run", "steps", "workspace"]
