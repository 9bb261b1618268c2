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

from din.errors import InputError, listed, shown
from din.init import fields, ids, label, split, time, words
from din.init.fields import Events, FieldGuess
from din.init.look import Choice, Look, look
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
_LABEL = "fetch.table.label"
_AGAIN = 0.01  # share of repeated events from which validate_raw would close
_OFTEN = 20  # training rows a user, so that an embedding of the user can be learned
_FEW = 100_000  # rows that are trained in seconds, however rare a click is
_RARE = 50  # rows without a click to each click, from which most of them teach little
_ENOUGH = 10  # of them to keep for each click


@dataclass(frozen=True)
class Roles:
    """The columns of the events that have a role, the unit of the time, and the rule of the label."""

    time: Choice
    unit: Choice
    user: Choice
    item: Choice
    label: Choice


def guess(workspace: Workspace, params: Params, tables: Mapping[str, str], given: Mapping[str, str]) -> list[Set]:
    """Return the parameters of a log.

    Args:
        workspace: where relative paths start.
        params: the defaults.
        tables: the paths of `events`, and of `items` and `users` if there are any.
        given: the columns that a person named; see `roles`.

    Raises:
        InputError: a role can't be guessed, a file can't be read, or a fetch would refuse the log.
    """
    events = look(workspace, tables["events"], "--events")
    found = roles(events, given)
    sets = [*_of_files(tables["events"], events), *_of_roles(found)]
    others = _others(events, found)
    separators = _separators(events, others)
    for table, ours, theirs in (("items", ITEM_ID, found.item.value), ("users", USER_ID, found.user.value)):
        if paths := tables.get(table):
            side = look(workspace, paths, f"--{table}")
            key = _key(side, f"--{table} {paths}", ours, theirs)
            sets.append(Set(f"fetch.table.{table}", paths, "you named it"))
            if key != ours:
                sets.append(Set(f"fetch.table.{table}_columns", {ours: key}, "one row for each value"))
            separators |= _separators(side, [name for name in side.columns if name != key])
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
    if not keys.labels.any():
        raise InputError(
            f"fetch.table.label: {found.label.value}: is 0 in all {table.num_rows:,} rows, so there is nothing to "
            "learn; name another column, or a rule such as rating >= 4, with --label"
        )
    if "label" in given and keys.labels.all() and given["label"] not in events.columns:
        raise InputError(
            f"fetch.table.label: {found.label.value}: is 1 in all {table.num_rows:,} rows, so nothing tells a click "
            "from another row; name another rule, such as rating >= 4, with --label. If every row is a click, run "
            "without --label"
        )
    clicks = int(keys.labels.sum())
    counted = f"{table.num_rows:,} rows, {clicks:,} clicks: a CTR of {clicks / table.num_rows:.1%}"
    sets = [replace(one, reason=f"{one.reason}\n{counted}") if one.key == _LABEL else one for one in sets]
    by_day = DATE in tables["events"]
    has_items = "items" in tables
    sets += [*split.guess(keys), *_of_days(table, keys, by_day), *_of_clicks(keys)]
    graded = Rule.parse("--label", found.label.value, list(events.columns), tables["events"])
    ruled = graded.column if graded.comparison else None
    if ruled in others and (words.means(ruled, words.RATING) or not events.headed):
        sets += _of_ratings(graded, table[ruled])
    guessed = [fields.of_event(name, table[name], keys, has_items, name == ruled) for name in others]
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
    sets += _of_fields(guessed, others, separators, by_day, has_items)
    return sets


def roles(log: Look, given: Mapping[str, str]) -> Roles:
    """Return the roles of a log's columns, given what a person said by role (`unit` too; the label may be a rule).

    Raises:
        InputError: a role that is not given can't be guessed; a given column does not exist, or can't have its role.
    """
    for role, name in given.items():
        if role not in ("label", "unit") and name not in log.columns:
            raise InputError(f"--{role} {shown(name)}: no such column; expected one of {listed(log.columns)}")
    when, unit = time.guess(log, given.get("time"), given.get("unit"))
    rule = label.guess(log, given.get("label"), when.value)
    labelled = [name for name in sorted(log.columns, key=len, reverse=True) if rule.value.startswith(name)]
    used = {when.value, *labelled[:1]}
    user = ids.guess(log, "user", words.USER, given.get("user"), used | {given.get("item", "")})
    item = ids.guess(log, "item", words.ITEM, given.get("item"), used | {user.value})
    return Roles(when, unit, user, item, rule)


def _of_files(paths: str, events: Look) -> Iterator[Set]:
    stem = re.split(r"[/\\]", paths.split(",")[0].replace(DATE, "").rstrip("*/."))[-1].split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._") or "clicks"
    dialect = events.dialect
    yield Set("fetch.source", "table", "a log in files of its own")
    yield Set("fetch.table.events", paths, f"{len(events.files)} {'file' if len(events.files) == 1 else 'files'}")
    yield Set("promote.model_name", str(ModelName(name)), "the name of the log, for its champions")
    if dialect.delimiter:
        yield Set("fetch.table.csv.delimiter", dialect.delimiter, "gives all lines the same number of cells")
    if not events.headed:
        yield Set("fetch.table.csv.names", list(dialect.names), "the first line is a row, not a header")
    if dialect.encoding != "utf-8":
        yield Set("fetch.table.csv.encoding", dialect.encoding, "the bytes are not UTF-8")
    if dialect.decimal == ",":
        yield Set("fetch.table.csv.decimal", ",", "numbers are written such as 12,50")


def _of_roles(found: Roles) -> Iterator[Set]:
    named = {USER_ID: found.user, ITEM_ID: found.item, TIMESTAMP: found.time}
    called = zip(("user", "item", "time"), named.values(), strict=True)
    reasons = [f"{one.value} is the {role}: {one.reason}" for role, one in called]
    columns = {ours: one.value for ours, one in named.items() if ours != one.value}
    yield Set("fetch.table.columns", columns, "\n".join(reasons))
    yield Set(_LABEL, found.label.value, found.label.reason)
    yield Set("fetch.table.timestamp_unit", found.unit.value, found.unit.reason)


def _others(events: Look, found: Roles) -> list[str]:
    """Return the names of the columns that may become fields."""
    used = {found.user.value, found.item.value, found.time.value, found.label.value, *_RESERVED}
    return [
        name
        for name, column in events.columns.items()
        if name not in used and (not column.is_nested or pa.types.is_list(column.values.type))
    ]


def _separators(table: Look, names: list[str]) -> dict[str, str]:
    return {name: separator for name in names if (separator := table.columns[name].separator)}


def _key(side: Look, place: str, ours: str, theirs: str) -> str:
    """Return the column of an item or user table that holds the ids: by its name, else the only one without repeats."""
    if not side.headed:
        raise InputError(
            f"{place}: its first line is a row, not a header, and only the columns of events can be named in "
            f"params.yaml; write a line with the names of the columns above it, with {ours} among them"
        )
    named = [name for name in (theirs, ours) if name in side.columns]
    unique = [name for name, column in side.columns.items() if column.distinct == column.rows]
    if named or len(unique) == 1:
        return [*named, *unique][0]
    raise InputError(
        f"{place}: no column {theirs!r}, the name of the {ours} in the events; its columns: {listed(side.columns)}. "
        f"Rename the right one to {theirs!r}"
    )


def _block(table: Table, sets: list[Set]) -> Table:
    """Return `fetch.table` with the guessed values."""
    values = {one.key.removeprefix("fetch.table."): one.value for one in sets if one.key.startswith("fetch.table.")}
    csv = {key.removeprefix("csv."): values.pop(key) for key in [*values] if key.startswith("csv.")}
    return replace(table, csv=replace(table.csv, **csv), **values)


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
) -> Iterator[Set]:
    """Yield the declared fields, and which columns of events to keep for them."""
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
    yield Set("featurize.fields", declared, "\n".join(reasons) or "the log has no further columns")
    if kept:
        yield Set("fetch.table.keep", kept, "declared in featurize.fields")
    if of_items:
        yield Set("fetch.table.items_from_events", of_items, "the same in all rows of an item")
    if split := {name: separator for name, separator in separators.items() if name in used}:
        yield Set("fetch.table.separators", split, "most values hold it, and the parts repeat")
