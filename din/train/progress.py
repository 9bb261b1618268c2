"""Progress of long work: a bar on a terminal, a log line now and then elsewhere (schedulers' logs have no cursor)."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def track(elements: Iterable[T], total: int, description: str, done: int = 0) -> Iterator[T]:
    """Yield `elements`, showing how many of `total` are through; `done` were before."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total, completed=done)
            for element in elements:
                yield element
                bar.advance(task)
        return
    said = time.monotonic()
    for count, element in enumerate(elements, done + 1):
        yield element
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{description}: {count} of {total} batches", flush=True)
