"""Guess the parameters of a log: an overlay of params.yaml, and a reason for each of its keys.

    first rows ── look, roles ──> fetch.table ── the reader of `din fetch` ──> all rows ── fields, split ──> featurize

The second half reads the whole log as a fetch would, so a log that a fetch would refuse is refused here, with the same
message. Unlike a fetch, it holds the columns in memory.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError, shown
from din.init import fields, roles, split, words
from din.init.fields import Events, FieldGuess
from din.init.look import Look, look
from din.init.roles import Roles
from din.init.split import Set
from din.names import ModelName
from din.params import Params, Table
from din.params.fetch import DATE
from din.schema import DAY_US, EVENT_COLUMNS, ITEM_ID, SEQUENCE, TIMESTAMP, USER_ID, Group
from din.sources.files import File
from din.sources.rawlog import checked
from din.sources.rows import Rows
from din.sources.rules import Rule
from din.sources.tabular import TableSource
from din.workspace import Workspace

_EPOCH = date(1970, 1, 1).toordinal()
_HOUR_US = DAY_US // 24
_RESERVED = {*EVENT_COLUMNS, "date"}
_AGAIN = 0.01  # share of repeated events from which validate_raw would close
_OFTEN = 20  # training rows a user, so that an embedding of the user can be learned
_FEW = 100_000  # rows that are trained in seconds, however rare a click is
_RARE = 50  # rows without a click to each click, from which most of them teach little
_ENOUGH = 10  # of them to keep for each click


@dataclass(frozen=True)
class Asked:
    """The paths of the tables that a person named; None = no such table."""

    events: str
    items: str | None = None
    users: str | None = None


@dataclass(frozen=True)
class Guess:
    """The parameters of a log, each with its reason, and the numbers of its events and clicks."""

    sets: tuple[Set, ...]
    rows: int
    clicks: int


def guess(workspace: Workspace, params: Params, asked: Asked, given: Mapping[str, str]) -> Guess:
    """Return the parameters of a log, given the roles of columns that a person named; see `roles.guess`.

    Raises:
        Undecided: a role can't be guessed.
        InputError: a file can't be read, or a fetch would refuse the log.
    """
    events = look(workspace, asked.events, "--events")
    found = roles.guess(events, given)
    sets = [*_of_files(asked, events), *_of_roles(found)]
    others = _others(events, found)
    sides = {
        "items": _side(workspace, "items", asked.items, ITEM_ID, events.columns[found.item.value].name),
        "users": _side(workspace, "users", asked.users, USER_ID, events.columns[found.user.value].name),
    }
    for side in sides.values():
        sets += side.sets if side else []
    separators = _separators(events, others)
    for side in sides.values():
        separators |= side.separators if side else {}
    read = [*sets, Set("fetch.table.keep", others, ""), Set("fetch.table.separators", separators, "")]
    block = _block(params.fetch.table, read)
    log = TableSource(workspace, block, None).read()
    if hours := _offset(events.files, log.events):
        why = f"with UTC, events lie on other days than their file; the least difference that fits is {hours:+d} hours"
        sets.append(Set("fetch.table.utc_offset_hours", hours, why))
        log = TableSource(workspace, replace(block, utc_offset_hours=hours), None).read()
    table = log.events.table
    checked(replace(log, events=log.events.select({name: log.events[name] for name in EVENT_COLUMNS})))
    keys = Events.of(table)
    _check_label(found, keys)
    first = (pc.min(table[TIMESTAMP]).as_py()).date()
    sets += [*split.guess(keys, first, found.all_positive), *_of_days(table, keys, DATE in asked.events)]
    sets += _of_clicks(keys)
    graded = Rule.parse("--label", found.label.value, list(events.columns), asked.events)
    ruled = graded.column if graded.comparison and not found.all_positive else None
    if ruled in others and (words.means(ruled, words.RATING) or not events.headed):
        sets += _of_ratings(graded, table[ruled])
    guessed = fields.of_events(table, keys, others, asked.items is not None, ruled)
    used = {found.user.value, found.item.value, found.time.value, graded.column, SEQUENCE}
    reserved = [name for name in events.columns if name in _RESERVED - used]
    guessed += [FieldGuess(name, None, None, "the log itself uses this name; rename the column") for name in reserved]
    if log.items:
        guessed += fields.of_table(log.items.table, Group.ITEM, ITEM_ID)
    if log.users:
        guessed += fields.of_table(log.users.table, Group.USER, USER_ID)
    temporal = any(one.key == "featurize.protocol" and one.value == "temporal" for one in sets)
    rows_of_user = len(keys.users) / (int(keys.users.max()) + 1)
    if temporal and rows_of_user >= _OFTEN:
        why = f"{rows_of_user:.0f} rows a user are enough to learn users by name"
        guessed.insert(0, FieldGuess(USER_ID, Group.USER, "id", why))
    sets += _of_fields(guessed, others, separators, DATE in asked.events, asked.items is not None)
    return Guess(tuple(sets), table.num_rows, int(keys.labels.sum()))


@dataclass(frozen=True)
class _Side:
    sets: list[Set]
    separators: dict[str, str]


def _check_label(found: Roles, keys: Events) -> None:
    """Raise InputError if all rows are clicks, or none is, unless the log is one of clicks alone."""
    label = f"fetch.table.label: {found.label.value}"
    clicks = int(keys.labels.sum())
    rows = len(keys.labels)
    if found.all_positive and clicks < rows:
        raise InputError(
            f"{label}: is 1 in the first rows, but 0 in {rows - clicks:,} of all {rows:,}; if these are impressions "
            f"without a click, say so with --label {shown(found.label.value)}"
        )
    if clicks == 0 or (clicks == rows and not found.all_positive):
        raise InputError(
            f"{label}: is {min(clicks, 1)} in all {rows:,} rows, so there is nothing to learn; expected clicks and "
            "impressions without a click: name another column, or a rule such as rating >= 4, with --label"
        )


def _of_files(asked: Asked, events: Look) -> list[Set]:
    stem = re.split(r"[/\\]", asked.events.split(",")[0].replace(DATE, "").rstrip("*/."))[-1].split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._") or "clicks"
    sets = [
        Set("fetch.source", "table", "a log in files of its own"),
        Set("fetch.table.events", asked.events, f"{len(events.files)} {'file' if len(events.files) == 1 else 'files'}"),
        Set("promote.model_name", str(ModelName(name)), "the name of the log, for its champions"),
    ]
    dialect = events.dialect
    if dialect.delimiter:
        sets.append(Set("fetch.table.csv.delimiter", dialect.delimiter, "gives all lines the same number of cells"))
    if not events.headed:
        sets.append(Set("fetch.table.csv.names", list(dialect.names), "the first line is a row, not a header"))
    if dialect.encoding != "utf-8":
        sets.append(Set("fetch.table.csv.encoding", dialect.encoding, "the bytes are not UTF-8"))
    if dialect.decimal == ",":
        sets.append(Set("fetch.table.csv.decimal", ",", "numbers are written such as 12,50"))
    return sets


def _of_roles(found: Roles) -> list[Set]:
    named = {USER_ID: found.user.value, ITEM_ID: found.item.value, TIMESTAMP: found.time.value}
    reasons = (
        f"{found.user.value} is the user: {found.user.reason}",
        f"{found.item.value} is the item: {found.item.reason}",
        f"{found.time.value} is the time: {found.time.reason}",
    )
    columns = {ours: theirs for ours, theirs in named.items() if ours != theirs}
    return [
        Set("fetch.table.columns", columns, "\n".join(reasons)),
        Set("fetch.table.label", found.label.value, found.label.reason),
        Set("fetch.table.timestamp_unit", found.unit.value, found.unit.reason),
    ]


def _others(events: Look, found: Roles) -> list[str]:
    """Return the names of the columns that may become fields."""
    used = {found.user.value, found.item.value, found.time.value, found.label.value, *_RESERVED}
    return [
        name
        for name, column in events.columns.items()
        if name not in used and (not column.is_nested or pa.types.is_list(column.raw.type))
    ]


def _separators(table: Look, names: list[str]) -> dict[str, str]:
    return {name: separator for name in names if (separator := table.separator(name))}


def _side(workspace: Workspace, table: str, patterns: str | None, ours: str, theirs: str) -> _Side | None:
    """Return the parameters of an item or user table."""
    if patterns is None:
        return None
    seen = look(workspace, patterns, f"--{table}")
    if not seen.headed:
        raise InputError(
            f"--{table} {patterns}: its first line is a row, not a header, and only the columns of events can be named "
            f"in params.yaml; write a line with the names of the columns above it, with {ours} among them"
        )
    keys = [name for name in (theirs, ours) if name in seen.columns]
    if not keys:
        unique = [name for name, column in seen.columns.items() if column.distinct == column.rows]
        if len(unique) != 1:
            raise InputError(
                f"--{table} {patterns}: no column {theirs!r}, the name of the {ours} in the events; its columns: "
                f"{', '.join(seen.columns)}. Rename the right one to {theirs!r}"
            )
        keys = unique
    sets = [Set(f"fetch.table.{table}", patterns, "you named it")]
    if keys[0] != ours:
        sets.append(Set(f"fetch.table.{table}_columns", {ours: keys[0]}, "one row for each value"))
    return _Side(sets, _separators(seen, [name for name in seen.columns if name != keys[0]]))


def _block(table: Table, sets: list[Set]) -> Table:
    """Return `fetch.table` with the guessed values."""
    values = {one.key.removeprefix("fetch.table."): one.value for one in sets if one.key.startswith("fetch.table.")}
    csv = {key.removeprefix("csv."): value for key, value in values.items() if key.startswith("csv.")}
    plain = {key: value for key, value in values.items() if not key.startswith("csv.")}
    return replace(table, csv=replace(table.csv, **csv), **plain)


def _of_days(table: pa.Table, keys: Events, by_day: bool) -> Iterator[Set]:
    """Yield the parameters of logs with a file a day, and of logs with repeated events."""
    if by_day and len(np.unique(keys.days)) == keys.days.max() + 1:
        yield Set("fetch.table.daily", True, "a file for every day, without a gap")
    events = table.select([USER_ID, ITEM_ID, TIMESTAMP]).group_by([USER_ID, ITEM_ID, TIMESTAMP]).aggregate([])
    again = 1 - events.num_rows / table.num_rows
    if again <= _AGAIN:
        return
    times = table[TIMESTAMP].cast(pa.int64()).to_numpy()
    if (times % DAY_US).any():
        why = f"{table.num_rows - events.num_rows:,} rows ({again:.1%}) repeat the user, item and time of another"
        yield Set("fetch.table.drop_duplicates", True, why)
    else:
        why = f"times are days, and {again:.0%} of the rows repeat the user, item and day of another"
        yield Set("validate_raw.max_duplicate_rate", round(min(1.0, 2 * again), 2), why)


def _offset(files: Sequence[File], events: Rows) -> int:
    """Return by how many hours the days in the paths are ahead of UTC: the least number with which all events fit.

    It is 0 if the paths name no days, or if no number fits.
    """
    if any(file.day is None for file in files):
        return 0
    starts = np.array([date.fromisoformat(file.day).toordinal() - _EPOCH for file in files if file.day]) * DAY_US
    ends = np.cumsum([rows for _, rows in events.files])
    times = events.table[TIMESTAMP].cast(pa.int64()).to_numpy()
    into_day = times - starts[np.searchsorted(ends, np.arange(len(times)), side="right")]
    least = -(into_day.min() // _HOUR_US)
    most = (DAY_US - 1 - into_day.max()) // _HOUR_US
    fitting = [hours for hours in range(-12, 15) if least <= hours <= most]
    return min(fitting, key=abs, default=0)


def _of_clicks(keys: Events) -> Iterator[Set]:
    """Yield the share of rows without a click to train on, if clicks are rare."""
    clicks = int(keys.labels.sum())
    others = len(keys.labels) - clicks
    if clicks and len(keys.labels) >= _FEW and others >= _RARE * clicks:
        why = f"{others / clicks:.0f} rows without a click to each click; {_ENOUGH} of them train as well, and sooner"
        yield Set("featurize.keep_negatives", float(f"{_ENOUGH * clicks / others:.1g}"), why)


def _of_ratings(label: Rule, ratings: pa.ChunkedArray) -> Iterator[Set]:
    """Yield the behaviours of a log of ratings: all of them, since a bad rating tells about the user as well."""
    is_number = pa.types.is_integer(ratings.type) or pa.types.is_floating(ratings.type)
    if label.comparison in (">=", ">") and is_number and len(ratings.unique()) > 2:
        why = "a bad rating tells about the user as well, so all ratings enter the history, with their values"
        yield Set("fetch.table.behaviour", f"{label.column} >= {pc.min(ratings).as_py()}", why)


def _of_fields(
    guessed: list[FieldGuess], others: list[str], separators: dict[str, str], by_day: bool, has_items: bool
) -> list[Set]:
    """Return the declared fields, and which columns of events to keep for them."""
    declared: dict[str, dict[str, Any]] = {}
    reasons = []
    of_items = []
    for field in guessed:
        group = field.group
        if group is Group.ITEM and field.name in others and not has_items:
            if by_day:
                group = Group.CONTEXT  # days are read one by one, so events can't become an item table
            else:
                of_items.append(field.name)
        if group is None:
            reasons.append(f"{field.name} is left out: {field.reason}")
        else:
            declared.setdefault(str(group), {})[field.name] = field.kind
            reasons.append(f"{field.name} ({group}): {field.reason}")
    kept = [name for name in others if name not in of_items and any(name in group for group in declared.values())]
    used = {*kept, *of_items, *(name for name in separators if name not in others)}
    result = [Set("featurize.fields", declared, "\n".join(reasons) or "the log has no further columns")]
    if kept:
        result.append(Set("fetch.table.keep", kept, "declared in featurize.fields"))
    if of_items:
        result.append(Set("fetch.table.items_from_events", of_items, "the same in all rows of an item"))
    if split := {name: separator for name, separator in separators.items() if name in used}:
        result.append(Set("fetch.table.separators", split, "most values hold it, and the parts repeat"))
    return result
