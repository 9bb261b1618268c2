"""The raw contract: the tables that every source yields, the checks they share, and the writer of `data/raw/`.

A source returns its tables as queries and writes nothing itself. DuckDB checks and sorts them, and rows are written one
row group at a time, so memory does not grow with the log.

Equal tables are written as equal bytes: rows are in sequence order, row-group size and codec are fixed, and no file
holds the time of writing. Each day is one file. A changed log is written whole before `fetch` links the unchanged days
back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from din.base.errors import InputError, shown
from din.data import values
from din.data.rows import Check, Rows
from din.schema import (
    BEHAVIOUR,
    DAY_US,
    EPOCH,
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
_NUMBERS = ("BIGINT", "INTEGER", "DOUBLE", "FLOAT", "DECIMAL")
_TYPES = {TIMESTAMP: "TIMESTAMP", SEQUENCE: "BIGINT", LABEL: "TINYINT", BEHAVIOUR: "TINYINT"}


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
        fields: the fields to use if `featurize.fields` is null, declared in the same way.
        protocol: the split to use if `featurize.protocol` is null.
        order: the rule for ties to use if `featurize.order` is null.
        daily: whether the source promises rows for every day.
        sampled: the share of the impressions without a click that the log holds.
    """

    events: Rows
    items: Rows | None = None
    users: Rows | None = None
    history: Rows | None = None
    truth: pa.Table | None = None
    fields: Mapping[str, Mapping[str, Any]]
    protocol: str
    order: str | None = None
    daily: bool = False
    sampled: float = 1.0


def write(log: RawLog, tree: Path, until: date | None) -> dict[str, Any]:
    """Check a log, write its files below `tree`, and return its description; see `description`.

    Events and history after the day `until` are left out.

    Raises:
        InputError: the log breaks the contract, or no event is left.
    """
    log = checked(log)
    events = up_to(log.events, log.events[TIMESTAMP], until)
    history = log.history and up_to(log.history, log.history[TIMESTAMP], until)
    require_events(events, log.events, log.events[TIMESTAMP], until)
    log = replace(log, events=events, history=history)
    days = _write_events(log.events, tree)
    write_others(log, tree)
    if log.truth:
        kept = log.truth.filter(pc.is_in(log.truth[SEQUENCE], value_set=log.events.table[SEQUENCE]))
        _write(kept.to_batches(), kept.schema, tree / "truth" / "truth.parquet")
    return description(log, until, days, log.events.count)


def up_to(rows: Rows, time: str, until: date | None) -> Rows:
    """Return the rows without those after the day `until`; `time` is SQL for a row's time, NULL if it can't be read."""
    return rows.where(f"NOT coalesce({time} >= DATE '{until}' + 1, false)") if until else rows


def require_events(kept: Rows, events: Rows, time: str, until: date | None) -> None:
    """Raise InputError if `up_to` left no event."""
    if kept.count == 0 < events.count:
        (first,) = events.ask(f"strftime(min({time}), '%Y-%m-%d')")
        raise InputError(f"data.until={until}: no event is that old, the first is of {first}; set a later day")


def write_day(events: Rows, tree: Path, truth: pa.Table | None = None) -> None:
    """Check the events of one day, and write them and their true probabilities to files below `tree`."""
    log = checked(RawLog(events=events, fields={}, protocol="temporal"))
    for day in _write_events(log.events, tree):
        if truth:
            _write(truth.to_batches(), truth.schema, tree / "truth" / f"date={day}" / "part-0.parquet")


def write_others(log: RawLog, tree: Path) -> None:
    """Write the tables of a checked log other than the events."""
    for name, leading in (("items", (ITEM_ID,)), ("users", (USER_ID,)), ("history", HISTORY_COLUMNS)):
        if part := getattr(log, name):
            rows = _ordered(part, leading)
            order = ", ".join(rows[key] for key in _RULES[name].unique) if name == "history" else "row"
            _write(rows.batches(order), rows.schema, tree / f"{name}.parquet")


def goes_beyond(tree: Path, last: date) -> bool:
    """Return whether a written history has behaviours after a day."""
    path = tree / "history.parquet"
    if not path.is_file():
        return False
    ((newest,),) = duckdb.execute(f"SELECT max({TIMESTAMP}) FROM read_parquet(?)", [str(path)]).fetchall()
    return newest is not None and newest.date() > last


def day_file(day: str) -> str:
    """Return the path of a day's events below the tree."""
    return f"events/date={day}/part-0.parquet"


def description(log: RawLog, until: date | None, days: Sequence[str], rows: int) -> dict[str, Any]:
    """Return the part of the manifest that describes the rows."""
    sampled = {"sampled": log.sampled} if log.sampled < 1 else {}
    return sampled | {
        "fields": log.fields,
        "protocol": log.protocol,
        "order": log.order,
        "daily": log.daily,
        "until": until and until.isoformat(),
        "days": [*days],
        "rows": rows,
    }


def checked(log: RawLog) -> RawLog:
    """Return the log in the contract's types, with NaN as missing.

    Raises:
        InputError: a table has no rows; a column's name can't name a field; an id is missing or of the wrong type; a
            column of the history can't be cast to the type of the events' column; a number is infinite; an item or
            user is listed twice; a sequence number is used twice. The message names file, row, column and value.
    """
    parts: dict[str, Rows] = {}
    for name, rule in _RULES.items():
        rows = getattr(log, name)
        if rows is None:
            continue
        require_rows(rows, name)
        _check_names(rows, name)
        rows = parts[name] = _checked(rows, rule.ids)
        for column in rule.ids:
            _same_type(column, parts["events"], rows)
        if name == "history":
            rows = parts[name] = _cast(parts["events"], rows)
        _unique(rows, rule)
    return replace(log, **parts)


def require_rows(rows: Rows, table: str) -> None:
    """Raise InputError if a table of events, items, users or history has no rows."""
    if rows.count == 0:
        raise InputError(f"{rows.name}: no rows; expected at least one of {table}: check the path and the export")


def columns_key(table: str) -> str:
    """Return the key of `fetch.table` that maps our names of a table's columns to theirs."""
    return "columns" if table == "events" else f"{table}_columns"


def _check_names(rows: Rows, table: str) -> None:
    names: dict[str, str] = {}
    for name in rows.names:
        other = names.setdefault(name.lower(), name)
        if problem := name_problem(name) or (name != other and f"the name differs from {shown(other)} by case only"):
            raise InputError(
                f"{rows.name}: column {shown(name)}: {problem}; rename the column, or give it another name in "
                f"fetch.table.{columns_key(table)}"
            )


def _checked(rows: Rows, ids: tuple[str, ...]) -> Rows:
    types = _TYPES if ids == (USER_ID, ITEM_ID) else {}  # in other tables these names have no meaning
    columns = {}
    checks = []
    for name, kind in rows.types.items():
        column = rows[name]
        if name in ids:
            if kind not in ("BIGINT", "VARCHAR"):
                problem = f"{name} is of type {type_name(kind)}; expected integers or text"
                raise InputError(f"{rows.name}: {problem}: store all ids as one of them")
            checks.append(Check(f"{column} IS NULL", name, "NULL", "one in every row", "fill it or leave the row out"))
        if kind in ("DOUBLE", "FLOAT"):
            fix = "correct the value, or leave it empty for missing"
            checks.append(Check(f"isinf({column})", name, column, "a finite number or nothing", fix))
            column = f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"
        columns[name] = f"CAST({column} AS {types[name]})" if name in types else column
    rows.require(checks)
    return rows.select(columns)


def type_name(kind: str) -> str:
    """Return the name of a type of DuckDB for messages."""
    return {"BIGINT": "int64", "DOUBLE": "double", "VARCHAR": "string"}.get(kind, kind.lower())


def _same_type(column: str, events: Rows, other: Rows) -> None:
    expected, actual = events.types[column], other.types[column]
    if expected != actual:
        firsts = [rows.ask(f"arg_min({rows[column]}, row)")[0] for rows in (events, other)]
        raise InputError(
            f"{other.name}: {column} is {type_name(actual)} (first value {firsts[1]!r}), but in {events.name} it is "
            f"{type_name(expected)} (first value {firsts[0]!r}); mixed id types never match: store both as integers or "
            "both as text"
        )


def _cast(events: Rows, history: Rows) -> Rows:
    """Return the history with its columns in the types of the events' columns of the same names.

    Numbers in a text column are text. Fractions beside whole numbers stay as they are, since readers unite both types.

    Raises:
        InputError: a column can't be cast: text among numbers, or lists among single values.
    """
    columns = {name: history[name] for name in history.names}
    for column in set(history.names) & set(events.names) - {*HISTORY_COLUMNS}:
        expected, actual = events.types[column], history.types[column]
        is_text = actual.startswith("VARCHAR") and not expected.startswith("VARCHAR")
        is_other = is_text or expected.endswith("[]") != actual.endswith("[]")
        if is_other and history.ask(f"count({history[column]})")[0]:
            raise InputError(
                f"{history.name}: {column} is {type_name(actual)}, but in {events.name} it is {type_name(expected)}; "
                "one column has one type: correct the values, store both as text, or leave the column out"
            )
        if is_other:
            columns[column] = f"CAST(NULL AS {expected})"
        elif expected.startswith("VARCHAR"):
            columns[column] = values.text(history[column], actual)
        elif not (expected.startswith(_NUMBERS) and actual.startswith(_NUMBERS)) or _is_whole(history, column):
            columns[column] = f"CAST({history[column]} AS {expected})"
    return history.select(columns)


def _is_whole(rows: Rows, column: str) -> bool:
    """Return whether a column of fractions holds integers alone, as pandas writes them beside missing values."""
    value = rows[column]
    is_integer = f"{value} = trunc({value}) AND abs({value}) < 1e18"
    return rows.types[column] == "DOUBLE" and rows.ask(f"coalesce(bool_and({is_integer}), true)")[0]


def _unique(rows: Rows, rule: _Rule) -> None:
    keys = ", ".join(rows[key] for key in rule.unique)
    if rule.unique == (SEQUENCE,) and rows.ask(f"max({keys} - row) = min({keys} - row)")[0]:
        return  # numbered in the order of the files
    repeated = f"SELECT {keys} FROM ({rows.query}) GROUP BY {keys} HAVING count(*) > 1"
    if rows.con.execute(f"{repeated} LIMIT 1").fetchone() is None:
        return
    pairs = f"SELECT min(row, 2) AS pair, {keys} FROM ({rows.query}) WHERE ({keys}) IN ({repeated}) GROUP BY {keys}"
    (((before, row), *values),) = rows.con.execute(f"{pairs} ORDER BY pair[2], {keys} LIMIT 1").fetchall()
    value = ", ".join(f"{key} {value!r}" for key, value in zip(rule.unique, values, strict=True))
    raise InputError(f"{rows.at(row)}: duplicate {value}: first seen in {rows.at(before)}; {rule.advice}")


def _ordered(rows: Rows, leading: tuple[str, ...]) -> Rows:
    names = (*leading, *(name for name in rows.names if name not in leading))
    return rows.select({name: rows[name] for name in names})


def _write_events(events: Rows, tree: Path) -> list[str]:
    """Write one file per day, by sequence, and return the days."""
    events = _ordered(events, EVENT_COLUMNS)
    schema = events.schema
    pieces = _of_one_day(events.batches(f"CAST({events[TIMESTAMP]} AS DATE), {events[SEQUENCE]}"))
    days = []
    for number, of_day in groupby(pieces, key=itemgetter(0)):
        days.append((EPOCH.date() + timedelta(days=number)).isoformat())
        _write((piece for _, piece in of_day), schema, tree / day_file(days[-1]))
    return days


def _of_one_day(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut sorted batches where a day ends; yield each piece with the number of its day since 1970."""
    for batch in batches:
        days = batch[TIMESTAMP].cast(pa.int64()).to_numpy() // DAY_US
        for start, end in pairwise([0, *np.flatnonzero(np.diff(days)) + 1, len(days)]):
            yield int(days[start]), batch.slice(start, end - start)


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Write one file; equal rows give equal bytes, however they are cut into batches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _row_groups(batches, schema):
            writer.write_table(group.combine_chunks(), _ROW_GROUP)  # the bytes of pages depend on chunks


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows in tables of one size, and a smaller last one."""
    held: list[pa.RecordBatch] = []
    missing = _ROW_GROUP
    for batch in batches:
        while len(batch) >= missing:
            yield pa.Table.from_batches([*held, batch.slice(0, missing)])
            batch = batch.slice(missing)
            held = []
            missing = _ROW_GROUP
        held.append(batch)
        missing -= len(batch)
    if missing < _ROW_GROUP:
        yield pa.Table.from_batches(held, schema)
