"""What the processes of this machine know about records: whose bundle has answered, and whose was refused.

    ~/.cache/din-ctr/bundles/verdicts/<digest>/<nonce>.good.json      the record
                                              /<nonce>.refused.json   the reason

The files outlive the processes, so a new one does not answer with a bundle that clients made another one refuse, and
can start while the registry is away or its champion is damaged.
"""

import logging
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from din import documents
from din.artifacts import write_json
from din.errors import InputError
from din.registry.records import Record

_LOG = logging.getLogger("din.server")
_KEPT = 32


class Verdicts:
    """The verdicts about the records of one registry, in a folder that may be missing or not writable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, cache: Path, uri: str, model: str) -> Self:
        """Return the verdicts about a model of the registry at `uri`, which are kept in the cache of bundles."""
        place = uri if "://" in uri else Path(uri).expanduser().resolve()
        return cls(cache / "verdicts" / sha256(f"{place}/{model}".encode()).hexdigest())

    def good(self) -> list[Record]:
        """Return the records whose bundles have answered, the newest first."""
        found = []
        for path in self._folder.glob("*.good.json"):
            try:
                found.append(documents.read(Record, path))
            except InputError:  # removed or cut
                continue
        return sorted(found, key=lambda record: record.number, reverse=True)

    def refusal(self, record: Record) -> str | None:
        """Return why a process has refused a record's bundle for good, or None."""
        try:
            return documents.read(str, self._folder / f"{record.nonce}.refused.json")
        except InputError:
            return None

    def accept(self, record: Record) -> None:
        """Note that the bundle of a record answers."""
        self._write(f"{record.nonce}.good.json", record)

    def refuse(self, record: Record, reason: str) -> None:
        """Note that no process of this machine should answer with the bundle of a record."""
        self._write(f"{record.nonce}.refused.json", reason)

    def _write(self, name: str, content: Any) -> None:
        try:
            write_json(self._folder / name, content)
            files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in files[:-_KEPT]:
                path.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("%s: %s; the next process will not know this verdict", self._folder, error.strerror)


def by_preference(log: Sequence[Record], good: Collection[Record]) -> list[Record]:
    """Return records, the best one to fall back to first.

    Bundles that a rollback replaced come last. Those that have answered on this machine come before others.

    Args:
        log: the newest record first.
        good: those whose bundles have answered.
    """
    replaced = set()
    ranked = []
    for record in log:
        ranked.append((record.version in replaced, record not in good, record))
        if record.action == "rollback":
            replaced.add(record.previous)
    return [record for *_, record in sorted(ranked, key=lambda one: one[:2])]
