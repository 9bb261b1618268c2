"""Progress of long work with its rate and the time left, by tqdm.

On a terminal, one line on standard error updates and disappears at the end. A log, where no line can be redrawn, gets a
line after ten seconds and then ever more rarely, so that a day of work leaves fewer than a hundred.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

SECONDS_TO_FIRST_LINE = 10.0
_GROWTH = 0.1
"""The time from one line of a log to the next, as a share of the time until the first of the two."""


def progress(total: int, description: str, unit: str, **options: Any) -> "tqdm[Any]":
    """Return a context manager whose `update` adds to the work done.

    Args:
        total: the amount of work.
        description: the name of the work.
        unit: the unit of the amount, in the singular.
        options: further options of tqdm, e.g. `initial`, the work that was done before.
    """
    bar = tqdm if sys.stderr.isatty() else _Lines
    return bar(total=total, desc=description, unit=unit, leave=False, **options)


def track(elements: Iterable[T], total: int, description: str, unit: str = "batch", done: int = 0) -> Iterator[T]:
    """Yield `elements` and show how many of `total` are done; see `progress`."""
    with progress(total, description, unit, initial=done) as bar:
        for element in elements:
            yield element
            bar.update()


class _Lines(tqdm):
    """The lines of a log. They state the mean rate, and every update checks the clock."""

    def __init__(self, **options: Any) -> None:
        wait = SECONDS_TO_FIRST_LINE
        super().__init__(**options, delay=wait, mininterval=wait, miniters=1, smoothing=0, ncols=0)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print a line. Print nothing for an empty message, which would clear the line of a terminal."""
        if msg is None:
            print(self, flush=True)
            self.mininterval = max(SECONDS_TO_FIRST_LINE, _GROWTH * self.format_dict["elapsed"])
