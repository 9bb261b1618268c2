"""Fixtures of the registry tests."""

from tests.factories.run import quick, registry, run, workspace

__all__ = ["quick", "registry", "run", "workspace"]
