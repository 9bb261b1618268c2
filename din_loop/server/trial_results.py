"""Files that tell all server processes of a machine which bundles have answered, and which failed their trial.

    ~/.cache/din-ctr/bundles/trials/<digest>/<nonce>.passed.json    the record
                                            /<nonce>.failed.json    the record, the reason, and the packages' releases

The files outlive the processes, so a new one does not answer with a bundle that clients made another one refuse, and
can start while the registry is away or its champion is damaged.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from din.base import documents
from din.base.artifacts import write_json
from din.base.errors import InputError
from din.base.names import Version
from din.release.registry.records import Record

_LOG = logging.getLogger("din_loop.server")
_PASSED = 32
"""The most records that passed to keep. Those that failed all stay, because a failure holds until the next record."""
_RUNTIME = ", ".join(f"{name} {version(name)}" for name in ("din-ctr", "numpy", "onnxruntime"))

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """A record whose bundle failed its trial, why, and the releases of the packages that tried it."""

    __pydantic_config__ = documents.STRICT

    record: Record
    reason: str
    runtime: str


class TrialResults:
    """The results for a model of the registry at `uri`, in the cache of bundles, which may not be writable."""

    def __init__(self, cache: Path, uri: str, model: str) -> None:
        place = uri if "://" in uri else Path(uri).expanduser().resolve()
        self._folder = cache / "trials" / sha256(f"{place}/{model}".encode()).hexdigest()

    def add_passed(self, record: Record) -> None:
        """Note that the bundle of a record answers."""
        self._write(f"{record.nonce}.passed.json", record)

    def add_failed(self, record: Record, reason: str) -> None:
        """Note that no process of this machine should answer with the bundle of a record."""
        self._write(f"{record.nonce}.failed.json", Failure(record, reason, _RUNTIME))

    def passed(self) -> list[Record]:
        """Return the records whose bundles have answered, the newest first."""
        return sorted(self._read(Record, "*.passed.json"), key=lambda record: record.number, reverse=True)

    def failed(self) -> dict[Version, int]:
        """Return the versions that failed a trial, each with the number of the newest of its records that failed."""
        records = [failure.record for failure in self._failures("*.failed.json")]
        return {record.version: record.number for record in sorted(records, key=lambda record: record.number)}

    def reason(self, record: Record) -> str | None:
        """Return why the bundle of a record failed its trial, or None if it has not."""
        return next((failure.reason for failure in self._failures(f"{record.nonce}.failed.json")), None)

    def _failures(self, pattern: str) -> Iterator[Failure]:
        return (failure for failure in self._read(Failure, pattern) if failure.runtime == _RUNTIME)

    def _read(self, expected: type[T], pattern: str) -> Iterator[T]:
        for path in self._folder.glob(pattern):
            with contextlib.suppress(InputError):  # removed or cut
                yield documents.read(expected, path)

    def _write(self, name: str, content: Any) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=self._folder) as folder:  # other processes write the same file at the same time
                write_json(Path(folder, name), content)
                Path(folder, name).replace(self._folder / name)
        except OSError as error:
            _LOG.warning("%s: %s; the next process will not know this result", self._folder, error.strerror)
        with contextlib.suppress(OSError):  # another process removes them too
            passed = sorted(self._folder.glob("*.passed.json"), key=lambda path: path.stat().st_mtime)
            for path in passed[:-_PASSED]:
                path.unlink(missing_ok=True)


def by_preference(log: Sequence[Record], passed: Collection[Record], failed: Mapping[Version, int]) -> list[Record]:
    """Return the newest record of each version that may answer, the best one to fall back to first.

    Versions that a rollback replaced come last. Those that have answered on this machine come before others.

    Args:
        log: the newest record first.
        passed: those whose bundles have answered.
        failed: versions that may not answer, unless a record is newer than this number.
    """
    answered = {record.version for record in passed}
    replaced = set()
    ranked: dict[Version, tuple[bool, bool, Record]] = {}
    for record in log:
        if record.number > failed.get(record.version, 0):
            rank = (record.version in replaced, record.version not in answered, record)
            ranked.setdefault(record.version, rank)
        if record.action == "rollback":
            replaced.add(record.previous)
    return [record for *_, record in sorted(ranked.values(), key=lambda entry: entry[:2])]
