"""Fixtures of the promotion tests."""

from miniature_fixtures import quick, registry, run, steps, workspace

__all__ = ["quick", "registry", "run", "steps", "workspace"]
