"""Progress of long work with its rate and the time left.

A terminal gets one line that updates and goes away at the end, on standard error. A log, where no line can be redrawn,
gets a line after ten seconds and then ever more rarely, so that a day of work leaves fewer than a hundred.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

T = TypeVar("T")

SECONDS_TO_FIRST_LINE = 10.0
_GROWTH = 1.1
"""The time of a line in a log divided by the time of the line before, at least."""


@contextmanager
def progress(total: float | None, description: str, unit: str, done: float = 0) -> Iterator[Callable[[float], None]]:
    """Yield a function that adds to the work done.

    Args:
        total: all of the work, or None if it is not known.
        description: names the work.
        unit: what is counted, in the plural.
        done: the work that was done before.
    """
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), _Numbers(unit))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total, completed=int(done))
            yield lambda amount: bar.advance(task, amount)
        return
    lines = _Lines(total, description, unit, done)
    yield lines.advance


def track(elements: Iterable[T], total: int, description: str, unit: str = "batches", done: int = 0) -> Iterator[T]:
    """Yield `elements` and show how many of `total` are done; see `progress`."""
    with progress(total, description, unit, done) as advance:
        for element in elements:
            yield element
            advance(1)


def in_words(done: float, total: float | None, unit: str, per_second: float | None) -> str:
    """Return e.g. `1,200 of 9,000 batches, 130/s, 0:01:00 left`, without the parts that are not known."""
    parts = [f"{done:,.0f} {unit}" if total is None else f"{done:,.0f} of {total:,.0f} {unit}"]
    if per_second:
        parts.append(f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s")
    if per_second and total is not None:
        parts.append(f"{timedelta(seconds=round(max(total - done, 0) / per_second))} left")
    return ", ".join(parts)


class _Numbers(ProgressColumn):
    """The numbers beside a terminal's bar."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(in_words(task.completed, task.total, self.unit, task.speed))


class _Lines:
    """The lines of a log."""

    def __init__(self, total: float | None, description: str, unit: str, done: float) -> None:
        self.total = total
        self.description = description
        self.unit = unit
        self.before = done
        self.done = done
        self.began = time.monotonic()
        self.due = SECONDS_TO_FIRST_LINE

    def advance(self, amount: float) -> None:
        self.done += amount
        seconds = time.monotonic() - self.began
        if seconds > self.due:
            self.due = max(seconds * _GROWTH, seconds + SECONDS_TO_FIRST_LINE)
            per_second = (self.done - self.before) / seconds
            print(f"{self.description}: {in_words(self.done, self.total, self.unit, per_second)}", flush=True)
