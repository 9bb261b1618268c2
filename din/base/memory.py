"""The memory that this process may use: the machine's, or less if a container bounds it."""

import os
from collections.abc import Iterable
from pathlib import Path

from din.base import cores

_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""The files of cgroups, of versions 2 and 1."""


def available_mb(groups: Iterable[Path] | None = None) -> float:
    """Return the smallest of the machine's memory and the limits of cgroups, in MB.

    Args:
        groups: the folders of the cgroups, by default those around this process.
    """
    folders = cores.groups("memory") if groups is None else groups
    files = [folder / name for folder in folders for name in _LIMITS]
    limits = [file.read_text("utf-8").strip() for file in files if file.is_file()]
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([whole, *(int(limit) for limit in limits if limit.isdecimal())]) / 1e6
