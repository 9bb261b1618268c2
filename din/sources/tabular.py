"""Any log in tables, without code: `fetch.source: table`.

Paths, column names and rules come from `fetch.table`; docs/bring-your-own-log.md explains every key. Each event, item
and user has one row. The history of behaviours that are not impressions is either long (one row per behaviour) or in
lists (one row per user, oldest first). Messages use the files' own column names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError, listed, shown
from din.params import Table, to_json
from din.schema import BEHAVIOUR, EVENT_COLUMNS, HISTORY_COLUMNS, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources import columns, files, forms, times
from din.sources.rawlog import Part, RawLog, first, require_rows
from din.sources.rules import Rule
from din.workspace import Workspace

SEQUENCES_A_DAY = 10**9
"""The default sequence numbers of a day's rows start at this times the number of days since 1970."""
_TABLES = ("events", "items", "users", "history")
_EVENT_KEYS = (USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE)


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

    def deciding(self) -> "_Input":
        """Return the table with only the few rows that decide the types of its columns."""
        separators = {self.names[ours]: separator for ours, separator in self.lists.items()}
        return replace(self, part=self.part.take(forms.deciding_rows(self.part.table, separators)))


class TableSource:
    """The log that `fetch.table` describes.

    Where the path of the events names days, `din.sources.by_day` reads the events of each day apart.

    Raises:
        InputError: `columns` or `keep` names a column that an event can't have.
    """

    def __init__(self, workspace: Workspace, params: Table, until: date | None) -> None:
        self.workspace = workspace
        self.params = params
        self.until = until
        self._listed: dict[str, tuple[files.File, ...]] = {}
        known = (*_EVENT_KEYS, *params.keep, *params.items_from_events)
        if wrong := set(params.columns) - {*known}:
            raise InputError(
                f"fetch.table.columns: {sorted(wrong)[0]!r} is not one of {', '.join(known)}; "
                "list further columns in fetch.table.keep, and name the label and the behaviour in "
                "fetch.table.label and fetch.table.behaviour"
            )
        if wrong := {*EVENT_COLUMNS, "date"} & {*params.keep, *params.items_from_events}:
            raise InputError(
                f"fetch.table.keep: {sorted(wrong)[0]!r} is a name that the log itself uses; keep the column under "
                "another name, set in fetch.table.columns as `our name: their name`"
            )

    def identity(self) -> Any:
        """Return the digests of all files in order and the parameters that shape rows; paths may change freely."""
        self._listed.clear()
        digests = {table: files.digests(self.workspace, self._files(table)) for table in _TABLES}
        return {"params": self.shape, "files": digests, "days": [file.day for file in self._files("events")]}

    @property
    def shape(self) -> dict[str, Any]:
        """The parameters that shape rows."""
        return {key: value for key, value in to_json(self.params).items() if key not in _TABLES}

    @property
    def days(self) -> dict[str, list[files.File]]:
        """The files of the events by the day in their paths, ascending; empty if the paths name no days."""
        found: dict[str, list[files.File]] = {}
        for file in self._files("events"):
            if file.day:
                found.setdefault(file.day, []).append(file)
        return dict(sorted(found.items()))

    def read(self) -> RawLog:
        """Read and convert all tables.

        Raises:
            InputError: see docs/bring-your-own-log.md. The message names file, row or column, and value.
        """
        events = self._load("events")
        assert events is not None, "fetch.table.events: din.params.fetch refuses the source without it"
        return self._log(events, self._sides)

    def read_day(self, day: str) -> Part:
        """Read the events of a day, under the names and in the types of their files.

        Raises:
            InputError: a file can't be read, or lacks a column.
        """
        return self._read("events", self.days[day])

    def deciding(self, part: Part) -> Part:
        """Return the few rows of events that decide the types of columns."""
        return self._input("events", part).deciding().part

    def types(self, deciding: Sequence[Part]) -> dict[str, dict[str, str]]:
        """Return the types of the events' columns: of the files' columns as text is read, and of those written."""
        events = self._input("events", files.joined(deciding))
        if events.part.table.num_rows == 0:
            return {}
        given = zip(events.part.table.column_names, events.part.table.columns, strict=True)
        written = self._log(events, self._few).events.table.schema
        return {
            "read": {name: str(columns.typed(column, text=True).type) for name, column in given},
            "written": {field.name: str(field.type) for field in written},
        }

    def convert_day(self, day: str, part: Part, deciding: Sequence[Part]) -> Part:
        """Return the events of a day in the contract's types.

        Args:
            day: YYYY-MM-DD.
            part: the events as `read_day` returns them.
            deciding: the deciding rows of all days.

        Raises:
            InputError: a value can't be converted, or an event is not of this day.
        """
        events = self._input("events", files.joined([part, *deciding]))
        table = self._log(events, self._few).events.table.slice(0, part.table.num_rows)
        if SEQUENCE not in events.names:
            start = SEQUENCES_A_DAY * (date.fromisoformat(day) - date(1970, 1, 1)).days
            numbers = pa.array(start + np.arange(table.num_rows))
            table = table.set_column(table.column_names.index(SEQUENCE), SEQUENCE, numbers)
        converted = Part(table, part.files, part.rows)
        self._check_day(converted, day)
        return converted

    def convert_others(self, deciding: Sequence[Part]) -> RawLog:
        """Return the log with all its tables, but of the events only the deciding rows."""
        events = self._input("events", files.joined(deciding))
        require_rows(events.part, "events")
        return self._log(events, self._sides)

    def _log(self, events: _Input, sides: Mapping[str, _Input]) -> RawLog:
        self._check_separators(events)
        if columns_of_items := self.params.items_from_events:
            sides = {**sides, "items": _items_of(events, columns_of_items)}
            events = replace(
                events, names={our: their for our, their in events.names.items() if our not in columns_of_items}
            )
        present = {"events": events, **sides}
        ids = _ids(present, USER_ID) | _ids(present, ITEM_ID)
        parts = {name: self._part(name, table, ids) for name, table in present.items()}
        rules = self._rules(events.part.table.column_names, events.part.name)
        answers = {role: rule.of(events.part) for role, rule in rules.items()}
        table = parts["events"].table.append_column(LABEL, answers[LABEL])
        table = table.append_column(BEHAVIOUR, answers.get(BEHAVIOUR, answers[LABEL]))
        return RawLog(
            events=Part(table, events.part.files, events.part.rows),
            items=parts.get("items"),
            users=parts.get("users"),
            history=parts.get("history"),
            fields=_fields(parts),
            protocol="temporal",
            daily=self.params.daily,
        )

    @cached_property
    def _loaded(self) -> dict[str, _Input]:
        """The tables other than the events, as they were read."""
        found = {table: self._load(table) for table in _TABLES if table != "events"}
        return {name: table for name, table in found.items() if table is not None}

    @cached_property
    def _sides(self) -> dict[str, _Input]:
        """The tables other than the events, with one row per item, user and behaviour; none is empty."""
        found = dict(self._loaded)
        if "history" in found:
            found["history"] = _exploded(found["history"])
            if found["history"].part.table.num_rows == 0:
                del found["history"]
        return found

    @cached_property
    def _few(self) -> dict[str, _Input]:
        """The rows of the other tables that decide the types of their columns."""
        return {name: table.deciding() for name, table in self._sides.items()}

    def _files(self, table: str) -> tuple[files.File, ...]:
        """Return the files of a table, listed once, without the files of days after `until`."""
        if table not in self._listed:
            self._listed[table] = self._list(table)
        return self._listed[table]

    def _list(self, table: str) -> tuple[files.File, ...]:
        patterns = getattr(self.params, table)
        found = files.expand(self.workspace, patterns, f"fetch.table.{table}") if patterns else ()
        if self.until is None:
            return found
        last = self.until.isoformat()
        kept = tuple(file for file in found if file.day is None or file.day <= last)
        if found and not kept and table == "events":
            oldest = min(file.day for file in found if file.day)
            raise InputError(f"data.until={last}: no event is that old, the first file is of {oldest}; set a later day")
        return kept

    def _load(self, table: str) -> _Input | None:
        found = self._files(table)
        if not found:
            return None
        part = self._read(table, found)
        if table != "history":  # a history may be empty
            require_rows(part, table)
        return self._input(table, part)

    def _read(self, table: str, found: Sequence[files.File]) -> Part:
        """Read a table's columns: required, mapped and existing optional ones, and the column of the label."""
        wanted = self._wanted(table)
        key = _key(table)

        def select(names: Sequence[str], file: str) -> list[str]:
            for ours, theirs in wanted.items():
                if theirs not in names:
                    raise InputError(
                        f"{file}: no column {theirs!r} for {ours}; its columns: {listed(names)}. Map the right "
                        f"one in {key}, e.g. {{{ours}: {listed(names[:1])}}}"
                    )
            others = self._others(table, names)
            if twice := [name for name in others if name in wanted]:
                raise InputError(
                    f"{file}: column {shown(twice[0])} collides with a column that {key} renames to it; rename it "
                    f"there as well, e.g. {{other_{listed(twice[:1])}: {listed(twice[:1])}}}"
                )
            rules = self._rules(names, file).values() if table == "events" else ()
            return list(dict.fromkeys([*wanted.values(), *others, *(rule.column for rule in rules)]))

        csv = self.params.csv
        names = csv.names if table == "events" else ()
        return files.read(found, select, files.Dialect(csv.delimiter, names, csv.encoding, csv.decimal))

    def _rules(self, names: Sequence[str], file: str) -> dict[str, Rule]:
        """Return the rules of label and behaviour over the columns of an events file; behaviours need none."""
        given = {LABEL: self.params.label, BEHAVIOUR: self.params.behaviour}
        return {
            role: Rule.parse(f"fetch.table.{role}", text, names, file)
            for role, text in given.items()
            if text is not None
        }

    def _input(self, table: str, part: Part) -> _Input:
        others = self._others(table, part.table.column_names)
        names = self._wanted(table) | {name: name for name in others}
        lists = _lists(part, names, self.params.separators, table)
        return _Input(part, names, lists, files.format_of(part.files[0][0]) == "CSV")

    def _wanted(self, table: str) -> dict[str, str]:
        """Map our names of the columns that a table must have to theirs."""
        p = self.params
        required, mapping = {
            "events": ((USER_ID, ITEM_ID, TIMESTAMP, *p.keep, *p.items_from_events), p.columns),
            "items": ((ITEM_ID,), p.items_columns),
            "users": ((USER_ID,), p.users_columns),
            "history": ((USER_ID, ITEM_ID, TIMESTAMP), p.history_columns),
        }[table]
        return {ours: ours for ours in required} | dict(mapping)

    def _others(self, table: str, names: Sequence[str]) -> list[str]:
        """Return the columns of a file that are read beside the wanted ones."""
        wanted = self._wanted(table)
        free = [name for name in names if name not in wanted.values()]
        if table in ("items", "users"):
            return free
        optional = (SEQUENCE,) if table == "events" else (SEQUENCE, *self.params.keep)
        return [name for name in free if name in optional and name not in wanted]

    def _check_separators(self, events: _Input) -> None:
        known = set()
        for name, table in {"events": events, **self._loaded}.items():
            keys = () if name == "history" else EVENT_COLUMNS
            known |= {theirs for ours, theirs in table.names.items() if ours not in keys}
        if wrong := set(self.params.separators) - known:
            raise InputError(
                f"fetch.table.separators: {sorted(wrong)[0]!r} is not one of the columns that may hold lists: "
                f"{listed(sorted(known)) or 'there are none'}"
            )

    def _check_day(self, part: Part, day: str) -> None:
        """Raise InputError if an event is not on the day that the path names."""
        dates = part.table[TIMESTAMP].cast(pa.date32(), safe=False)
        row = first(pc.not_equal(dates, pa.scalar(date.fromisoformat(day))))
        if row is not None:
            raise InputError(
                f"{part.at(row)}: its time is {part.table[TIMESTAMP][row].as_py()}, not on {day}, the day in the path; "
                f"with fetch.table.utc_offset_hours={self.params.utc_offset_hours}, expected only events of that day: "
                "set the hours that the log's days are ahead of UTC, or move the row to the file of its day"
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
            else:
                result[ours] = _side(table, ours)
        if name in ("events", "history") and SEQUENCE not in result:
            result[SEQUENCE] = np.arange(table.part.table.num_rows)
        return Part(pa.table(result), table.part.files, table.part.rows)


def _key(table: str) -> str:
    """Return the parameter that maps our names of a table's columns to theirs."""
    return "fetch.table.columns" if table == "events" else f"fetch.table.{table}_columns"


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


def _items_of(events: _Input, described: Sequence[str]) -> _Input:
    """Return the columns of events that describe items, with one row for each item: its last one."""
    rows = pa.table({"item": events[ITEM_ID], "row": np.arange(events.part.table.num_rows)})
    last = rows.group_by("item").aggregate([("row", "max")])["row_max"].to_numpy()
    names = {ours: theirs for ours, theirs in events.names.items() if ours in (ITEM_ID, *described)}
    lists = {ours: separator for ours, separator in events.lists.items() if ours in described}
    return _Input(events.part.take(np.sort(last)), names, lists, events.text)


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
