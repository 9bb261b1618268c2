"""The reader of a user's own log, and the writer and the checks of `data/raw/` for all sources; see also `din_logs`."""

from collections.abc import Callable
from typing import Any

from din.seams import Seam

SOURCES: Seam[Callable[..., Any]] = Seam("source", {"table": "din.data.by_day"}, group="din_ctr.sources")
"""Makers of sources (`din.data.source.Source`) from the workspace, the source's own parameters and `data.until`."""
