"""Readers of click logs: one module per log format, and one writer and one set of checks for `data/raw/`."""

from collections.abc import Callable
from typing import Any

from din.seams import Seam

SOURCES: Seam[Callable[..., Any]] = Seam(
    "source",
    {
        "movielens-100k": "din.data.movielens",
        "movielens": "din.data.movielens",
        "table": "din.data.by_day",
    },
    group="din_ctr.sources",
)
"""Makers of sources (`din.data.source.Source`) from the workspace, the source's own parameters and `data.until`."""
