"""Readers of click logs: one module per log format, and one writer and one set of checks for `data/raw/`."""

from collections.abc import Callable
from typing import Any

from din.seams import Seam

SOURCES: Seam[Callable[..., Any]] = Seam(
    "source",
    {
        "movielens-100k": "din.sources.movielens",
        "movielens": "din.sources.movielens",
        "amazon-reviews": "din.sources.amazon_reviews",
        "kuairand-pure": "din.sources.kuairand",
        "taobao-ads": "din.sources.taobao_ads",
        "served": "din.sources.served",
        "table": "din.sources.by_day",
        "simulate": "din.sources.daily_simulation",
    },
)
"""Makers of sources (`din.sources.source.Source`) from the workspace, the source's own parameters and `data.until`."""
