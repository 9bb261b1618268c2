"""One history of a registry: a seed decides who acts, in which order the steps of all interleave, and what fails.

Each actor runs in a greenlet and pauses before every call of the store. Between two steps it may be killed. A killed or
failed command may be run again. Once the faults have ended, all commands run again, one after the other, and must
complete.
"""

import math
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from unittest import mock
from uuid import UUID

from greenlet import greenlet

from din.errors import GateClosed, InputError, Unavailable
from din.registry import objects, registry
from din.registry.registry import Registry

from .actors import Actor, Collector, Judge, Promoter, Reader, Rollback, Verifier, candidate, folder
from .invariants import Rules, Violation
from .outcomes import check_error, check_result
from .store import FAULTS, SimulatedStore, Stored

MODEL = "ads"
URI = "memory:///"
START = datetime(2026, 1, 1, tzinfo=UTC)
LEFTOVER = 2
"""The candidate whose promotion was killed before a history begins."""
_LONGEST_STEP = timedelta(seconds=8)  # so that no promotion takes as long as the shortest grace period, an hour
_MOST_LATE_STEPS = 40
_RERUNS = 2
_READS = ("get", "get file", "head", "list")
_MORE_FAULTS_IN_WRITES = 4
_AFTER_A_LISTING = 4
"""How much likelier another actor's turn is after a listing, which may be outdated by then."""
_KINDS = ("promote", "promote", "promote", "rollback", "read", "gc", "gc", "verify", "judge")
_RIVALS = (("promote", "gc"), ("promote", "gc"), ("gc", "gc"), ("promote", "promote"))
"""Pairs that contend for the same objects."""
_ORDERS = ((0.02, False), (0.03, False), (0.05, False), (0.3, True), (1.0, True), (1.0, True))
"""How often the next step is another actor's, and whether it is any other's."""
LAST_GC = Collector("last-gc", timedelta(days=7))


class Killed(BaseException):
    """The end of a process between two steps."""


@dataclass(eq=False)
class Attempt:
    """One run of an actor's command.

    Attributes:
        actor: the actor.
        number: 1 for the first run, more for reruns.
        began: the number of records when it began.
        faults: the faults that it met, in order.
        last: its last call.
        outcome: how it ended: done, killed, or the name of the error.
        running: the greenlet; None for a command that runs alone.
    """

    actor: Actor
    number: int = 1
    began: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    last: str = ""
    outcome: str = ""
    running: greenlet | None = None


@dataclass
class Snapshot:
    """A registry before a history begins."""

    objects: dict[str, Stored]
    rules: Rules


class World:
    """The state of one history: the objects, the clock, the faults and late writes still to come, and the trace.

    `counts` holds how often each step, fault and end of a command occurred, and `violation` the rule that was broken.
    """

    def __init__(self, seed: int, before: Snapshot | None = None) -> None:
        self.random = random.Random(seed)
        self.objects = dict(before.objects) if before else {}
        self.rules = before.rules.copy(self.objects) if before else Rules(self.objects)
        self.now = START
        self.trace: list[tuple[Any, ...]] = []
        self.steps = 0
        self.fault_rate = 0.0
        self.recorded: list[Snapshot] | None = None
        self.counts: Counter[str] = Counter()
        self.violation: str | None = None
        self.current: Attempt | None = None
        self._pending: list[tuple[int, Callable[[], object]]] = []

    def step(self, verb: str, path: str) -> str | None:
        attempt = self.current
        if attempt and attempt.running:
            attempt.running.parent.switch()
        if self.recorded is not None:
            self.recorded.append(Snapshot(dict(self.objects), self.rules.copy({})))
        self.steps += 1
        self.counts["steps"] += 1
        self.now += self.random.random() * _LONGEST_STEP
        fault = None
        rate = self.fault_rate if verb in _READS else _MORE_FAULTS_IN_WRITES * self.fault_rate
        if rate and self.random.random() < rate:
            fault = self.random.choice(FAULTS[verb])
            self.counts[f"fault {fault}"] += 1
            if attempt:
                attempt.faults.append((verb, fault))
        if attempt:
            attempt.last = verb
        self.note(verb, path, fault or "")
        self.land(self.steps)
        return fault

    def note(self, *words: object) -> None:
        name = f"{self.current.actor.name}/{self.current.number}" if self.current else "the store"
        self.trace.append((self.now, name, *words))

    def postpone(self, landing: Callable[[], object]) -> None:
        self._pending.append((self.steps + self.random.randrange(1, _MOST_LATE_STEPS), landing))

    def land(self, until: float) -> None:
        """Let everything land that is due until a step."""
        due = [landing for at, landing in self._pending if at <= until]
        self._pending = [one for one in self._pending if one[0] > until]
        current, self.current = self.current, None
        for landing in due:
            landing()
        self.current = current

    def wrote(self, path: str, before: Stored | None) -> None:
        self.note("written" if before is None else "written again", path)
        self.rules.wrote(path, before, self.current)

    def deleted(self, path: str) -> None:
        self.note("removed", path)
        self.rules.deleted(path)

    def lines(self) -> list[str]:
        """Return one readable line for each event."""
        return [f"{at:%d %H:%M:%S}  {' '.join(map(str, words))}" for at, *words in self.trace]

    def uuid(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))


_worlds: list[World] = []
"""The world of the history in progress, last."""


class _Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return _worlds[-1].now


@contextmanager
def simulated(world: World, strict: bool) -> Iterator[None]:
    """Replace the store, the clock and the random ids of the registry."""
    _worlds.append(world)
    with (
        mock.patch.object(objects, "obstore", SimulatedStore(world, strict)),
        mock.patch.object(registry, "datetime", _Clock),
        mock.patch.object(registry, "uuid4", world.uuid),
    ):
        yield
    _worlds.pop()


def promoter(number: int, worker: str = "") -> Promoter:
    """Return the promoter of a candidate; two workers may run the same one."""
    return Promoter(f"promoter-{number}{worker}", candidate(number), f"run-{number}")


@cache
def snapshots() -> list[Snapshot]:
    """Return registries of none, one or two champions, and of a further promotion killed before each of its steps."""
    found: list[Snapshot] = []
    for champions in range(3):
        world = World(0)
        with simulated(world, strict=False):
            for number in range(champions):
                promoter(number).act(Registry(URI, MODEL))
                Judge("first-judge", candidate(number + 1)).act(Registry(URI, MODEL))
            world.recorded = found
            promoter(LEFTOVER).act(Registry(URI, MODEL))
    return found


def play(seed: int) -> World:
    """Play the history of a seed."""
    plan = random.Random(seed)
    world = World(seed, plan.choice(snapshots()))
    world.now += plan.choice((timedelta(minutes=30), timedelta(hours=2), timedelta(days=9), timedelta(days=9)))
    if plan.random() < 0.15:
        _damage(world.rules, plan)
    shutil.rmtree(folder() / "readers", ignore_errors=True)
    actors = _cast(plan)
    with simulated(world, strict=plan.random() < 0.5):
        try:
            world.fault_rate = plan.choice((0.0, 0.01, 0.03, 0.1))
            kill_rate = plan.choice((0.0, 0.0, 0.02, 0.05))
            switch_rate, shuffled = plan.choice(_ORDERS)
            failed = _interleave(world, actors, kill_rate, switch_rate, shuffled)
            world.fault_rate = 0.0
            _recover(world, failed)
        except Violation as error:
            world.violation = str(error)
    return world


def _damage(rules: Rules, plan: random.Random) -> None:
    """Damage a file of a bundle that is not the champion's, or a look."""
    champion = rules.log[-1]["version"] if rules.log else ""
    files = [path for path in rules.objects if path.endswith("model.onnx") and champion not in path.split("/")]
    files += [path for path in rules.objects if "/looks/" in path]
    if files:
        rules.damage(plan.choice(sorted(files)))


def _cast(plan: random.Random) -> list[Actor]:
    """Choose two to four actors, often two that rarely meet in a harmful way by chance."""
    cast: list[Actor] = []
    kinds = [plan.choice(_KINDS) for _ in range(plan.choice((2, 3, 3, 4)))]
    if plan.random() < 0.5:
        kinds[:2] = plan.choice(_RIVALS)
    for place, kind in enumerate(kinds):
        if kind == "promote":
            cast.append(promoter(plan.choice((LEFTOVER, LEFTOVER, 1, 3)), "abcd"[place]))
        elif kind == "rollback":
            cast.append(Rollback(f"rollback-{place}", to=plan.choice((1, 1, 2))))
        elif kind == "judge":
            cast.append(Judge(f"judge-{place}", candidate(plan.choice((LEFTOVER, 1, 3, 3)))))
        elif kind == "read":
            cast.append(Reader(f"reader-{place}", folder() / "readers" / str(place)))
        elif kind == "gc":
            cast.append(Collector(f"gc-{place}", plan.choice((timedelta(hours=1), timedelta(days=7)))))
        else:
            cast.append(Verifier(f"verifier-{place}"))
    return cast


def _interleave(world: World, actors: list[Actor], kill_rate: float, switch_rate: float, shuffled: bool) -> list[Actor]:
    """Run all actors at once, one step of one of them at a time, and return those whose last run failed.

    Some that fail are run again at once.

    Args:
        world: the surroundings.
        actors: the actors.
        kill_rate: how often a process is killed instead of taking a step.
        switch_rate: how often another actor takes the next step.
        shuffled: whether it is any other actor; otherwise the one that was interrupted waits for all others.
    """
    failed: list[Actor] = []
    live = [_start(world, Attempt(actor)) for actor in actors]
    while live:
        if world.random.random() < switch_rate * (_AFTER_A_LISTING if live[0].last == "list" else 1):
            live.append(live.pop(0))
            if shuffled:
                world.random.shuffle(live)
        attempt = live[0]
        world.current = attempt
        assert attempt.running is not None
        if attempt.running and world.random.random() < kill_rate:
            attempt.running.throw(Killed)
        else:
            attempt.running.switch()
        if attempt.running.dead:
            live.remove(attempt)
            if attempt.outcome != "done" and attempt.number <= _RERUNS and world.random.random() < 0.5:
                live.append(_start(world, Attempt(attempt.actor, attempt.number + 1)))
            elif attempt.outcome != "done":
                failed.append(attempt.actor)
    world.current = None
    return failed


def _start(world: World, attempt: Attempt) -> Attempt:
    attempt.running = greenlet(lambda: _run(world, attempt))
    return attempt


def _run(world: World, attempt: Attempt) -> None:
    """Run a command to its end, and check how it ended."""
    attempt.began = len(world.rules.log)
    result: object = None
    error: Exception | None = None
    try:
        result = attempt.actor.act(Registry(URI, MODEL))
    except Killed:
        attempt.outcome = "killed"
    except (InputError, Unavailable, GateClosed) as known:
        error = known
        attempt.outcome = type(known).__name__
    except Violation:
        raise
    except Exception:
        raise Violation(f"bug: {attempt.actor.name} ended with {traceback.format_exc(limit=-3)}") from None
    else:
        attempt.outcome = "done"
    world.note("ends", attempt.outcome, str(error) if error else "")
    world.counts[f"command {attempt.outcome}"] += 1
    if attempt.outcome == "done":
        check_result(world.rules, attempt, result)
    elif error:
        check_error(world.rules, attempt, error)


def _recover(world: World, failed: list[Actor]) -> None:
    """Without faults, every command completes, the registry is sound, and gc removes all leftovers."""
    world.land(math.inf)
    for actor in failed:
        _alone(world, actor)
    if world.random.random() < 0.5:
        for actor in (Reader("last-reader", folder() / "readers" / "0"), Verifier("last-verifier")):
            _complete(world, actor)
    else:
        world.now += timedelta(days=8)
        _alone(world, LAST_GC)
        _complete(world, promoter(LEFTOVER))
        world.now += timedelta(days=8)
        if _complete(world, LAST_GC) == "done":
            world.rules.check_end()


def _complete(world: World, actor: Actor) -> str:
    outcome = _alone(world, actor)
    blocked = outcome == "InputError" and world.rules.damaged
    if outcome not in ("done", "GateClosed") and not blocked:
        raise Violation(f"rerun: {actor.name} ended with {outcome} after all faults were over")
    return outcome


def _alone(world: World, actor: Actor) -> str:
    attempt = world.current = Attempt(actor, number=9)
    _run(world, attempt)
    world.current = None
    return attempt.outcome
