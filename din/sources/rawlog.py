"""The raw contract: the tables that every source yields, the checks they share, and the writer of `data/raw/`.

A source returns Arrow tables and writes nothing itself, so the log must fit into memory (about 60 bytes an event); of
a log that is read or drawn by day, a day must.
Equal tables are written as equal bytes: rows are in sequence order, row-group size and codec are fixed, and no file
holds the time of writing. Each day is one file. A changed log is written whole before `fetch` links the unchanged days
back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from din.errors import InputError, shown
from din.schema import (
    BEHAVIOUR,
    DAY_US,
    EVENT_COLUMNS,
    HISTORY_COLUMNS,
    ITEM_ID,
    LABEL,
    SEQUENCE,
    TIMESTAMP,
    USER_ID,
    name_problem,
)

TIME = pa.timestamp("us")
_EPOCH = date(1970, 1, 1)
_ROW_GROUP = 1 << 17


@dataclass(frozen=True)
class _Rule:
    """The ids of a table, the columns that together are unique, and the advice for a table where they are not."""

    ids: tuple[str, ...]
    unique: tuple[str, ...]
    advice: str


_RULES = {
    "events": _Rule((USER_ID, ITEM_ID), (SEQUENCE,), "number each event once, or leave the column out"),
    "history": _Rule(
        (USER_ID, ITEM_ID), (USER_ID, TIMESTAMP, SEQUENCE), "give each behaviour of a user its own number"
    ),
    "items": _Rule((ITEM_ID,), (ITEM_ID,), "keep one row for each item"),
    "users": _Rule((USER_ID,), (USER_ID,), "keep one row for each user"),
}
_TYPES = {TIMESTAMP: TIME, SEQUENCE: pa.int64(), LABEL: pa.int8(), BEHAVIOUR: pa.int8()}


@dataclass(frozen=True)
class Part:
    """One table of a log, and where each of its rows came from.

    Attributes:
        table: the rows.
        files: (file name, number of rows), in reading order.
        rows: for each row of the table, the row of the files that it came from. None if they are the same.
    """

    table: pa.Table
    files: tuple[tuple[str, int], ...]
    rows: np.ndarray | None = None

    @property
    def name(self) -> str:
        """The name of all files together, for messages."""
        return self.files[0][0] if len(self.files) == 1 else f"{self.files[0][0]} … {self.files[-1][0]}"

    @property
    def origins(self) -> np.ndarray:
        """For each row of the table, the row of the files that it came from."""
        return np.arange(self.table.num_rows) if self.rows is None else self.rows

    def take(self, rows: np.ndarray) -> "Part":
        """Return some of the rows."""
        return Part(self.table.take(pa.array(rows)), self.files, self.origins[rows])

    def at(self, row: int) -> str:
        """Return the place of a row for messages, e.g. `clicks.csv row 17`.

        Rows are counted from 1 within their file, without the header.
        """
        row = row if self.rows is None else int(self.rows[row])
        for name, rows in self.files:
            if row < rows:
                return f"{name} row {row + 1}"
            row -= rows
        raise IndexError(row)


@dataclass(frozen=True, kw_only=True)
class RawLog:
    """The log as a source reads it.

    Attributes:
        events: user_id, item_id (int64 or string), timestamp (us, UTC), sequence (int64), label, behaviour (int8), and
            any other columns.
        items: item_id and side fields, or None.
        users: user_id and profile, or None.
        history: behaviours that are not impressions: user_id, item_id, timestamp, sequence (oldest first within a
            user), and behaviour columns.
        truth: sequence and true click probability, for simulated logs only.
        fields: the fields to use where `featurize.fields` is null, declared in the same way.
        protocol: the split to use where `featurize.protocol` is null.
        order: the rule for ties to use where `featurize.order` is null.
        daily: whether the source promises rows for every day.
    """

    events: Part
    items: Part | None = None
    users: Part | None = None
    history: Part | None = None
    truth: pa.Table | None = None
    fields: Mapping[str, Mapping[str, Any]]
    protocol: str
    order: str | None = None
    daily: bool = False


def write(log: RawLog, tree: Path, until: date | None) -> dict[str, Any]:
    """Check a log and write its files below `tree`, without events and history after the day `until`.

    Returns:
        The part of the manifest that describes the rows; see `description`.

    Raises:
        InputError: the log breaks the contract; see `checked`.
    """
    log = checked(log)
    events = _until(log.events.table, until)
    if events.num_rows == 0:
        first = pc.min(log.events.table[TIMESTAMP]).as_py()
        raise InputError(f"data.until={until}: no event is that old, the first is of {first:%Y-%m-%d}; set a later day")
    days = _write_days(events, tree)
    _write_others(log, tree, until)
    if log.truth:
        kept = pc.is_in(log.truth[SEQUENCE], value_set=events[SEQUENCE])
        _write(log.truth.filter(kept), tree / "truth" / "truth.parquet")
    return description(log, until, days, events.num_rows)


def write_day(events: Part, tree: Path, truth: pa.Table | None = None) -> None:
    """Check the events of one day and write their file below `tree`, and that of their true probabilities.

    Raises:
        InputError: an event breaks the contract; see `checked`.
    """
    log = checked(RawLog(events=events, fields={}, protocol="temporal"))
    for day in _write_days(log.events.table, tree):
        if truth:
            _write(truth, tree / truth_file(day))


def write_others(log: RawLog, tree: Path, until: date | None) -> None:
    """Check a log and write its tables other than the events, without history after the day `until`.

    Raises:
        InputError: the log breaks the contract; see `checked`.
    """
    _write_others(checked(log), tree, until)


def day_file(day: str) -> str:
    """Return the path of a day's events below the tree."""
    return f"events/date={day}/part-0.parquet"


def truth_file(day: str) -> str:
    """Return the path of the true probabilities of a day that is written alone."""
    return f"truth/date={day}/part-0.parquet"


def description(log: RawLog, until: date | None, days: list[str], rows: int) -> dict[str, Any]:
    """Return the part of the manifest that describes the rows: fields, protocol, order, daily, until, days, rows."""
    return {
        "fields": log.fields,
        "protocol": log.protocol,
        "order": log.order,
        "daily": log.daily,
        "until": until and until.isoformat(),
        "days": days,
        "rows": rows,
    }


def checked(log: RawLog) -> RawLog:
    """Return the log in the contract's types, with NaN as missing.

    Raises:
        InputError: a table has no rows; an id is missing or of the wrong type; a column of the history differs in type
            from the events' column; a number is infinite; an item or user is listed twice; a sequence number is used
            twice. The message names file, row, column and value.
    """
    parts = {}
    for name, rule in _RULES.items():
        part = getattr(log, name)
        if part is None:
            continue
        require_rows(part, name)
        _check_names(part, name)
        part = _checked(part, rule.ids)
        parts[name] = part
        for column in rule.ids:
            _same_type(column, parts["events"], part)
        if name == "history":
            _castable(parts["events"], part)
        _unique(part, rule)
    return replace(log, **parts)


def require_rows(part: Part, table: str) -> None:
    """Raise InputError if a table of events, items, users or history has no rows."""
    if part.table.num_rows == 0:
        raise InputError(f"{part.name}: no rows; expected at least one of {table}: check the path and the export")


def _check_names(part: Part, table: str) -> None:
    """Raise InputError if a column's name can't name a field."""
    key = "columns" if table == "events" else f"{table}_columns"
    for name in part.table.column_names:
        if problem := name_problem(name):
            raise InputError(
                f"{part.name}: column {shown(name)}: {problem}; rename the column, or give it another name in "
                f"fetch.table.{key}"
            )


def _checked(part: Part, ids: tuple[str, ...]) -> Part:
    columns = {}
    types = _TYPES if ids == (USER_ID, ITEM_ID) else {}  # in other tables the names mean nothing
    for name in part.table.column_names:
        column = part.table[name]
        if name in ids and (row := first(pc.is_null(column))) is not None:
            raise InputError(f"{part.at(row)}: {name} is missing; every row needs one: fill it or leave the row out")
        if name in ids and column.type not in (pa.int64(), pa.string()):
            raise InputError(f"{part.name}: {name} is of type {column.type}; expected integers or text")
        if pa.types.is_floating(column.type):
            if (row := first(pc.is_inf(column))) is not None:
                raise InputError(
                    f"{part.at(row)}: {name} is {column[row].as_py()}; expected a finite number or nothing: "
                    "correct the value, or leave it empty for missing"
                )
            column = pc.if_else(pc.is_nan(column), None, column)
        columns[name] = column.cast(types.get(name, column.type))
    return replace(part, table=pa.table(columns))


def _same_type(column: str, events: Part, other: Part) -> None:
    expected, found = events.table[column].type, other.table[column].type
    if expected != found:
        raise InputError(
            f"{other.name}: {column} is {found} (first value {other.table[column][0].as_py()!r}), but in {events.name} "
            f"it is {expected} (first value {events.table[column][0].as_py()!r}); mixed id types never match: "
            "store both as integers or both as text"
        )


def _castable(events: Part, history: Part) -> None:
    """Raise InputError if a column of the history can't be cast to the type of the events' column of the same name."""
    for column in history.table.column_names:
        if column in HISTORY_COLUMNS or column not in events.table.column_names:
            continue
        expected, found = events.table[column].type, history.table[column].type
        if _mixed(expected, found) and history.table[column].null_count < history.table.num_rows:
            raise InputError(
                f"{history.name}: {column} is {found}, but in {events.name} it is {expected}; one column has one type: "
                "correct the values, store both as text, or leave the column out"
            )


def _mixed(expected: pa.DataType, found: pa.DataType) -> bool:
    """Return whether text meets numbers, or lists meet single values; numbers in a text column are text."""
    if pa.types.is_list(expected) and pa.types.is_list(found):
        return _mixed(expected.value_type, found.value_type)
    if pa.types.is_list(expected) or pa.types.is_list(found):
        return True
    return pa.types.is_string(found) and not pa.types.is_string(expected)


def _unique(part: Part, rule: _Rule) -> None:
    codes = [_codes(part.table[key]) for key in rule.unique]
    if any((code[1:] > code[:-1]).all() for code in codes):  # rows numbered in order need no sorting
        return
    order = np.lexsort(codes[::-1])  # stable: of equal rows, the earlier comes first
    same = np.logical_and.reduce([code[order[1:]] == code[order[:-1]] for code in codes])
    if same.any():
        pairs = np.flatnonzero(same)
        pair = pairs[order[pairs + 1].argmin()]
        before, row = int(order[pair]), int(order[pair + 1])
        value = ", ".join(f"{key} {part.table[key][row].as_py()!r}" for key in rule.unique)
        raise InputError(f"{part.at(row)}: duplicate {value}: first seen in {part.at(before)}; {rule.advice}")


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return integers that are equal where the values are."""
    if pa.types.is_string(column.type):
        column = column.combine_chunks().dictionary_encode().indices
    return column.cast(pa.int64()).to_numpy()


def first(mask: pa.ChunkedArray) -> int | None:
    """Return the first row where a boolean column is true, or None."""
    row = pc.index(mask, True).as_py()
    return None if row < 0 else row


def _until(table: pa.Table, until: date | None) -> pa.Table:
    if until is None:
        return table
    return table.filter(pc.less(table[TIMESTAMP], pa.scalar(until + timedelta(days=1)).cast(TIME)))


def _ordered(table: pa.Table, leading: tuple[str, ...]) -> pa.Table:
    return table.select([*leading, *(name for name in table.column_names if name not in leading)])


def _write_days(events: pa.Table, tree: Path) -> list[str]:
    """Write one file per day, by sequence, and return the days.

    Rows are taken day by day, so that at most one copy of the log is in memory besides the log itself.
    """
    events = _ordered(events, EVENT_COLUMNS).combine_chunks()  # otherwise every `take` would combine the chunks again
    day_of = events[TIMESTAMP].cast(pa.int64()).to_numpy() // DAY_US
    order = np.lexsort((events[SEQUENCE].to_numpy(), day_of))
    numbers, starts = np.unique(day_of[order], return_index=True)
    days = [(_EPOCH + timedelta(days=int(number))).isoformat() for number in numbers]
    for day, rows in zip(days, np.split(order, starts[1:]), strict=True):
        _write(events.take(pa.array(rows)), tree / day_file(day))
    return days


def _write_others(log: RawLog, tree: Path, until: date | None) -> None:
    if log.items:
        _write(_ordered(log.items.table, (ITEM_ID,)), tree / "items.parquet")
    if log.users:
        _write(_ordered(log.users.table, (USER_ID,)), tree / "users.parquet")
    if log.history:
        keys = [(name, "ascending") for name in (USER_ID, TIMESTAMP, SEQUENCE)]
        history = _until(log.history.table, until)
        history = history.take(pc.sort_indices(history, sort_keys=keys))
        _write(_ordered(history, HISTORY_COLUMNS), tree / "history.parquet")


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata(None).combine_chunks()  # chunks would show in the pages' bytes
    pq.write_table(table, path, compression="zstd", row_group_size=_ROW_GROUP)
