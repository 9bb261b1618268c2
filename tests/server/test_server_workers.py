"""Threads that score: a full queue and a late answer are errors, and places are given back."""

import asyncio
import threading

import pytest

from din.server.workers import BusyError, LateError, Workers


@pytest.fixture
def blocked():
    """Return workers with one thread and room for one more, whose thread waits for the event."""
    workers = Workers(threads=1, queue=1)
    release = threading.Event()
    yield workers, release
    release.set()
    workers.close()


def test_a_full_queue(blocked) -> None:
    """One piece works, one waits, and a third is refused at once; afterwards there is room again."""
    workers, release = blocked

    async def scenario() -> None:
        first = asyncio.create_task(workers.run(release.wait, 10))
        second = asyncio.create_task(workers.run(lambda: 2, 10))
        await asyncio.sleep(0.01)
        with pytest.raises(BusyError):
            await workers.run(lambda: 3, 10)
        release.set()
        assert (await first, await second) == (True, 2)
        await asyncio.sleep(0.01)
        assert await workers.run(lambda: 4, 10) == 4
        await asyncio.sleep(0.01)
        assert workers.taken == 0

    asyncio.run(scenario())


def test_late_work_is_not_done(blocked) -> None:
    """A piece that waits too long is an error, and never begins."""
    workers, release = blocked
    done = []

    async def scenario() -> None:
        first = asyncio.create_task(workers.run(release.wait, 10))
        await asyncio.sleep(0.01)
        with pytest.raises(LateError):
            await workers.run(lambda: done.append(1), 0.05)
        release.set()
        await first
        await workers.run(lambda: None, 10)
        await asyncio.sleep(0.01)
        assert workers.taken == 0

    asyncio.run(scenario())
    assert done == []


def test_an_error_is_the_callers(blocked) -> None:
    """An error of the work reaches its caller."""
    workers, _ = blocked
    with pytest.raises(ZeroDivisionError):
        asyncio.run(workers.run(lambda: 1 // 0, 10))
