"""Wait for a call that may never return."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises.

    It runs in a daemon thread, since neither the look-up of a host's name nor an answer that comes byte by byte has a
    limit of time.

    Raises:
        TimeoutError: it has not returned after this time. Its thread goes on.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future.result(seconds)
