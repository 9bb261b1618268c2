"""Progress of long work: a bar on a terminal, and a line now and then elsewhere, where a log can't redraw a bar."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def track(elements: Iterable[T], total: int, description: str, done: int = 0) -> Iterator[T]:
    """Yield `elements` and show how many of `total` are done.

    Args:
        done: how many were done before.
    """
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total, completed=done)
            for element in elements:
                yield element
                bar.advance(task)
        return
    last_line = time.monotonic()
    for count, element in enumerate(elements, done + 1):
        yield element
        if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            print(f"{description}: {count} of {total} batches", flush=True)
