"""Threads that score, a bounded queue, and a time limit.

onnxruntime and the C kernels work without Python's lock, so threads score in parallel while the event loop reads and
writes. An overloaded server must not begin work that ends too late: whoever asked for it gets no answer, and neither
does the next one. So a piece of work is refused if it would hardly end in time, and dropped if it can't any more. Both
go by the mean time of the latest pieces.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_LATEST = 16
"""The pieces that the mean time goes by: a new one counts for one in so many."""
_SHARE = 0.75
"""The share of its time in which a piece must be expected to end. The mean is no promise."""


class BusyError(Exception):
    """The queue is full, or a piece would wait too long."""


class LateError(Exception):
    """A request was not answered in time."""


class Workers:
    """Threads for work that would block the event loop.

    Args:
        threads: the pieces of work that are done at once.
        queue: the pieces that may wait.
        clock: returns seconds.

    Attributes:
        taken: the pieces that wait or are being done.
        mean: the mean seconds of the latest pieces.
        begun: when each thread began the piece that it does.
    """

    def __init__(self, threads: int, queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = ThreadPoolExecutor(threads, "score")
        self._threads = threads
        self._most = threads + queue
        self._clock = clock
        self.taken = 0
        self.mean = 0.0
        self.begun: dict[int, float] = {}

    def is_full(self, seconds: float) -> bool:
        """Return whether a piece that must be done within some seconds is refused now."""
        if self.taken < self._threads:  # it would begin at once; else a mean above the limit would never fall again
            return False
        if self.taken >= self._most:
            return True
        now = self._clock()
        begun = list(self.begun.values())
        work = sum(max(0.0, began + self.mean - now) for began in begun) + self.mean * (self.taken - len(begun))
        return work / self._threads + self.mean > _SHARE * seconds

    async def run(self, work: Callable[[], T], seconds: float, left: Callable[[], object]) -> T:
        """Return the result of a piece of work.

        A piece keeps its place, and what it refers to, until a thread has done or dropped it, also if its caller has
        given up. Then `left` is called, or at once if the piece is refused.

        Raises:
            BusyError: the queue is full, or the piece would hardly be done in time.
            LateError: `seconds` have passed. A piece that had to wait and can't be done by then is not begun.
        """
        if self.is_full(seconds):
            left()
            raise BusyError
        loop = asyncio.get_running_loop()
        end = self._clock() + seconds
        waits = self.taken >= self._threads

        def in_time() -> T:
            began = self._clock()
            if began + (self.mean if waits else 0.0) > end:
                raise LateError
            thread = threading.get_ident()
            self.begun[thread] = began
            try:
                return work()
            finally:
                took = self._clock() - self.begun.pop(thread)
                self.mean += (took - self.mean) / _LATEST if self.mean else took

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
