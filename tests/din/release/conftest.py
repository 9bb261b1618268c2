"""Fixtures of the promotion tests."""

from tests.factories.run import quick, registry, run, steps, workspace

__all__ = ["quick", "registry", "run", "steps", "workspace"]
