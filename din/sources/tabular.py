"""Any log in tables, without code: `fetch.source: table`.

Paths, column names and rules come from `fetch.table`; docs/bring-your-own-log.md explains every key. Each event, item
and user has one row. The history of behaviours that are not impressions is either long (one row per behaviour) or in
lists (one row per user, oldest first). Messages use the files' own column names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from din.errors import InputError, listed, shown
from din.params import Table, to_json
from din.schema import BEHAVIOUR, EVENT_COLUMNS, HISTORY_COLUMNS, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources import columns, files, times
from din.sources.labels import Label
from din.sources.rawlog import Part, RawLog, require_rows
from din.workspace import Workspace

_TABLES = ("events", "items", "users", "history")
_EVENT_KEYS = (USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE, BEHAVIOUR)


@dataclass(frozen=True)
class _Input:
    """One table as it was read.

    Attributes:
        part: the files' columns under their own names.
        names: maps our names to theirs.
        lists: maps our name of each list column to the separator of its elements, or to None if the file has lists.
        text: whether the columns are text without types (CSV).
    """

    part: Part
    names: Mapping[str, str]
    lists: Mapping[str, str | None]
    text: bool

    def __getitem__(self, ours: str) -> pa.ChunkedArray:
        return self.part.table[self.names[ours]]


class TableSource:
    """The log that `fetch.table` describes."""

    def __init__(self, workspace: Workspace, params: Table) -> None:
        self.workspace = workspace
        self.params = params

    def identity(self) -> Any:
        """Return the digests of all files in order and the parameters that shape rows; paths may change freely."""
        shape = {key: value for key, value in to_json(self.params).items() if key not in _TABLES}
        digests = {table: files.digests(self.workspace, self._files(table)) for table in _TABLES}
        return {"params": shape, "files": digests}

    def read(self) -> RawLog:
        """Read and convert all tables.

        Raises:
            InputError: see docs/bring-your-own-log.md. The message names file, row or column, and value.
        """
        p = self.params
        label: dict[str, Label] = {}

        def of_label(names: Sequence[str], file: str) -> list[str]:
            label[LABEL] = Label.parse(p.label, names, file)
            return [label[LABEL].column]

        if wrong := set(p.columns) - {*_EVENT_KEYS, *p.keep}:
            raise InputError(
                f"fetch.table.columns: {sorted(wrong)[0]!r} is not one of {', '.join((*_EVENT_KEYS, *p.keep))}; "
                "list further columns in fetch.table.keep, and name the label in fetch.table.label"
            )
        if wrong := {*EVENT_COLUMNS, "date"} & {*p.keep}:
            raise InputError(
                f"fetch.table.keep: {sorted(wrong)[0]!r} is a name that the log itself uses; keep the column under "
                "another name, set in fetch.table.columns as `our name: their name`"
            )
        required = (USER_ID, ITEM_ID, TIMESTAMP)
        events = self._load("events", p.columns, (*required, *p.keep), (SEQUENCE, BEHAVIOUR), also=of_label)
        assert events is not None, "fetch.table.events: din.params.fetch refuses the source without it"
        inputs = {
            "events": events,
            "items": self._load("items", p.items_columns, (ITEM_ID,), rest=True),
            "users": self._load("users", p.users_columns, (USER_ID,), rest=True),
            "history": self._load("history", p.history_columns, required, (SEQUENCE, *p.keep)),
        }
        self._check_separators(inputs)
        present = {name: table for name, table in inputs.items() if table is not None}
        if "history" in present:
            present["history"] = _exploded(present["history"])
            if present["history"].part.table.num_rows == 0:
                del present["history"]
        ids = _ids(present, USER_ID) | _ids(present, ITEM_ID)
        parts = {name: self._part(name, table, ids) for name, table in present.items()}
        clicks = label[LABEL].of(events.part)
        acted = clicks
        if BEHAVIOUR in events.names:
            acted = columns.binary(events.part, events.names[BEHAVIOUR], events[BEHAVIOUR], "correct it")
        table = parts["events"].table.append_column(LABEL, clicks).append_column(BEHAVIOUR, acted)
        return RawLog(
            events=Part(table, events.part.files),
            items=parts.get("items"),
            users=parts.get("users"),
            history=parts.get("history"),
            fields=_fields(parts),
            protocol="temporal",
            daily=p.daily,
        )

    def _files(self, table: str) -> tuple[files.File, ...]:
        patterns = getattr(self.params, table)
        return files.expand(self.workspace, patterns, f"fetch.table.{table}") if patterns else ()

    def _load(
        self,
        table: str,
        mapping: Mapping[str, str],
        required: tuple[str, ...],
        optional: tuple[str, ...] = (),
        rest: bool = False,
        also: files.Select = lambda names, file: [],
    ) -> _Input | None:
        """Load a table: its required, mapped and existing optional columns, those that `also` names, and the `rest`."""
        found = self._files(table)
        if not found:
            return None
        key = "fetch.table.columns" if table == "events" else f"fetch.table.{table}_columns"
        resolved: dict[str, str] = {}

        def select(names: Sequence[str], file: str) -> list[str]:
            wanted = {ours: ours for ours in required} | dict(mapping)
            for ours, theirs in wanted.items():
                if theirs not in names:
                    raise InputError(
                        f"{file}: no column {theirs!r} for {ours}; its columns: {listed(names)}. Map the right "
                        f"one in {key}, e.g. {{{ours}: {listed(names[:1])}}}"
                    )
            free = [name for name in names if name not in wanted.values()]
            others = free if rest else [name for name in free if name in optional and name not in wanted]
            if twice := [name for name in others if name in wanted]:
                raise InputError(
                    f"{file}: column {shown(twice[0])} collides with a column that {key} renames to it; rename it "
                    f"there as well, e.g. {{other_{listed(twice[:1])}: {listed(twice[:1])}}}"
                )
            resolved.update(wanted, **{name: name for name in others})
            return list(dict.fromkeys([*wanted.values(), *others, *also(names, file)]))

        part = files.read(found, select)
        if table != "history":  # a history may be empty
            require_rows(part, table)
        lists = _lists(part, resolved, self.params.separators, table)
        return _Input(part, resolved, lists, files.FORMATS[found[0].suffix] == "CSV")

    def _check_separators(self, inputs: Mapping[str, _Input | None]) -> None:
        known = set()
        for name, table in inputs.items():
            keys = () if name == "history" else EVENT_COLUMNS
            known |= {theirs for ours, theirs in table.names.items() if ours not in keys} if table else set()
        if wrong := set(self.params.separators) - known:
            raise InputError(
                f"fetch.table.separators: {sorted(wrong)[0]!r} is not one of the columns that may hold lists: "
                f"{listed(sorted(known)) or 'there are none'}"
            )

    def _part(self, name: str, table: _Input, ids: Mapping[tuple[str, str], pa.ChunkedArray]) -> Part:
        """Return the table under our names and in the contract's types; label and behaviour are added later."""
        result: dict[str, Any] = {}
        for ours, theirs in table.names.items():
            if (name, ours) in ids:
                result[ours] = ids[name, ours]
            elif name in ("items", "users"):
                result[ours] = _side(table, ours)
            elif ours == TIMESTAMP:
                utc = times.to_utc(table.part, theirs, self.params.timestamp_unit)
                result[ours] = times.shifted(utc, self.params.utc_offset_hours)
            elif ours == SEQUENCE:
                result[ours] = columns.whole(
                    table.part, theirs, "correct the column, or map another one in fetch.table"
                )
            elif ours != BEHAVIOUR:
                result[ours] = _side(table, ours)
        if name in ("events", "history") and SEQUENCE not in result:
            result[SEQUENCE] = np.arange(table.part.table.num_rows)
        return Part(pa.table(result), table.part.files, table.part.rows)


def _lists(part: Part, names: Mapping[str, str], separators: Mapping[str, str], table: str) -> dict[str, str | None]:
    """Map our name of each list column to its separator, or to None if the file has lists."""
    given = {
        ours: separators.get(theirs)
        for ours, theirs in names.items()
        if theirs in separators or pa.types.is_list(part.table[theirs].type)
    }
    scalars = (USER_ID,) if table == "history" and ITEM_ID in given else EVENT_COLUMNS
    lists = {ours: separator for ours, separator in given.items() if ours not in scalars}
    for column in part.table.schema:
        is_list = column.name in (names[ours] for ours in lists) and pa.types.is_list(column.type)
        if pa.types.is_nested(column.type.value_type if is_list else column.type):
            raise InputError(
                f"{part.name}: column {shown(column.name)} is of type {column.type}; expected numbers or text, and "
                "lists of them only in side columns and in the history: write one value per row, or leave the column "
                "out"
            )
    return lists


def _side(table: _Input, ours: str) -> pa.ChunkedArray | pa.Array:
    if ours not in table.lists:
        return columns.typed(table[ours], table.text)
    lengths, values = columns.lists(table[ours], table.lists[ours])
    typed = columns.typed(pa.chunked_array([values]), table.text or table.lists[ours] is not None)
    return columns.joined(lengths, typed.combine_chunks())


def _exploded(history: _Input) -> _Input:
    """Turn lists into long form: one row per element, numbered within its list, with other columns repeated."""
    if ITEM_ID not in history.lists:
        return history
    part = history.part
    names = history.names
    split = {names[ours]: columns.lists(history[ours], separator) for ours, separator in history.lists.items()}
    lengths = split[names[ITEM_ID]][0]
    for theirs, (own, _) in split.items():
        if len(bad := np.flatnonzero(own != lengths)):
            raise InputError(
                f"{part.at(int(bad[0]))}: {theirs} holds {own[bad[0]]} values, but {names[ITEM_ID]} holds "
                f"{lengths[bad[0]]}; expected one for each item of the list"
            )
    rows = np.repeat(np.arange(len(lengths)), lengths)
    flat = {theirs: pa.chunked_array([values]) for theirs, (_, values) in split.items()}
    flat |= {theirs: part.table[theirs].take(pa.array(rows)) for theirs in names.values() if theirs not in split}
    flat[SEQUENCE] = pa.chunked_array([np.arange(len(rows)) - np.repeat(lengths.cumsum() - lengths, lengths)])
    text = history.text or history.lists[ITEM_ID] is not None
    return _Input(Part(pa.table(flat), part.files, rows), {**names, SEQUENCE: SEQUENCE}, {}, text)


def _ids(tables: Mapping[str, _Input], ours: str) -> dict[tuple[str, str], pa.ChunkedArray]:
    """Return one id column of every table that has it, in one type; text wins if a CSV can be read either way."""
    given = {name: table[ours] for name, table in tables.items() if ours in table.names}
    ids = {name: columns.ids(column, tables[name].text) for name, column in given.items()}
    if any(pa.types.is_string(column.type) for column in ids.values()):
        ids = {name: given[name] if tables[name].text else column for name, column in ids.items()}
    return {(name, ours): column for name, column in ids.items()}


def _fields(parts: Mapping[str, Part]) -> dict[str, dict[str, Any]]:
    """Declare every side column as a field, lists as multi.

    Kept columns of events are left out: they may be feedback, so the user must declare them.
    """
    return {
        group: {
            field.name: "multi" if pa.types.is_list(field.type) else "categorical"
            for field in parts[name].table.schema
            if field.name not in (*EVENT_COLUMNS, *HISTORY_COLUMNS)
        }
        for group, name in (("user", "users"), ("item", "items"))
        if name in parts
    }
