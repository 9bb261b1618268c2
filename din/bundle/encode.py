"""Turn raw requests into packed batches, as featurize does with the log.

    requests    0: history a b, candidates x y     1: no history, candidate z
    entries     a b | x y z                        histories, then candidates: the items of the batch
    rows        0·x  0·y  1·z                      the impressions, with histories a b, a b, –

Ids are compared as text, so 7 and "7" are the same id. A value that is missing or not in the vocabulary is unknown (row
0). Profiles and side fields come from the bundle's tables by id, unless the request has them. This module shares no
code with featurize, so that parity can detect differences between the two.

Shapes: T packed behaviours.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from din import plugins
from din.base import documents
from din.base.errors import InputError, listed, shown
from din.bundle.contents import SIGNATURE
from din.bundle.graph_inputs import Signature
from din.contracts.manifests import PlacedField
from din.features.packing import PackedBatch
from din.features.reader import columns_of
from din.kinds import EXACT, UNKNOWN, Column, Lookup, ragged_take, text
from din.schema import ITEM_ID, TIMESTAMP, USER_ID, Field, Group, parse_field

KEYS = ("user", "history", "candidates", "context", "time")
_YEAR_10000 = 253_402_300_800  # in seconds; a larger number counts milliseconds
PIECE = 1 << 12
"""Packed behaviours per piece: few enough for the activations of onnxruntime to stay in a core's cache."""

_BOOLEANS = {"true": "True", "false": "False", "True": "true", "False": "false"}

_Columns = dict[Group, dict[str, Column]]


class Vocabulary:
    """Maps the text of a value to its row, and all other values to 0.

    A log may spell a value otherwise than JSON does. Among numbers, "5.10" is 5.1, and "true" is true among all values.
    """

    def __init__(self, values: Sequence[object]) -> None:
        self._rows = {text(value): row for row, value in enumerate(values) if value is not None}
        self._holds_numbers = any(isinstance(value, int | float) for value in values)

    @property
    def known(self) -> Collection[Any]:
        """The values, as text."""
        return self._rows.keys()

    def rows(self, values: Iterable[object]) -> list[int]:
        """Return the row of each value, in order."""
        keys = [value if isinstance(value, str) else text(value) for value in values]
        get = self._rows.get
        return [get(key, UNKNOWN) or get(self._respelled(key), UNKNOWN) for key in keys]

    def _respelled(self, key: str | None) -> str | None:
        if key is None or key in _BOOLEANS:
            return _BOOLEANS.get(key or "")
        return text(_number(key)) if self._holds_numbers else None


def _number(key: str) -> float | None:
    """Return the number that a text says, or None if it says none, or one that a float may not hold."""
    try:
        number = float(key)
    except ValueError:
        return None
    return number if abs(number) < EXACT else None


@dataclass(frozen=True)
class _Entries:
    """The flattened requests of one batch; see the picture in the module's docstring."""

    users: list[Mapping[str, Any]]
    contexts: list[Mapping[str, Any]]
    history: list[Any]  # an id, or an object with fields, for each behaviour
    candidates: list[Any]
    times: list[float | None]  # one per request, in seconds since 1970
    behaviours: np.ndarray  # int64 [requests], the number of behaviours of each
    impressions: np.ndarray  # int64 [requests], the number of candidates of each


class Encoder:
    """Packs requests with the vocabularies and tables of a bundle.

    Args:
        directory: the directory of a verified bundle.
        ages: whether the model reads the ages of behaviours. If so, each request must have its time, and
            each behaviour a timestamp, which may be null.
    """

    def __init__(self, directory: Path, ages: bool = False) -> None:
        self._ages = ages
        self.signature = documents.read(Signature, directory / SIGNATURE)
        plugins.require(self.signature.plugins, directory)
        self._records: dict[str, PlacedField] = {record["name"]: record for record in self.signature.fields}
        self.fields: tuple[Field, ...] = tuple(parse_field(record) for record in self.signature.fields)
        self.max_history: int = self.signature.max_history
        self._vocabularies = {
            field.name: Vocabulary(_values(directory / "vocab" / f"{field.name}.parquet"))
            for field in self.fields
            if field.form.has_vocabulary and field.name not in (USER_ID, ITEM_ID)
        }
        self._tables = {
            group: _table(directory / name, self._of(group))
            for group, name in ((Group.ITEM, "items.parquet"), (Group.USER, "users.parquet"))
            if self._of(group)
        }
        keys = {group: {field.name for field in self._of(group)} for group in Group}
        self._valid = {
            "user": {USER_ID} | keys[Group.USER],
            "context": keys[Group.CONTEXT],
            "candidates": keys[Group.ITEM],
            "history": keys[Group.ITEM] | keys[Group.BEHAVIOUR] | {TIMESTAMP},
        }

    def example(self, candidates: int) -> dict[str, Any]:
        """Return a request with items from the bundle's table, and an unknown user: ids of people stay private."""
        items = list(islice(cycle(self.known(Group.ITEM) or [None]), candidates))
        history = items[: self.max_history]
        request: dict[str, Any] = {"user": {USER_ID: "somebody"}} if Group.USER in self._tables else {}
        if self._ages:
            now = 1_767_225_600
            history = [{ITEM_ID: item, TIMESTAMP: now - 3600} for item in history]
            request["time"] = now
        return request | {"history": history, "candidates": items}

    def known(self, group: Group) -> Collection[Any]:
        """Return the ids of the items or users in the bundle's table, as text, without a copy."""
        return self._tables[group][0].known if group in self._tables else ()

    def pack(self, requests: Sequence[Mapping[str, Any]], size: int = PIECE) -> Iterator[PackedBatch]:
        """Yield all candidates of all requests as packed impressions, in order, and in pieces of bounded size.

        Args:
            size: about the most packed behaviours in a piece.

        Raises:
            InputError: a request does not have the form described in docs/serving.md.
        """
        entries = self._flatten(requests)
        columns = self._columns(entries)
        request = np.repeat(np.arange(len(requests)), entries.impressions)
        ends = np.cumsum(entries.behaviours)
        starts = ends - entries.behaviours
        piece = np.cumsum(entries.behaviours[request] + 1) // size
        for rows in np.split(np.arange(len(request)), np.flatnonzero(np.diff(piece)) + 1):
            behaviour, offsets = ragged_take(starts[request[rows]], ends[request[rows]])
            segment = np.repeat(np.arange(len(rows)), np.diff(offsets))
            age = self._age(entries, behaviour, request[rows][segment])
            yield self._packed(columns, request[rows], len(entries.history), behaviour, rows, segment, age)

    def pack_one(self, request: Mapping[str, Any], size: int = PIECE) -> Iterator[PackedBatch]:
        """Yield the pieces of one request as request.onnx reads them: part of the candidates, with the whole history.

        Args:
            size: the most pairs of a candidate and a behaviour in a piece.

        Raises:
            InputError: the request does not have the form described in docs/serving.md.
        """
        entries = self._flatten([request])
        columns = self._columns(entries)
        length = len(entries.history)
        count = len(entries.candidates)
        owner = np.zeros(1, np.int64)
        behaviour = np.arange(length)
        segment = np.zeros(length, np.int64)
        age = self._age(entries, behaviour, segment)
        most = max(1, size // (length + 1))
        for start in range(0, count, most):
            candidate = np.arange(start, min(start + most, count))
            yield self._packed(columns, owner, length, behaviour, candidate, segment, age)

    def _packed(
        self,
        columns: _Columns,
        owner: np.ndarray,
        length: int,
        behaviour: np.ndarray,
        candidate: np.ndarray,
        segment: np.ndarray,
        age: np.ndarray | None,
    ) -> PackedBatch:
        """Pack a piece, whose items are a slice of the behaviours and its candidates.

        Args:
            owner: the request of each profile.
            length: the number of behaviours in all entries.
            behaviour, candidate: positions among all behaviours, and among all candidates.
        """
        first = behaviour.min(initial=length)
        past = np.arange(first, behaviour.max(initial=-1) + 1)
        items = np.concatenate([past, length + candidate])
        owners = {Group.ITEM: items, Group.BEHAVIOUR: behaviour, Group.USER: owner, Group.CONTEXT: owner}
        return PackedBatch(
            lookups={group: self._lookups(group, columns, chosen) for group, chosen in owners.items()},
            candidate=len(past) + np.arange(len(candidate)),
            behaviour=behaviour - first,
            segment=segment,
            age=age,
            labels=np.zeros(len(candidate), np.float32),
        )

    def _lookups(self, group: Group, columns: _Columns, owners: np.ndarray) -> dict[str, Lookup]:
        """Return the rows of the joint table for some owners of the columns."""
        lookups = {}
        for field in self._of(group):
            column = columns[group][field.name].take(owners)
            lookups[field.name] = field.form.look_up(column, self._records[field.name]["offset"])
        return lookups

    def _columns(self, entries: _Entries) -> _Columns:
        """Return the encoded columns of all groups, with one owner per entry or request."""
        return {
            Group.ITEM: self._known(Group.ITEM, [*entries.history, *entries.candidates]),
            Group.BEHAVIOUR: self._given(Group.BEHAVIOUR, entries.history),
            Group.USER: self._known(Group.USER, entries.users),
            Group.CONTEXT: self._given(Group.CONTEXT, entries.contexts),
        }

    def _flatten(self, requests: Sequence[Mapping[str, Any]]) -> _Entries:
        users, contexts, history, candidates, times = [], [], [], [], []
        behaviours, impressions = np.zeros((2, len(requests)), np.int64)
        for number, request in enumerate(requests):
            _check_keys("a request", request, KEYS)
            users.append(self._object(request, "user"))
            contexts.append(self._object(request, "context"))
            times.append(_seconds("time", request.get("time")))
            past = self._entries(request, "history", self.max_history)
            shown = self._entries(request, "candidates", None)
            history += past
            candidates += shown
            behaviours[number], impressions[number] = len(past), len(shown)
        return _Entries(users, contexts, history, candidates, times, behaviours, impressions)

    def _age(self, entries: _Entries, behaviour: np.ndarray, request: np.ndarray) -> np.ndarray | None:
        """Return the ages of behaviours in seconds, float32 [T], NaN for a behaviour whose time is null.

        Return None if the model reads no ages.

        Args:
            behaviour: int64 [T], positions in `entries.history`.
            request: int64 [T], the request that each behaviour belongs to.

        Raises:
            InputError: a request or a behaviour has no time, or a time is not a number.
        """
        if not self._ages:
            return None
        advice = "this model reads how old behaviours are; send the seconds since 1970 (UTC)"
        if None in entries.times:
            raise InputError(f"time: missing; {advice}, and a timestamp with each behaviour")
        for entry in entries.history:
            if not isinstance(entry, dict) or TIMESTAMP not in entry:
                raise InputError(f"history: {shown(entry)} has no {TIMESTAMP}; {advice}, or null if it is unknown")
        then = [_seconds(TIMESTAMP, value) for value in _values_of(TIMESTAMP, entries.history)]
        ages = np.array(entries.times, np.float64)[request] - np.array(then, np.float64)[behaviour]
        return ages.astype(np.float32)

    def _object(self, request: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = request.get(key)
        if value is None:
            return {}
        _check_keys(key, value, self._valid[key])
        return dict(value)

    def _entries(self, request: Mapping[str, Any], key: str, most: int | None) -> Sequence[Any]:
        values = request.get(key)
        if values is None and key == "history":
            return []
        if not isinstance(values, list | tuple):
            raise InputError(f"{key}: {shown(values)}; expected a list of item ids, or of objects with {ITEM_ID!r}")
        valid = self._valid[key]
        for entry in values:  # those that the model does not read too, since the log and its readers keep them
            if isinstance(entry, dict) and not entry.keys() <= valid:
                _check_keys(key, entry, valid)
        return values[-most:] if most else values

    def _known(self, group: Group, owners: list[Any]) -> dict[str, Column]:
        """Return the columns of a group that has a table: rows by id, overridden by values in the request."""
        if group not in self._tables:
            return {}
        key = ITEM_ID if group is Group.ITEM else USER_ID
        vocabulary, table = self._tables[group]
        with _naming(key):
            ids = [owner.get(key) if isinstance(owner, dict) else owner for owner in owners]
            rows = np.array(vocabulary.rows(ids), np.int64)
        objects = [n for n, owner in enumerate(owners) if isinstance(owner, dict)]
        columns = {}
        for field in self._of(group):
            column = table[field.name].take(rows)
            overridden = [n for n in objects if field.name in owners[n] and field.name != key]
            if overridden:
                explicit = self._encode(field, [owners[n][field.name] for n in overridden])
                column = _replace(column, np.array(overridden), explicit)
            columns[field.name] = column
        return columns

    def _given(self, group: Group, owners: list[Any]) -> dict[str, Column]:
        """Return the columns of a group whose values come only from the request."""
        return {field.name: self._encode(field, _values_of(field.name, owners)) for field in self._of(group)}

    def _encode(self, field: Field, values: list[Any]) -> Column:
        """Encode raw values of a field. An error names the field."""
        vocabulary = self._vocabularies.get(field.name)
        with _naming(field.name):
            return field.form.encode(values, self._records[field.name], vocabulary.rows if vocabulary else None)

    def _of(self, group: Group) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.group is group)


def _values_of(key: str, owners: Iterable[Any]) -> list[Any]:
    """Return the value of each owner, and None for a bare id."""
    return [owner.get(key) if isinstance(owner, dict) else None for owner in owners]


def _seconds(key: str, value: Any) -> float | None:
    """Return a time of a request in seconds since 1970, or None if it is null. Raise InputError if implausible."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _YEAR_10000:
        raise InputError(f"{key}: {shown(value)}; expected a number of seconds since 1970, e.g. 1767225600")
    return float(value)


def _check_keys(place: str, value: Any, valid: Collection[str]) -> None:
    keys = listed(sorted(valid)) or "none"
    if not isinstance(value, Mapping):
        raise InputError(f"{place}: {shown(value)}; expected an object with keys among {keys}")
    unknown = value.keys() - valid
    if unknown:
        raise InputError(
            f"{place}: unknown key {shown(min(unknown, key=str))}; valid keys: {keys}; correct it, or leave it out"
        )


def _table(path: Path, fields: tuple[Field, ...]) -> tuple[Vocabulary, dict[str, Column]]:
    table = pq.read_table(path)
    return Vocabulary(table["value"].to_pylist()), columns_of(table, fields)


def _values(path: Path) -> list[Any]:
    return pq.read_table(path, columns=["value"])["value"].to_pylist()


def _replace(base: Column, owners: np.ndarray, other: Column) -> Column:
    """Return the column `base` with the values of `owners` replaced by those of `other`, in order."""
    choice = np.arange(len(base))
    choice[owners] = len(base) + np.arange(len(owners))
    return Column.joined([base, other]).take(choice)


@contextmanager
def _naming(field: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{field}: {error}") from None
