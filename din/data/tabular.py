"""Any log in tables, without code: `fetch.source: table`.

Paths, column names and rules come from `fetch.table`; docs/bring-your-own-log.md explains every key. Each event, item
and user has one row. The history of behaviours that are not impressions is either long (one row per behaviour) or in
lists (one row per user, oldest first). Messages use the files' own column names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from din.base.errors import InputError, listed, shown
from din.base.workspace import Workspace
from din.data import files, rawlog, readers, times, values
from din.data.rawlog import RawLog, columns_key, type_name
from din.data.readers import UNNAMED, Dialect
from din.data.rows import Check, Rows, Store
from din.data.rules import Rule
from din.data.source import Source
from din.params.blocks import to_json
from din.params.fetch import ALL_ROWS, Table
from din.schema import (
    BEHAVIOUR,
    EVENT_COLUMNS,
    HISTORY_COLUMNS,
    ITEM_ID,
    LABEL,
    SEQUENCE,
    TIMESTAMP,
    USER_ID,
)

_TABLES = {
    "events": (USER_ID, ITEM_ID, TIMESTAMP),
    "items": (ITEM_ID,),
    "users": (USER_ID,),
    "history": (USER_ID, ITEM_ID, TIMESTAMP),
}
"""The columns that each table must have."""
_MOST_IMPRESSIONS = 4096  # in a cell
_IMPRESSION = "(.+)-([^-]+)"
_Ids = Mapping[tuple[str, str], str]  # the type of each id column of each table
_Answers = Mapping[str, tuple[str, list[Check]]]  # SQL for further columns, and checks of their values


@dataclass(frozen=True)
class Input:
    """One table as it was read."""

    rows: Rows  # the files' columns under their own names
    names: Mapping[str, str]  # our names, mapped to theirs
    lists: Mapping[str, str | None]  # our name of each list column: its separator, or None if the file has lists
    forms: Mapping[str, int]  # of the values in each column, under their names
    text: bool  # whether the columns are text without types (CSV)

    def identifier(self, column: str) -> str:
        """Return SQL for an id column in the type that its values have in this table."""
        name = self.names[column]
        kind = self.rows.types[name]
        return values.cast(self.rows[name], kind, values.identifier(kind, self.forms[name], self.text))

    def side(self, column: str) -> str:
        """Return SQL for a side column in its final type."""
        name = self.names[column]
        kind = self.rows.types[name]
        if column not in self.lists:
            return values.cast(self.rows[name], kind, values.side(kind, self.forms[name], self.text))
        elements = values.elements(self.rows, name, self.lists[column])
        kind = kind.removesuffix("[]") if kind.endswith("[]") else "VARCHAR"
        wanted = values.side(kind, self.forms[name], self.text or self.lists[column] is not None)
        return f"list_transform({elements}, lambda x: {values.cast('x', kind, wanted)})"


class TableSource(Source):
    """The log that `fetch.table` describes.

    Attributes:
        advice: the next step after any bad value, if `fetch.table` does not describe the files. None: each check has
            its own.

    Raises:
        InputError: `columns` or `keep` names a column that an event can't have.
    """

    grows = True
    advice: ClassVar[str | None] = None
    params: Table

    def __init__(self, workspace: Workspace, params: Table, until: date | None) -> None:
        super().__init__(workspace, params, until)
        self._listed: dict[str, tuple[files.File, ...]] = {}
        further = (*params.keep, *params.items_from_events)
        allowed = (USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE, *further)
        if wrong := set(params.columns) - {*allowed}:
            raise InputError(
                f"fetch.table.columns: {sorted(wrong)[0]!r} is not one of {', '.join(allowed)}; "
                "list further columns in fetch.table.keep, and name the label and the behaviour in "
                "fetch.table.label and fetch.table.behaviour"
            )
        if wrong := {name for name in further if name.lower() in (*EVENT_COLUMNS, "date")}:
            raise InputError(
                f"fetch.table.keep: {sorted(wrong)[0]!r} is a name that the log itself uses; keep the column under "
                "another name, set in fetch.table.columns as `our name: their name`"
            )

    def identity(self) -> Any:
        """Return the digests of all files in order, and the parameters that shape rows. Paths are not part of it."""
        self._listed = {}
        # Digests come first, because a publisher may read its parameters from the files.
        digests = {table: files.digests(self.workspace, self._files(table)) for table in _TABLES}
        shape = {key: value for key, value in to_json(self.params).items() if key not in _TABLES}
        return {"params": shape, "files": digests, "days": [file.day for file in self._files("events")]}

    def read(self) -> RawLog:
        """Read and convert all tables.

        Raises:
            InputError: see docs/bring-your-own-log.md. The message names file, row or column, and value.
        """
        return self._log(self._input("events", self._read("events", self._files("events"))))

    def with_events(self, events: Rows) -> RawLog:
        """Convert events in the columns of `fetch.table.events`, and read and convert all other tables."""
        return self._log(self._input("events", self._once(events)))

    def found(self) -> dict[str, tuple[files.File, ...]]:
        """Return the files of each table, without the days after `until`."""
        result: dict[str, tuple[files.File, ...]] = {}
        for table in _TABLES:
            patterns = getattr(self.params, table)
            key = f"fetch.table.{table}"
            result[table] = files.expand(self.workspace, patterns, key, self.until) if patterns else ()
            if patterns and not result[table] and table == "events":
                oldest = min(str(file.day) for file in files.expand(self.workspace, patterns, key))
                raise InputError(
                    f"data.until={self.until}: no event is that old, the first file is of {oldest}; set a later day"
                )
        return result

    def dialect(self, table: str) -> Dialect:
        """Return how the text files of a table are written.

        Tables beside the events have no header if their columns are mapped by numbers, such as `column_1`.
        """
        csv = self.params.csv
        is_events = self._is_of_events(table)
        names = csv.names if is_events else ()
        lists = tuple(name for name, separator in self.params.separators.items() if separator == ",")
        dialect = Dialect(csv.delimiter, names, csv.encoding, csv.decimal, lists, csv.quote)
        file = next(iter(self._files(table)), None)
        if is_events or file is None or files.format_of(file.path) != "CSV":
            return dialect
        wanted = self._wanted(table).values()
        if not all(re.fullmatch(rf"{UNNAMED}\d+", header) for header in wanted):
            return dialect
        cells = readers.first_line(file, dialect)
        if {*wanted} <= {*cells}:
            return dialect
        return replace(dialect, names=tuple(f"{UNNAMED}{number}" for number in range(1, len(cells) + 1)))

    @cached_property
    def _store(self) -> Store:
        return Store(self.workspace.spill)

    @cached_property
    def _loaded(self) -> dict[str, Input]:
        """The tables other than the events, as they were read."""
        others = [(table, self._files(table)) for table in ("items", "users", "history")]
        return {
            table: self._input(table, self._read(table, table_files)) for table, table_files in others if table_files
        }

    @cached_property
    def _sides(self) -> dict[str, Input]:
        """The tables other than the events, with one row per item, user and behaviour; none is empty."""
        sides = dict(self._loaded)
        if history := sides.pop("history", None):
            if self._is_own_history:  # what a user's first event says is all that came before it
                time = history.names[TIMESTAMP]
                at, _ = times.to_utc(history.rows, time, self.params.timestamp_unit, history.forms[time])
                history = replace(history, rows=history.rows.one_each("min", history.identifier(USER_ID), order=at))
            history = _exploded(history)
            if history.rows.count:
                sides["history"] = history
        return sides

    @property
    def _is_own_history(self) -> bool:
        """True if the events say what their users had seen before."""
        return self.params.history is not None and self.params.history == self.params.events

    def _is_of_events(self, table: str) -> bool:
        """Return whether a table is read from the events' files."""
        return table == "events" or (table == "history" and self._is_own_history)

    def _files(self, table: str) -> tuple[files.File, ...]:
        """Return the files of a table, listed once."""
        if not self._listed:
            self._listed = self.found()
        return self._listed.get(table, ())

    def _read(self, table: str, table_files: Sequence[files.File]) -> Rows:
        """Read a table's columns: required, mapped and existing optional ones, and those of label and behaviour."""
        wanted = self._wanted(table)
        cell, parts = next(iter(self.params.explode.items())) if table == "events" and self.params.explode else ("", ())

        def select(names: Sequence[str], file: str) -> list[str]:
            header = names
            if parts:
                names = _with_parts(names, cell, parts, file)
            self._require(table, names, file)
            others = self._others(table, names)
            if twice := [name for name in others if name in wanted]:
                raise InputError(
                    f"{file}: column {shown(twice[0])} collides with a column that fetch.table.{columns_key(table)} "
                    f"renames to it; rename it there as well, e.g. {{other_{listed(twice[:1])}: {listed(twice[:1])}}}"
                )
            rules = self._rules(names, file).values() if table == "events" else ()
            chosen = (*wanted.values(), *others, *(rule.column for rule in rules), *parts)
            return list(dict.fromkeys(cell if name in parts and name not in header else name for name in chosen))

        rows = self._up_to(
            table, readers.read(table_files, select, self.dialect(table), self._store, table), table_files
        )
        if parts:
            rows = _by_impression(rows, cell, parts, self.params.separators)
        return self._once(rows) if table == "events" else rows

    def _up_to(self, table: str, rows: Rows, table_files: Sequence[files.File]) -> Rows:
        """Return the rows of events or history up to the day `until`, so that later ones decide nothing about them.

        Events whose path names their day stay: one of another day is refused.
        """
        if self.until is None or table not in ("events", "history") or (table == "events" and table_files[0].day):
            return rows
        unit = self.params.timestamp_unit
        utc, _ = times.to_utc(rows, self._wanted(table)[TIMESTAMP], unit, values.Form.NUMBER)
        time = f"{utc} + to_hours({self.params.utc_offset_hours})"
        kept = rawlog.up_to(rows, time, self.until).stored(self._store.file(f"cut-{table}"))
        if table == "events":
            rawlog.require_events(kept, rows, time, self.until)
        return kept

    def _once(self, events: Rows) -> Rows:
        """Return the events, without repeated ones if `fetch.table.drop_duplicates` is true."""
        if not self.params.drop_duplicates:
            return events
        table = self._input("events", events)
        return events.one_each("min", *map(table.identifier, _TABLES["events"]))  # 17 in one file is 17.0 in another

    def _require(self, table: str, names: Sequence[str], file: str) -> None:
        for column, header in self._wanted(table).items():
            if header not in names:
                named = "name all columns in fetch.table.csv.names"
                row = named if self._is_of_events(table) else f"map {{{column}: column_1}}"
                headless = f"; or if the first line is a row, {row}" if files.format_of(file) == "CSV" else ""
                raise InputError(
                    f"{file}: no column {header!r} for {column}; its columns: {listed(names)}. Map the right one in "
                    f"fetch.table.{columns_key(table)}, e.g. {{{column}: {listed(names[:1])}}}{headless}"
                )

    def _wanted(self, table: str) -> dict[str, str]:
        """Map our names of the columns that a table must have to theirs."""
        further = (*self.params.keep, *self.params.items_from_events) if table == "events" else ()
        return {column: column for column in (*_TABLES[table], *further)} | getattr(self.params, columns_key(table))

    def _others(self, table: str, names: Sequence[str]) -> list[str]:
        """Return the columns of a file that are read in addition to the wanted ones."""
        wanted = self._wanted(table)
        free = [name for name in names if name not in wanted.values()]
        if table == "history" and self._is_own_history:
            return []
        if table in ("items", "users"):
            return [name for name in free if name.strip()]  # pandas writes its index without a name
        optional = (SEQUENCE,) if table == "events" else (SEQUENCE, *self.params.keep)
        return [name for name in free if name in optional and name not in wanted]

    def _rules(self, names: Sequence[str], file: str) -> dict[str, Rule]:
        """Return the rules of label and behaviour over the columns of an events file; `all` and null need none."""
        texts = {LABEL: self.params.label, BEHAVIOUR: self.params.behaviour}
        return {
            role: Rule.parse(f"fetch.table.{role}", text, names, file)
            for role, text in texts.items()
            if text not in (None, ALL_ROWS)
        }

    def _input(self, table: str, rows: Rows) -> Input:
        names = self._wanted(table) | {name: name for name in self._others(table, rows.names)}
        lists = _lists(rows, names, self.params.separators, table)
        forms = values.forms(rows, {names[column]: separator for column, separator in lists.items()})
        return Input(rows, names, lists, forms, files.format_of(rows.files[0][0]) == "CSV")

    def _log(self, events: Input) -> RawLog:
        sides = dict(self._sides)
        self._check_separators(events)
        if columns_of_items := self.params.items_from_events:
            sides["items"] = _items_of(events, columns_of_items)
            names = {our: their for our, their in events.names.items() if our not in columns_of_items}
            events = replace(events, names=names)
        ids = types_of_ids({"events": events, **sides})
        parts = {name: self._part(name, table, ids) for name, table in sides.items()}
        return RawLog(
            events=self._events(events, ids),
            items=parts.get("items"),
            users=parts.get("users"),
            history=parts.get("history"),
            fields=_fields(parts),
            protocol="temporal",
            daily=self.params.daily,
            sampled=self.params.sampled or 1.0,
        )

    def _check_separators(self, events: Input) -> None:
        allowed = {name for cell, parts in self.params.explode.items() for name in (cell, *parts)}
        for name, table in {"events": events, **self._loaded}.items():
            keys = () if name == "history" else EVENT_COLUMNS
            allowed |= {header for column, header in table.names.items() if column not in keys}
        if wrong := set(self.params.separators) - allowed:
            raise InputError(
                f"fetch.table.separators: {sorted(wrong)[0]!r} is not one of the columns that may hold lists: "
                f"{listed(sorted(allowed)) or 'there are none'}"
            )

    def _events(self, events: Input, ids: _Ids, start: int = 0) -> Rows:
        """Return the events in the contract's types, numbered from `start` if they have no sequence."""
        rules = self._rules(events.rows.names, events.rows.name)
        answers = {role: rule.of(events.rows, events.forms[rule.column]) for role, rule in rules.items()}
        all_rows = "CAST(1 AS TINYINT)"
        answers.setdefault(LABEL, (all_rows, []))
        answers.setdefault(BEHAVIOUR, (all_rows if self.params.behaviour == ALL_ROWS else answers[LABEL][0], []))
        return self._part("events", events, ids, answers, start)

    def _part(
        self, name: str, table: Input, ids: _Ids, answers: _Answers = MappingProxyType({}), start: int = 0
    ) -> Rows:
        """Return a table under our names and in the contract's types, with further columns."""
        result: dict[str, str] = {}
        checks = []
        by_time = name in ("events", "history")
        for column, header in table.names.items():
            if (name, column) in ids:
                result[column] = values.cast(table.rows[header], table.rows.types[header], ids[name, column])
            elif by_time and column == TIMESTAMP:
                unit = self.params.timestamp_unit
                utc, time_checks = times.to_utc(table.rows, header, unit, table.forms[header])
                local = f"{utc} + to_hours({self.params.utc_offset_hours})"
                # Before the day of the first event, because `daily` hides behaviours of the same day.
                is_own = name == "history" and self._is_own_history
                result[column] = f"date_trunc('day', {local}) - INTERVAL 1 MICROSECOND" if is_own else local
                checks += time_checks
            elif by_time and column == SEQUENCE:
                result[column], check = values.whole(table.rows, header)
                checks.append(check)
            else:
                result[column] = table.side(column)
        if by_time:
            result.setdefault(SEQUENCE, f"{start * table.rows.split} + row")
        for role, (answer, answer_checks) in answers.items():
            result[role] = answer
            checks += answer_checks
        table.rows.require(checks, self.advice)
        return table.rows.select(result)


def _lists(rows: Rows, names: Mapping[str, str], separators: Mapping[str, str], table: str) -> dict[str, str | None]:
    """Map our name of each list column to its separator, or to None if the file has lists."""
    all_lists = {
        column: separators.get(header)
        for column, header in names.items()
        if header in separators or rows.types[header].endswith("[]")
    }
    scalars = (USER_ID,) if table == "history" and ITEM_ID in all_lists else EVENT_COLUMNS
    lists = {column: separator for column, separator in all_lists.items() if column not in scalars}
    for name, kind in rows.types.items():
        is_list = name in (names[column] for column in lists) and kind.endswith("[]")
        if (kind.removesuffix("[]") if is_list else kind).endswith(("]", ")")):
            raise InputError(
                f"{rows.name}: column {shown(name)} is of type {type_name(kind)}; expected numbers or text, and "
                "lists of them only in side columns and in the history: write one value per row, or leave the column "
                "out"
            )
    return lists


def _with_parts(names: Sequence[str], cell: str, parts: Sequence[str], file: str) -> list[str]:
    """Return the names of the columns after `fetch.table.explode`."""
    item, label = parts
    if cell not in names or item in names or label == cell:
        exists = item if item in names else label
        problem = f"no column {cell!r}" if cell not in names else f"column {exists!r} exists"
        raise InputError(
            f"{file}: {problem}; its columns: {listed(names)}. Expected in fetch.table.explode a column that lists "
            "impressions, and two new names, such as {impressions: [item, click]}; the second one may be a column that "
            "lists the clicked items"
        )
    return [*(name for name in names if name not in (cell, label)), *parts]


def _by_impression(rows: Rows, cell: str, parts: Sequence[str], separators: Mapping[str, str]) -> Rows:
    """Return a row for each impression that a row lists in a cell, with its item and its label.

    The label is in the cell, after a minus, or it is 1 for the items in the label's own column.
    """
    impressions = values.elements(rows, cell, separators.get(cell, " "))
    label = parts[1]
    if label in rows.names:
        text = "lambda y: CAST(y AS VARCHAR)"
        clicked = f"list_transform({values.elements(rows, label, separators.get(label, ' '))}, {text})"
        bad = f"list_filter({clicked}, lambda x: NOT list_contains(list_transform({impressions}, {text}), x))"
        made = ("x", f"CASE WHEN list_contains({clicked}, CAST(x AS VARCHAR)) THEN '1' ELSE '0' END")
        at_fault, expected = label, f"an item of {cell}"
    else:
        bad = f"list_filter({impressions}, lambda x: NOT regexp_full_match(CAST(x AS VARCHAR), '{_IMPRESSION}'))"
        made = tuple(f"regexp_extract(CAST(x AS VARCHAR), '^{_IMPRESSION}$', {group})" for group in (1, 2))
        at_fault, expected = cell, "an item, a minus and a label, such as N1-0 N2-1"
    size = f"len({impressions})"
    checks = [
        Check(f"{size} = 0", cell, "NULL", "at least one impression", "leave the row out"),
        Check(f"len({bad}) > 0", f"an entry of {at_fault}", f"{bad}[1]", expected, "correct it"),
        Check(
            f"{size} > {_MOST_IMPRESSIONS}",
            f"the number of impressions in {cell}",
            size,
            f"at most {_MOST_IMPRESSIONS}",
            "write several rows",
        ),
    ]
    rows.require(checks)
    columns = {name: rows[name] for name in rows.names if name not in (cell, label)}
    for part, sql in zip(parts, made, strict=True):
        columns[part] = f"unnest(list_transform({impressions}, lambda x: {sql}))"
    return rows.exploded(columns, size, _MOST_IMPRESSIONS)


def _exploded(history: Input) -> Input:
    """Turn lists into long form: one row per element, numbered within its list, with other columns repeated."""
    if ITEM_ID not in history.lists:
        return history
    rows = history.rows
    names = history.names
    lists = {names[column]: values.elements(rows, names[column], sep) for column, sep in history.lists.items()}
    item = names[ITEM_ID]

    def check(header: str) -> Check:
        return Check(
            f"len({lists[header]}) <> len({lists[item]})",
            f"the number of values in {header}",
            f"len({lists[header]})",
            f"as many as in {item}",
            "give one for each item of the list",
        )

    rows.require(map(check, lists))
    columns = {header: f"unnest({lists[header]})" if header in lists else rows[header] for header in names.values()}
    columns[SEQUENCE] = f"unnest(range(len({lists[item]})))"
    text = history.text or history.lists[ITEM_ID] is not None
    return Input(rows.select(columns), {**names, SEQUENCE: SEQUENCE}, {}, {**history.forms, SEQUENCE: 1}, text)


def _items_of(events: Input, described: Sequence[str]) -> Input:
    """Return the columns of events that describe items, with one row for each item: its last one."""
    names = {column: header for column, header in events.names.items() if column in (ITEM_ID, *described)}
    lists = {column: separator for column, separator in events.lists.items() if column in described}
    return replace(events, rows=events.rows.one_each("max", events.identifier(ITEM_ID)), names=names, lists=lists)


def types_of_ids(tables: Mapping[str, Input]) -> dict[tuple[str, str], str]:
    """Return the type of each id column of each table; text wins if a CSV can be read either way."""
    result = {}
    for column in (USER_ID, ITEM_ID):
        with_id = {name: table for name, table in tables.items() if column in table.names}
        kinds = {
            name: values.identifier(table.rows.types[table.names[column]], table.forms[table.names[column]], table.text)
            for name, table in with_id.items()
        }
        is_text = "VARCHAR" in kinds.values()
        result |= {
            (name, column): "VARCHAR" if is_text and with_id[name].text else kind for name, kind in kinds.items()
        }
    return result


def _fields(parts: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """Declare every side column as a field, lists as multi.

    Kept columns of events are left out: they may be feedback, so the user must declare them.
    """
    return {
        group: {
            name: "multi" if kind.endswith("[]") else "categorical"
            for name, kind in parts[table].types.items()
            if name not in (*EVENT_COLUMNS, *HISTORY_COLUMNS)
        }
        for group, table in (("user", "users"), ("item", "items"))
        if table in parts
    }
