"""Work that would end too late is not begun, by a planted clock."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from din_loop.server.workers import BusyError, LateError, Workers

TIMEOUT = 2.0
SECONDS = 0.125


@dataclass
class Office:
    """One thread, whose pieces take as long as they say, and the pieces in the order in which they began and left."""

    now: float = 0.0
    begun: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.workers = Workers(1, 64, lambda: self.now)

    def piece(self, name: str, seconds: float = SECONDS, timeout: float = TIMEOUT) -> Awaitable[None]:
        def work() -> None:
            self.begun.append(name)
            if name == "gate":
                self.gate.wait(10)
            self.now += seconds

        return asyncio.ensure_future(self.workers.run(work, timeout, lambda: self.left.append(name)))


def run(day: Callable[[Office], Awaitable[None]]) -> Office:
    """Return the office after a day that begins with one piece."""
    office = Office()

    async def whole() -> None:
        await office.piece("first")
        await day(office)

    asyncio.run(whole())
    office.workers.close()
    return office


def test_a_piece_that_would_wait_too_long_is_refused() -> None:
    """Three quarters of two seconds are twelve pieces of an eighth. What the first has done makes room for another."""

    async def day(office: Office) -> None:
        pieces = [office.piece("gate"), *(office.piece(f"{number}") for number in range(10))]
        while not office.workers.begun or office.workers.taken < len(pieces):
            await asyncio.sleep(0)
        assert not office.workers.is_full(TIMEOUT)
        pieces.append(office.piece("10"))
        await asyncio.sleep(0)
        assert office.workers.is_full(TIMEOUT) and not office.workers.is_full(2 * TIMEOUT)
        with pytest.raises(BusyError):
            await office.piece("refused")
        assert office.left == ["first", "refused"]
        office.now += SECONDS
        assert not office.workers.is_full(TIMEOUT)
        office.gate.set()
        await asyncio.gather(*pieces)

    assert run(day).begun == ["first", "gate", *map(str, range(11))]


def test_a_piece_that_can_no_longer_end_in_time_is_dropped() -> None:
    """The one before took longer than the mean. The next one, which can, is done, and all leave."""

    async def day(office: Office) -> None:
        slow = office.piece("gate", 1.95)
        late = office.piece("late")
        fits = office.piece("fits", timeout=4.0)
        office.gate.set()
        await asyncio.gather(slow, fits)
        with pytest.raises(LateError):
            await late

    office = run(day)
    assert (office.begun, office.left) == (["first", "gate", "fits"], ["first", "gate", "late", "fits"])


def test_a_mean_above_the_limit_stops_nobody_for_ever() -> None:
    """A thread that is free begins whatever comes, so quick pieces bring the mean down again."""

    async def day(office: Office) -> None:
        await office.piece("slow", 100 * TIMEOUT)
        assert office.workers.mean > TIMEOUT
        for number in range(100):
            assert not office.workers.is_full(TIMEOUT)
            await office.piece(f"{number}")
        assert office.workers.mean < 2 * SECONDS

    run(day)
