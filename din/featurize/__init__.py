"""Point-in-time histories, vocabularies and splits, by one program that several engines run."""

from collections.abc import Callable
from typing import Any

from din.seams import Seam

ENGINES: Seam[Callable[..., Any]] = Seam(
    "engine of features", {"duckdb": "din.featurize.on_duckdb"}, group="din_ctr.engines"
)
"""Openers of a session (`din.featurize.engine.Session`) from the workspace and the megabytes that it may use."""
