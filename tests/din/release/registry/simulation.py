"""Simulated histories of the registry, whose writers interleave, die and lose answers.

The registry's own code runs on a store in memory. Each command is a greenlet that pauses before every call of the
store. A seed decides whose turn it is, who is killed, and which call meets a fault:

    refused    nothing is written, and the store answers 500
    conflict   nothing is written, and the store answers 409
    lost       the write lands, but its answer is lost
    late       no answer, and the write lands some steps later
    twice      the client sends the write twice, so a create then hears that the object exists

Every write and removal must keep the rules of `History`, and every command must end for a reason. Once the faults are
over, every command completes, and gc leaves nothing that no record names.
"""

import json
import math
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import UUID

from greenlet import getcurrent, greenlet
from obstore.exceptions import AlreadyExistsError, GenericError

from din.base.artifacts import MANIFEST, hash_files, write_json
from din.base.errors import GateClosed, InputError, Unavailable
from din.bundle.contents import Verified, verify_bundle
from din.release.registry import objects, registry
from din.release.registry.records import Record, StaleChampion
from din.release.registry.registry import Registry
from tests.factories import documents_of

FOLDER = tempfile.TemporaryDirectory(prefix="simulation-")
LEFTOVER = 2
"""The candidate whose promotion is killed before a history begins."""
HOUR, WEEK, LONGER = timedelta(hours=1), timedelta(days=7), timedelta(days=8)
LONGEST_STEP = timedelta(seconds=8)  # so that no promotion takes as long as the shortest grace period, an hour
MOST_LATE_STEPS = 40


class Killed(BaseException):
    """The end of a process between two steps."""


@cache
def candidate(number: int) -> Verified:
    """Return a bundle on a local disk."""
    directory = Path(FOLDER.name) / str(number)
    write_json(directory / "facts.json", documents_of.facts(model=f"model {number}"))
    write_json(directory / "model.json", number)
    write_json(directory / MANIFEST, {"files": hash_files(directory)})
    return verify_bundle(directory)


class Attempt:
    """One run of a command. `outcome` says how it ended: done, killed, or the name of the error."""

    def __init__(self, history: "History", name: str, command: "Command") -> None:
        self.history = history
        self.name = name
        self.command = command
        self.began = 0  # the number of records then
        self.faults: list[tuple[str, str]] = []  # each with the call that met it
        self.last_call = ""
        self.outcome = "killed"
        self.running = greenlet(self._run)

    def advance(self, kill: bool = False) -> bool:
        """Take the next step, or kill the process instead; return whether there are more steps."""
        self.history.current = self
        if kill and self.running:
            self.running.throw(Killed)
        else:
            self.running.switch()
        return not self.running.dead

    def told(self, record: Record) -> None:
        """Check a record that the command got: it is in the log, and was the newest at some time of the attempt."""
        stored = [own["nonce"] for own in self.history.log[record.number - 1 : record.number]]
        assert stored == [record.nonce], f"lost: {self.name} was told of record {record.number}"
        assert record.number >= self.began, f"stale: {self.name} was told of record {record.number} of {self.began}"

    def _run(self) -> None:
        error: Exception | None = None
        self.began = len(self.history.log)
        try:
            self.command(self, Registry("memory:///", "ads"))
        except Killed:
            return
        except (InputError, Unavailable, GateClosed) as known:
            error = known
        self.outcome = type(error).__name__ if error else "done"
        self.history.note("ends", self.outcome, str(error or ""))
        assert self._has_reason(error), f"exit code: {self.name} met {self.faults} and ended with {self.outcome}"

    def _has_reason(self, error: Exception | None) -> bool:
        """Return whether the command had to end so, by the faults that it met or by the state of the registry."""
        conflict = ("create", "conflict")
        if any(fault[1] != "twice" and fault != conflict for fault in self.faults):
            return isinstance(error, Unavailable)
        if isinstance(error, Unavailable):
            return "being removed" in str(error) or conflict in self.faults
        if isinstance(error, StaleChampion):
            return any(author is not self for author in self.history.authors[self.began :])
        return error is None or (self.began == 0 and "log of promotions is empty" in str(error))


Command = Callable[[Attempt, Registry], None]


def promote(number: int, attempt: Attempt, registry: Registry) -> None:
    """`din gate` and then `din promote`, for a candidate that passes every gate."""
    version = candidate(number).version
    compared = registry.champion()
    log = registry.history()
    champion = log[-1] if log else None
    if champion and champion.version == version:
        registry.seal(champion)
    elif champion != compared:
        raise StaleChampion("the champion is not the one that the gate compared with")
    elif version not in [record.version for record in log]:
        about = {"by": attempt.name, "reason": "gate open", "run_id": f"run-{number}", "evidence": {"dvc.lock": b"l"}}
        promoted = registry.promote(candidate(number).directory, version, champion, **about)
        attempt.told(promoted)
        assert promoted.previous == (compared and compared.version), "it follows a champion that was not compared"
        assert attempt.history.is_sealed(promoted.number), "it has no seal"


def roll_back(to: int, attempt: Attempt, registry: Registry) -> None:
    try:
        attempt.told(registry.rollback(to, by=attempt.name, reason="bad on mobile"))
    except InputError as error:
        if not re.search("no record|is the champion already", str(error)):
            raise


def serve(attempt: Attempt, registry: Registry) -> None:
    """A scoring service that asks for the champion."""
    champion = registry.champion()
    assert champion or not attempt.began, "the champion is lost"
    if champion:
        attempt.told(champion)
        registry.facts(champion.version)


def collect(grace: timedelta, attempt: Attempt, registry: Registry) -> None:
    registry.gc(grace, dry_run=False)


def verify(attempt: Attempt, registry: Registry) -> None:
    if damage := registry.verify():
        raise GateClosed("\n".join(damage))


COMMANDS: dict[str, list[Command]] = {
    "promote": [partial(promote, number) for number in (LEFTOVER, LEFTOVER, 1, 3)],
    "gc": [partial(collect, grace) for grace in (HOUR, WEEK)],
    "rollback": [partial(roll_back, number) for number in (1, 1, 2)],
    "serve": [serve],
    "verify": [verify],
}
RIVALS = (["promote", "gc"], ["promote", "gc"], ["gc", "gc"], ["promote", "promote"])
"""Commands that contend for the same objects."""
ORDERS = ((0.02, False), (0.03, False), (0.05, False), (0.3, True), (1.0, True), (1.0, True))
"""How often another command takes the next step, and whether it is any; otherwise who is interrupted waits for all."""


class History:
    """One history, in the place of the module `obstore`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.strict = self.random.random() < 0.5  # removing a missing object is an error, except on S3
        self.objects: dict[str, tuple[bytes, datetime]] = {}  # with the time of the last write
        self.log: list[dict[str, Any]] = []  # the records in the order in which they landed, each with its hash
        self.authors: list[Attempt | None] = []  # of the records; None if one landed late
        self.named: set[str] = set()  # what must never change or go: records, seals, and all that records name
        self.trace: list[tuple[object, ...]] = []
        self.violation = ""  # the rule that was broken
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.current: Attempt | None = None
        self._fault_rate = 0.0
        self._late: list[tuple[int, Callable[[], None]]] = []

    def put(self, store: object, path: str, file: bytes | Path, *, mode: str = "put") -> None:
        content = file.read_bytes() if isinstance(file, Path) else file

        def land() -> None:
            before, _ = self.objects.get(path, (None, None))
            if before is not None and mode == "create":
                raise AlreadyExistsError(f"{path}: 412 Precondition Failed")
            self.objects[path] = content, self.now
            self._wrote(path, content, before)

        self._write(mode, path, land)

    def delete(self, store: object, path: str) -> None:
        def land() -> None:
            if self.objects.pop(path, None):
                self._removed(path)
            elif self.strict:
                raise FileNotFoundError(path)

        self._write("delete", path, land)

    def get(self, store: object, path: str) -> Iterator[bytes]:
        self.head(store, path, "get")
        return iter([self.objects[path][0]])

    def head(self, store: object, path: str, verb: str = "head") -> None:
        self._step(verb, path, "refused")
        if path not in self.objects:
            raise FileNotFoundError(path)

    def list(self, store: object, prefix: str, offset: str | None) -> SimpleNamespace:
        self._step("list", prefix, "refused")
        paths = sorted(path for path in self.objects if path.startswith(prefix) and path > (offset or ""))
        found = [{"path": path, "last_modified": self.objects[path][1]} for path in paths]
        return SimpleNamespace(collect=lambda: found)

    def _step(self, verb: str, path: str, *faults: str) -> str:
        """Wait for the next turn, and return the fault of a call; one that writes nothing is raised."""
        getcurrent().parent.switch()
        self.now += self.random.random() * LONGEST_STEP
        fault = ""
        if self.random.random() < self._fault_rate * len(faults):
            fault = self.random.choice(faults)
            self.current.faults.append((verb, fault))
        self.current.last_call = verb
        self.note(verb, path, fault)
        self._land(len(self.trace))
        if fault == "conflict":
            raise AlreadyExistsError(f"{path}: 409 Conflict")
        if fault == "refused":
            raise GenericError(f"{path}: 500 Internal Server Error")
        return fault

    def _write(self, verb: str, path: str, land: Callable[[], None]) -> None:
        """Let a write land as its fault has it."""
        fault = self._step(verb, path, "refused", "conflict", "lost", "late", "twice", "twice")
        if fault == "late":
            self._late.append((len(self.trace) + self.random.randrange(1, MOST_LATE_STEPS), land))
        elif fault == "lost":
            with suppress(AlreadyExistsError, FileNotFoundError):
                land()
        else:
            land()
        if fault == "twice":
            land()
        elif fault:
            raise GenericError(f"{path}: error sending request")

    def _land(self, until: float) -> None:
        """Let every late write land that is due."""
        due = [land for at, land in self._late if at <= until]
        self._late = [one for one in self._late if one[0] > until]
        current, self.current = self.current, None
        for land in due:
            with suppress(AlreadyExistsError, FileNotFoundError):
                land()
        self.current = current

    def note(self, *words: object) -> None:
        self.trace.append((f"{self.now:%d %H:%M:%S}", self.current.name if self.current else "", *words))

    def _wrote(self, path: str, content: bytes, before: bytes | None) -> None:
        """Check a write that has just landed."""
        self.note("wrote", path)
        _, area, rest = path.split("/", 2)
        assert path not in self.named or content == before, f"overwritten: {path}"
        if area == "promotions" and before is None:
            self._appended(rest, content)
        elif area == "seals":
            self._stored(f"ads/promotions/{rest[:6]}.json", rest[7:71])
        elif area == "bundles" and rest.endswith(f"/{MANIFEST}"):
            self._bundle(rest.split("/")[0])
        if area in ("promotions", "seals"):
            self.named.add(path)

    def _removed(self, path: str) -> None:
        """Check a removal that has just landed."""
        self.note("removed", path)
        assert path not in self.named, f"a record names what was removed: {path}"
        manifest = "/".join([*path.split("/")[:3], MANIFEST])
        assert "/bundles/" not in path or manifest not in self.objects, f"half a bundle: {path} was removed"

    def is_sealed(self, number: int) -> bool:
        return any(f"/seals/{number:06d}-" in path for path in self.objects)

    def _appended(self, name: str, content: bytes) -> None:
        """Check that a new record follows the newest one, which has a seal, and that all that it names is stored."""
        record = json.loads(content)
        newest = self.log[-1] if self.log else {"number": 0, "version": None, "digest": None}
        number = newest["number"] + 1
        assert (name, record["number"]) == (f"{number:06d}.json", number), f"gap: {name} is not the next record"
        assert (record["parent"], record["previous"]) == (newest["digest"], newest["version"]), f"chain: {name}"
        assert not self.log or self.is_sealed(newest["number"]), f"unsealed: the record before {name}"
        self.named |= self._bundle(record["version"])
        for file, digest in record["files"].items():
            self.named.add(self._stored(f"ads/runs/{record['run_id']}/{file}", digest))
        self.log.append(record | {"digest": sha256(content).hexdigest()})
        self.authors.append(self.current)

    def _bundle(self, version: str) -> set[str]:
        """Check that a bundle is stored whole, and return the paths of its objects."""
        manifest = self._stored(f"ads/bundles/{version}/{MANIFEST}", version)
        files = json.loads(self.objects[manifest][0])["files"]
        return {manifest, *(self._stored(f"ads/bundles/{version}/{name}", files[name]) for name in files)}

    def _stored(self, path: str, digest: str) -> str:
        """Check that an object with a hash is stored, and return its path."""
        assert path in self.objects, f"missing: {path}"
        assert sha256(self.objects[path][0]).hexdigest() == digest, f"differs: {path}"
        return path

    def play(self) -> None:
        """Play a registry with a leftover, then everybody at once, and then everybody in turn without faults."""
        chance = self.random
        for number in range(chance.randrange(3)):
            self._alone("promote", partial(promote, number))
        self._alone("leftover", partial(promote, LEFTOVER), steps=chance.randrange(26))
        self.now += chance.choice((2 * HOUR, LONGER, LONGER))
        self._fault_rate = chance.choice((0.0, 0.01, 0.03, 0.1))
        failed = self._at_once(chance.choice((0.0, 0.0, 0.02, 0.05)), *chance.choice(ORDERS))
        self._fault_rate = 0.0
        self._land(math.inf)
        for attempt in failed:
            self._alone(attempt.name, attempt.command)
        self._alone("serve", serve, complete=True)
        self.now += LONGER
        if chance.random() < 0.5:
            self._alone("promote", partial(promote, LEFTOVER))  # may find the claim of a killed gc
        self._alone("gc", partial(collect, WEEK))
        self._alone("promote", partial(promote, LEFTOVER), complete=True)
        self._alone("verify", verify, complete=True)
        self.now += LONGER
        self._alone("gc", partial(collect, WEEK), complete=True)
        for path in self.objects.keys() - self.named:
            assert path.split("/")[1] not in ("bundles", "runs") and "/removal-" not in path, f"leftover: {path}"

    def _alone(self, name: str, command: Command, steps: int = sys.maxsize, complete: bool = False) -> None:
        """Run a command while nobody else acts, and kill it after a number of steps, or check that it completes."""
        attempt = Attempt(self, name, command)
        while attempt.advance(kill=steps <= 0):
            steps -= 1
        assert attempt.outcome == "done" or not complete, f"rerun: {name} ended with {attempt.outcome}"

    def _at_once(self, kill_rate: float, switch_rate: float, shuffled: bool) -> Sequence[Attempt]:
        """Run two to four commands, one step of one of them at a time; return those that failed and had no rerun."""
        chance = self.random
        kinds = chance.choices([*COMMANDS, "promote", "promote", "gc"], k=chance.choice((2, 3, 3, 4)))
        if chance.random() < 0.5:
            kinds[:2] = chance.choice(RIVALS)
        live = [Attempt(self, f"{kind} {place}", chance.choice(COMMANDS[kind])) for place, kind in enumerate(kinds)]
        failed = []
        while live:
            # A listing may be outdated by the next step, so it is a good moment for others.
            if chance.random() < switch_rate * (4 if live[0].last_call == "list" else 1):
                live.append(live.pop(0))
                if shuffled:
                    chance.shuffle(live)
            attempt = live[0]
            if attempt.advance(kill=chance.random() < kill_rate):
                continue
            live.remove(attempt)
            if attempt.outcome != "done" and chance.random() < 0.5:
                live.append(Attempt(self, f"{attempt.name} again", attempt.command))
            elif attempt.outcome != "done":
                failed.append(attempt)
        return failed


def play(seed: int) -> History:
    """Play the history of a seed, and return it with its trace and the rule that was broken."""
    history = History(seed)
    clock = mock.NonCallableMock(now=lambda zone: history.now)
    with (
        mock.patch.object(objects, "obstore", history),
        mock.patch.object(registry, "datetime", clock),
        mock.patch.object(registry, "uuid4", lambda: UUID(int=history.random.getrandbits(128))),
    ):
        try:
            history.play()
        except Exception as error:
            history.violation = f"{type(error).__name__}: {error}"
    return history
