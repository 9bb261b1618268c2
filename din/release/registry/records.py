"""Records of the registry's log, and the hash chain that reveals tampering.

    promotions/000017.json           the record; its `parent` is the sha256 of record 16
    seals/000017-<sha256>.json       a copy of the record, named by its hash, written right after it

The parent's hash reveals that an older record was edited, removed or reordered. The seal does the same for the newest
record, and is the copy to restore from. A promotion killed between the two writes leaves its record without a seal, and
the next run of `din promote` writes it. This protects against accidents and partial edits. Anyone with write access to
the whole prefix can rewrite all of it (docs/security.md).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, PositiveInt, StringConstraints

from din.base import documents
from din.base.errors import GateClosed, InputError, shown
from din.base.names import Digest, FileName, Line, Moment, RunId, Version
from din.release.registry.objects import Objects, noted

PROMOTIONS = "promotions"
SEALS = "seals"
_RESTORE = "restore it from the copy below seals/, or from the store's own versions"
_NUMBER = "([0-9]{6}|[1-9][0-9]{6,})"
_RECORD = re.compile(rf"{PROMOTIONS}/{_NUMBER}\.json")
_SEAL = re.compile(rf"{SEALS}/{_NUMBER}-([0-9a-f]{{64}})\.json")

Nonce = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]


class StaleChampion(GateClosed):
    """Another writer appended first, so this candidate was compared with an outdated champion."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """The decision of the record's author to promote although gates were not open.

    Attributes:
        gates: the names of these gates; empty in a record of an earlier version, which does not name them.
        compared: False if the champion before could not be evaluated. No later candidate is then compared with it or
            with those before it.
    """

    __pydantic_config__ = documents.STRICT

    gates: list[Line]
    compared: bool

    @property
    def in_words(self) -> str:
        """Return the names of the gates, for tables."""
        return ", ".join(self.gates) or "gates not named"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who ran the command, as its environment shows it. Nothing of it is verified; see `din.cli.identity`.

    Attributes:
        name: the person or service.
        source: where the name comes from, e.g. `GITHUB_ACTOR`.
    """

    # Earlier records also hold the issuer and the claims of an ID token, which nothing reads.
    __pydantic_config__ = documents.STRICT | ConfigDict(extra="ignore")

    name: Line
    source: Line

    @property
    def in_words(self) -> str:
        """Return the name and how it is known, for tables."""
        return f"{self.name} (claimed: {self.source})"


def _override(value: Any) -> Any:
    """Read `approval`, which records had in the place of `override` while an approval was an object of the registry."""
    if isinstance(value, dict) and value.keys() == {"by", "override", "answer"}:
        return Override(gates=[], compared=value["override"] is not True)
    return value


@dataclass(frozen=True, kw_only=True)
class Record:
    """One entry of the log: who made which version the champion, when and why.

    Attributes:
        number: its position in the log, counted from 1.
        version: the new champion.
        action: promote or rollback.
        previous: the version of the previous record. None in the first record.
        parent: the sha256 of the previous record's bytes. None in the first record.
        run_id: the run that promoted, or None.
        nonce: distinguishes records with equal content.
        by: the person or service, as the command names it.
        identity: who ran the command, as its environment shows it. None in a record of an earlier version.
        reason: why the version became the champion.
        override: the gates that a person overrode, or None.
        files: the sha256 of the run's files, by their names below runs/<run_id>/.
    """

    __pydantic_config__ = documents.STRICT

    number: PositiveInt
    version: Version
    action: Literal["promote", "rollback"]
    previous: Version | None
    parent: Digest | None
    run_id: RunId | None
    nonce: Nonce
    by: Line
    at: Moment
    reason: Line
    override: Annotated[
        Override | None,
        Field(validation_alias=AliasChoices("override", "approval")),
        BeforeValidator(_override),
    ] = None
    files: Mapping[FileName, Digest] = field(default_factory=dict)
    identity: Identity | None = None

    @property
    def author(self) -> str:
        """Return who decided, and who ran the command, as far as the record says."""
        if self.identity is None:
            return self.by
        ran = self.identity.in_words
        return ran if self.by == self.identity.name else f"{self.by}, run by {ran}"


@dataclass(frozen=True)
class Entry:
    """A stored record, and the sha256 of its bytes."""

    record: Record
    digest: Digest


@dataclass(frozen=True)
class Chain:
    """The log as it was read.

    Attributes:
        entries: the records before the first unreadable one, oldest first.
        damage: one line for each break of the chain.
        remarks: one line for each harmless irregularity.
        seals: the hash that each seal's content must have, by key.
    """

    entries: list[Entry]
    damage: list[str]
    remarks: list[str]
    seals: dict[str, str]


def record_key(number: int) -> str:
    """Return the key of a record."""
    return f"{PROMOTIONS}/{number:06d}.json"


def seal_key(number: int, digest: str) -> str:
    """Return the key of a record's seal, given the sha256 of the record's bytes."""
    return f"{SEALS}/{number:06d}-{digest}.json"


def run_key(run_id: str, area: Literal["runs", "stages"] = "runs") -> str:
    """Return the folder key for the files of a run, or of a stage.

    Raises:
        InputError: the id is not valid as the name of a folder.
    """
    return f"{area}/{RunId.of(run_id)}"


def read_chain(objects: Objects) -> Chain:
    """Read the whole log, and check each record against the previous one and its seal."""
    log = _Listing.of(objects)
    entries: list[Entry] = []
    damage: list[str] = []
    for number in range(1, log.newest + 1):
        with noted(damage):
            entries.append(_entry(objects, log, number))
        if len(entries) < number:
            break
        damage += _breaks(objects, entries[-2] if number > 1 else None, entries[-1])
        if number < log.newest and number not in log.seals:
            damage.append(f"{objects.at(record_key(number))}: has no seal; a later record was appended after it")
    remarks = list(log.remarks)
    if log.newest and log.newest not in log.seals:
        at = objects.at(record_key(log.newest))
        remarks.append(f"{at}: has no seal yet, its promotion was interrupted; run `din promote` again to write it")
    seals = {seal_key(number, digest): digest for number in sorted(log.seals) for digest in log.seals[number]}
    return Chain(entries, damage, remarks, seals)


def newest_entry(objects: Objects, seen: int = 0) -> Entry | None:
    """Return the newest record, checked against its seal and the previous record, or None if the log is empty.

    Args:
        objects: the store.
        seen: the number of a record that was the newest at an earlier look; 0: unknown. Records before it are then
            not listed, so a look at a long log takes hardly longer than at a short one.

    Raises:
        InputError: the record is malformed or was edited, or a record before or after it was removed.
    """
    log = _Listing.of(objects, seen - 1)
    if log.newest < seen:  # the log was restored from an older copy
        return newest_entry(objects)
    if not log.newest:
        return None
    before = _entry(objects, log, log.newest - 1) if log.newest > 1 else None
    newest = _entry(objects, log, log.newest)
    if breaks := _breaks(objects, before, newest):
        raise InputError(f"{breaks[0]}; {_RESTORE}")
    return newest


def append(objects: Objects, record: Record) -> bool:
    """Write a record and then its seal. Return False if another writer wrote a record of this number first."""
    key = record_key(record.number)
    if not objects.create_document(key, record):
        written, _ = objects.read_document(Record, key)
        if written.nonce != record.nonce:  # with an equal nonce, the first attempt of a retry had succeeded
            return False
    seal(objects, record.number)
    return True


def seal(objects: Objects, number: int) -> None:
    """Write the seal of a stored record."""
    content = objects.read(record_key(number))
    objects.create(seal_key(number, sha256(content).hexdigest()), content)


@dataclass(frozen=True)
class _Listing:
    """The keys of the log.

    Attributes:
        seals: the digests of the seals, by number.
        remarks: one line for each key that the registry does not write.
    """

    numbers: set[int]
    seals: dict[int, set[str]]
    remarks: list[str]

    @classmethod
    def of(cls, objects: Objects, start: int = 0) -> "_Listing":
        """List the keys of the records and seals from the number `start` on."""
        remarks: list[str] = []
        # List seals first. A seal is written after its record, so the later listing has a record for every seal.
        seals = _by_number(_listed(objects, SEALS, _SEAL, remarks, start))
        numbers = {int(key[1]) for key in _listed(objects, PROMOTIONS, _RECORD, remarks, start)}
        if any(number not in seals for number in numbers if number < max(numbers)):
            # Unless a seal was lost, records were appended between the two listings. A record is sealed before the next
            # one is appended, so another listing has all the seals that must exist.
            later = _by_number(_listed(objects, SEALS, _SEAL, [], start))
            seals = {number: later[number] for number in later if number in numbers or number in seals}
        return cls(numbers, seals, remarks)

    @property
    def newest(self) -> int:
        """The highest number of a record or seal, or 0 if the log is empty."""
        return max([0, *self.numbers, *self.seals])


def _listed(objects: Objects, area: str, form: re.Pattern[str], remarks: list[str], start: int) -> list[re.Match[str]]:
    """Return the matches of an area's keys, and add a remark for each key that does not match."""
    after = f"{area}/{start:06}" if start > 0 else ""
    keys = {key: form.fullmatch(key) for key in sorted(objects.keys(area, after))}
    odd = [shown(objects.at(key), quotes=False) for key, match in keys.items() if not match]
    remarks += [f"{place}: ignored, not a key that the registry writes; remove it" for place in odd]
    return [match for match in keys.values() if match]


def _by_number(sealed: Iterable[re.Match[str]]) -> dict[int, set[str]]:
    seals: dict[int, set[str]] = {}
    for key in sealed:
        seals.setdefault(int(key[1]), set()).add(key[2])
    return seals


def _entry(objects: Objects, log: _Listing, number: int) -> Entry:
    at = objects.at(record_key(number))
    if number not in log.numbers:
        raise InputError(f"{at}: missing, although later records or its seal exist; {_RESTORE}")
    record, digest = objects.read_document(Record, record_key(number))
    if record.number != number:
        raise InputError(f"{at}: holds record {record.number}; {_RESTORE}")
    if log.seals.get(number, {digest}) != {digest}:
        raise InputError(f"{at}: was changed after it was written, its hash is not that of its seal; {_RESTORE}")
    return Entry(record, digest)


def _breaks(objects: Objects, before: Entry | None, entry: Entry) -> list[str]:
    """Return one line for each way in which a record does not follow the previous one."""
    at = objects.at(record_key(entry.record.number))
    parent = before.digest if before else None
    previous = before.record.version if before else None
    breaks = []
    if entry.record.parent != parent:
        names = shown(entry.record.parent)
        breaks.append(f"{at}: names {names} as the record before, whose hash is {parent}; one of them was changed")
    if entry.record.previous != previous:
        breaks.append(f"{at}: names {entry.record.previous} as the champion before, expected {previous}")
    return breaks
