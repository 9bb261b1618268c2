"""Log what was answered, off the path of the answer.

Answers wait in memory for at most a quarter of a second. One thread in each process appends them to an open file, so a
kill loses what waited and no more. When its hour is over, or it is large, the open file is published.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pyarrow as pa
from pydantic_core import to_json

from din.base.errors import InputError
from din.bundle.scorer import Request
from din.kinds import text
from din.schema import ITEM_ID, USER_ID
from din_loop.served_log import OPEN, SCHEMA, pseudonym, publish, read_key
from din_loop.server import metrics
from din_loop.server.answers import Answer
from din_loop.server.settings import Settings

_LOG = logging.getLogger("din_loop.server")
_WAIT = 0.25
"""The seconds between two turns of the thread."""
_MOST_WAITING = 200_000_000
"""The bytes that the parsed requests of bodies that wait for the thread may take."""
_MOST_OPEN = 64_000_000
"""The bytes at which an open file is published before its hour is over."""


@dataclass(frozen=True)
class Scored:
    """A request of the sample, and its answer.

    Attributes:
        at: seconds since 1970.
        version: of the bundle that answered.
    """

    at: float
    version: str
    request: Request
    request_id: str
    probabilities: list[float]


class AnswerLog:
    """The log of one process.

    Args:
        folder: shared by all processes.
        share: of the users, chosen by a hash of their id. A request without a user counts as a user of its own.
        key: a file with the key of the hashes that replace the ids of users. None: ids are logged.
        clock: returns seconds since 1970.
        whose: the champion's or the challenger's, for figures.

    Raises:
        InputError: the folder can't be written, or the key can't be read.
    """

    def __init__(
        self,
        folder: Path,
        share: float = 1.0,
        key: str | None = None,
        clock: Callable[[], float] = time.time,
        whose: str = "champion",
    ) -> None:
        try:
            (folder / OPEN).mkdir(parents=True, exist_ok=True)
            problem = None if os.access(folder / OPEN, os.W_OK) else "not writable"
        except OSError as error:
            problem = error.strerror
        if problem:
            raise InputError(f"--log {folder}: {problem}; expected a folder to write to")
        pa.array([""])  # imports pandas, if it is there; a thread that did so would write nothing for a second
        self._folder = folder
        self._share = share
        self._key = read_key(key) if key else None
        self._clock = clock
        self._logged = metrics.LOGGED.labels(whose)
        self._lost = metrics.LOG_LOST.labels(whose)
        self._lock = threading.Lock()
        self._waiting: list[Scored] = []
        self._bytes = 0
        self._open: _Open | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._publish()

    @classmethod
    def of(cls, settings: Settings, below: str = "", whose: str = "champion") -> Self | None:
        """Return the log that the options name, if they name one, or one in a folder below it."""
        if settings.log is None:
            return None
        return cls(Path(settings.log, below), settings.log_share, settings.log_key, whose=whose)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def drawn(self, answer: Answer) -> list[Scored]:
        """Return the requests of users in the sample. A long list takes a while, so don't call it in the event loop."""
        at = self._clock()
        parts = zip(answer.requests, answer.ids, answer.probabilities, strict=True)
        answered = [Scored(at, answer.version, request, name, scores) for request, name, scores in parts]
        return [scored for scored in answered if self._is_drawn(scored)]

    def put(self, drawn: list[Scored], size: int) -> None:
        """Log requests of a body that takes `size` bytes once parsed soon, or drop and count them if too many wait."""
        if not drawn:
            return
        with self._lock:
            if not self._bytes or self._bytes + size <= _MOST_WAITING:
                self._waiting += drawn
                self._bytes += size
                return
        self._lost.inc(len(drawn))

    def close(self) -> None:
        """Write and publish all that waits, and end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_WAIT):
            self._turn()
        self._turn()
        self._publish()

    def _turn(self) -> None:
        """Write what waits, and publish the open file if it is due."""
        with self._lock:
            waiting = self._waiting
            size = self._bytes
            self._waiting = []
        for hour, scored in groupby(sorted(waiting, key=attrgetter("at")), lambda answer: _hour(answer.at)):
            self._write(hour, list(scored))
        with self._lock:
            self._bytes -= size
        if self._open and (self._open.hour < _hour(self._clock()) or self._open.size > _MOST_OPEN):
            self._publish()

    def _write(self, hour: str, scored: list[Scored]) -> None:
        try:
            if self._open and self._open.hour != hour:
                self._publish()
            self._open = self._open or _Open(self._folder, hour)
            self._open.append([self._row(answer) for answer in scored])
            self._logged.inc(len(scored))
        except Exception as error:  # e.g. a full disk, or an unexpected one; what follows would be unreadable
            expected = isinstance(error, OSError | pa.ArrowException)
            self._lost.inc(len(scored))
            _LOG.error("the log in %s lost %d answers: %s", self._folder, len(scored), error, exc_info=not expected)
            self._leave()

    def _publish(self) -> None:
        self._leave()
        for problem in publish(self._folder):
            _LOG.error("the log in %s can't be published yet: %s", self._folder, problem)

    def _leave(self) -> None:
        if self._open:
            with contextlib.suppress(OSError, pa.ArrowException):  # of a full disk; the rows before are readable
                self._open.close()
            self._open = None

    def _is_drawn(self, scored: Scored) -> bool:
        """Return whether the request's user is in the sample."""
        drawn = sha256((_id(scored.request.get("user") or {}, USER_ID) or scored.request_id).encode()).digest()[:8]
        return int.from_bytes(drawn) < self._share * 2**64

    def _row(self, scored: Scored) -> dict[str, Any]:
        request = scored.request
        user = request.get("user") or {}
        user_id = _id(user, USER_ID)
        if self._key and USER_ID in user:
            user_id = user_id and pseudonym(self._key, user_id)
            request = {**request, "user": {**user, USER_ID: user_id}}
        return {
            "request_id": scored.request_id,
            "answered_at": datetime.fromtimestamp(scored.at, UTC).replace(tzinfo=None),
            "version": scored.version,
            "user_id": user_id,
            "hashed": self._key is not None,
            "request": to_json(request, inf_nan_mode="null").decode(),
            "items": [_id(candidate, ITEM_ID) for candidate in request["candidates"]],
            "probabilities": scored.probabilities,
        }


class _Open:
    """The open file of a process, of one hour."""

    def __init__(self, folder: Path, hour: str) -> None:
        self.hour = hour
        name = f"{hour}-{uuid4().hex}"
        unlocked = folder / OPEN / f".tmp-{name}"
        self._path = folder / OPEN / f"{name}.arrows"
        self._is_empty = True
        self._file = unlocked.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(self._path)  # visible once it is locked
        self._stream = pa.ipc.new_stream(self._file, SCHEMA)

    @property
    def size(self) -> int:
        """The bytes written."""
        return self._file.tell()

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Write rows, so that they outlive the process."""
        self._stream.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
        self._file.flush()
        self._is_empty = False

    def close(self) -> None:
        """End the file, which unlocks it, or remove it if it has no row."""
        if self._is_empty:
            self._path.unlink()
        with self._file:
            self._stream.close()


def _hour(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H")


def _id(entry: Any, key: str) -> str | None:
    """Return the id of a user, or of a candidate, as text; None if it has none that is a text or a number."""
    value = entry.get(key) if isinstance(entry, dict) else entry
    try:
        return text(value)
    except InputError:
        return None
