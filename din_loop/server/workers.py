"""Threads that score, a bounded queue, and a time limit.

onnxruntime works without Python's lock, so threads score in parallel while the event loop reads and writes.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """The queue is full."""


class LateError(Exception):
    """A request was not answered in time."""


class Workers:
    """Threads for work that would block the event loop.

    Args:
        threads: the pieces of work that are done at once.
        queue: the pieces that may wait.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "score")
        self._most = threads + queue
        self.taken = 0

    async def run(self, work: Callable[[], T], seconds: float, left: Callable[[], object]) -> T:
        """Return the result of a piece of work.

        A piece keeps its place, and what it refers to, until a thread has done or dropped it, also if its caller has
        given up. Then `left` is called, or at once if the queue is full.

        Raises:
            BusyError: the queue is full.
            LateError: `seconds` have passed. A piece that has not begun by then is not done.
        """
        if self.taken >= self._most:
            left()
            raise BusyError
        loop = asyncio.get_running_loop()
        end = time.monotonic() + seconds

        def in_time() -> T:
            if time.monotonic() > end:
                raise LateError
            return work()

        self.taken += 1
        future = self._pool.submit(in_time)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave, left))
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # seen, so it is not logged
        done, _ = await asyncio.wait({waiting}, timeout=max(0.0, seconds))  # cancels nothing: the pool would keep it
        if not done:
            raise LateError
        return waiting.result()

    def close(self) -> None:
        """End the threads, after the pieces that have begun."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self, left: Callable[[], object]) -> None:
        self.taken -= 1
        left()
