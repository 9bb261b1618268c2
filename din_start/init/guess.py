"""Guess the parameters of a log: an overlay of params.yaml, and a reason for each of its keys.

    first rows ── look, roles ──> fetch.table ── the reader of `din fetch` ──> all rows ── fields, split ──> featurize

The second half reads the whole log as a fetch would, so a log that a fetch would refuse is refused here, with the same
message. Unlike a fetch, it holds the columns in memory.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.base.errors import InputError, listed, shown
from din.base.names import ModelName
from din.base.workspace import Workspace
from din.data import SOURCES, files
from din.data.rawlog import RawLog, checked
from din.data.rules import Rule
from din.data.tabular import TableSource
from din.params.fetch import ALL_ROWS, DATE, Csv, Table
from din.params.overlays import nested
from din.schema import EVENT_COLUMNS, ITEM_ID, SEQUENCE, TIMESTAMP, USER_ID, Group
from din_start.init import fields, label, roles, sides, split, timezone, words
from din_start.init.choice import Choice
from din_start.init.fields import Events, FieldGuess
from din_start.init.look import Column, Look
from din_start.init.sides import separators_of
from din_start.params.recipes import RECIPES

_HOUR_US = 3_600_000_000
_RESERVED = {*EVENT_COLUMNS, "date"}
_AGAIN = 0.01  # share of repeated events from which validate_raw would close
_IN_TWO_ROWS = 0.9  # share of clicks beside a row without one, from which these are likely to be their impressions
_OFTEN = 20  # training rows a user, so that an embedding of the user can be learned
_FEW = 100_000  # rows that are trained in seconds, however rare a click is
_RARE = 50  # rows without a click to each click, from which most of them teach little
_ALIKE = 0.9  # share of rows without a click with one answer, from which these rows tell little
_ENOUGH = 10  # of them to keep for each click
_UNLIKE = 0.05  # share of the rarer label's rows that differ from most rows of their user, item or day
_WRITTEN = {
    "delimiter": "gives all lines the same number of cells",
    "names": "the first line is a row, not a header",
    "encoding": "the bytes of a table are not UTF-8",
    "decimal": "numbers are written like 12,50",
    "quote": "quotes are part of the text: some begin a cell, but don't end it",
}


def guess(
    workspace: Workspace, tables: Mapping[str, Look], overrides: Mapping[str, str], place: str | None = None
) -> dict[str, Choice]:
    """Return the parameters of a log in tables by dotted key.

    Args:
        workspace: where relative paths start.
        tables: the first rows of `events`, and of `items`, `users` and `history` if there are any.
        overrides: what a person said: the columns of `time`, `user` and `item`, the `unit`, the `label`, the `split`.
        place: the folder or file that a person named, if the tables were found there.

    Raises:
        InputError: a role can't be guessed, or a fetch would refuse the log.
    """
    events = tables["events"]
    choices = roles.guess(events, overrides)
    columns = {USER_ID: choices["user"].value, ITEM_ID: choices["item"].value, TIMESTAMP: choices["time"].value}
    rule = label.parse(choices["label"].value, events)
    others = [
        name
        for name, column in events.columns.items()
        if name not in {*columns.values(), choices["label"].value, *_RESERVED} and not column.holds_objects
    ]
    sets = _of_files(workspace, tables, place or events.paths) | _of_roles(choices, columns)
    beside, lists = sides.guess(tables, columns, choices["unit"].value)
    sets |= beside
    separators = separators_of(events, others) | lists | {**events.separators}
    zone, log = _read_in_its_zone(workspace, sets, events, columns[TIMESTAMP], others, separators)
    sets |= zone
    for table, covers in sides.coverage(log).items():
        sets[f"fetch.table.{table}"] = Choice(tables[table].paths, f"{tables[table].reason}\n{covers}")
    keys = _keys(log)
    if "label" not in overrides and not label.is_named(rule.column):
        _require_answers(rule.column, keys)
    rows = log.events.table
    by_day = DATE in events.paths
    is_given = "label" in overrides and rule.comparison is not None
    in_two_rows = _share_in_two_rows(keys)
    sets |= _of_clicks(choices["label"], is_given, keys, in_two_rows)
    sets |= split.guess(keys, _named(overrides.get("split")), rated=label.is_rating(rule, events))
    sets |= _of_days(rows, keys, by_day, in_two_rows)
    is_temporal = sets["featurize.protocol"].value == "temporal"
    ruled = rule.column if rule.comparison else None
    if ruled in others:
        sets |= _of_answers(rule, rows[ruled], events.headed)
    described = None if "items" in tables else Group.CONTEXT if by_day else Group.ITEM
    event_fields = [fields.of_event(name, rows[name], keys, described, name == ruled) for name in others]
    if before := next((name for name in others if sides.is_history(events, name, columns)), None):
        event_fields = [field for field in event_fields if field.name != before]
        if "history" in tables or by_day:
            other = "a log in files of days can't be its own history" if by_day else "a table is the history already"
            event_fields.append(FieldGuess(before, f"it lists earlier items, but {other}"))
        else:
            sets |= _of_history(events, before, columns)
    event_fields += _left_out(events, _RESERVED - {*columns.values(), rule.column, SEQUENCE})
    if is_temporal and in_two_rows <= _IN_TWO_ROWS and "fetch.table.behaviour" not in sets:
        answers = [field.name for field in event_fields if field.group is Group.BEHAVIOUR]
        sets |= _of_skipped(rows.select(answers), keys.labels)
    described_by = _of_sides(log, keys, is_temporal)
    named = _once_each([*described_by, *event_fields])
    return sets | _of_fields(named[len(described_by) :], named[: len(described_by)], separators)


def name_of(workspace: Workspace, paths: str) -> str:
    """Return the name of a log in lower case: the last part of its path that says more than `clicks` or `data`."""
    place = workspace.located(paths.split(",")[0])
    path = place if "://" in place else str(Path(place).resolve())
    *folders, file = re.split(r"[/\\]", path.replace(DATE, ""))
    for part in (file.split(".")[0], *reversed(folders)):
        says = any(not word.isdigit() and not words.means(word, "log") for word in words.words(part))
        name = "-".join(re.findall("[a-z0-9]+", words.plain(part)))[:128]
        if name and says:
            return str(ModelName(name))
    return "clicks"


def of_publisher(workspace: Workspace, source: Mapping[str, Choice], protocol: str | None) -> dict[str, Choice]:
    """Return the parameters of a log in its publisher's files; its fields are the source's own.

    Args:
        workspace: where relative paths start.
        source: the source and its options, as `find.publisher` returns them.
        protocol: the split that a person named. None: the source's own.

    Raises:
        InputError: a fetch would refuse the log.
    """
    name = source["fetch.source"].value
    options = source["fetch.options"].value
    log = SOURCES[name].thing(workspace, SOURCES[name].parse(options, "fetch.options")["options"], None).read()
    keys = _keys(log)
    model = name_of(workspace, options["path"])
    sets = {"promote.model_name": Choice(model, "the name of the log, for its champions")}
    rows, clicks = len(keys.labels), int(keys.labels.sum())
    why = f"{source['fetch.source'].reason}\n{rows:,} rows, {clicks:,} clicks: a CTR of {clicks / rows:.1%}"
    named = _named(protocol) or Choice(log.protocol, f"the source {name} says so")
    rated = log.protocol == "by_user" and "rating" in log.fields.get("behaviour", {})
    return {**source, "fetch.source": Choice(name, why), **sets, **split.guess(keys, named, rated=rated)}


def _named(protocol: str | None) -> Choice | None:
    """Return the choice of a split that a person named.

    Raises:
        InputError: there is no such split.
    """
    if protocol is None:
        return None
    if protocol not in RECIPES:
        raise InputError(f"--split {shown(protocol)}: expected {listed(RECIPES)}")
    return Choice(protocol, "you said so")


def _of_files(workspace: Workspace, tables: Mapping[str, Look], place: str) -> dict[str, Choice]:
    """Return the parameters that say where the files are and how they are written, and the name of their place."""
    events = tables["events"]
    name = name_of(workspace, place)
    count = f"{len(events.files)} {'file' if len(events.files) == 1 else 'files'}"
    sets = {
        "fetch.source": Choice("table", "a log in files of its own"),
        "fetch.table.events": Choice(events.paths, f"{count}: {events.reason}"),
        "promote.model_name": Choice(name, "the name of the log, for its champions"),
    }
    if events.explode:
        sets["fetch.table.explode"] = events.explode
    needs_quotes = any(side.needs_quotes for side in tables.values())
    quote = '"' if needs_quotes else min((side.dialect.quote for side in tables.values()), key=bool)
    written = replace(events.dialect, encoding=_encoding_of(tables), quote=quote)
    for key, why in _WRITTEN.items():
        value = getattr(written, key)
        if value != getattr(Csv, key):
            sets[f"fetch.table.csv.{key}"] = Choice(value, why)
    return sets


def _encoding_of(tables: Mapping[str, Look]) -> str:
    """Return the encoding that reads all tables.

    Raises:
        InputError: there is none.
    """
    texts = [side for side in tables.values() if files.format_of(side.files[0].path) == "CSV"]
    if all(side.dialect.encoding != "utf-16" for side in texts):
        texts = [side for side in texts if not side.is_ascii]  # any other encoding reads ASCII as well
    encodings = {side.paths: side.dialect.encoding for side in texts}
    if len({*encodings.values()}) > 1:
        each = ", ".join(f"{paths} is {encoding}" for paths, encoding in encodings.items())
        raise InputError(f"{each}; expected one encoding for all tables: convert all to UTF-8, e.g. with iconv")
    return next(iter(encodings.values()), tables["events"].dialect.encoding)


def _of_roles(choices: Mapping[str, Choice], columns: Mapping[str, str]) -> dict[str, Choice]:
    whys = (f"{choices[role].value} is the {role}: {choices[role].reason}" for role in ("user", "item", "time"))
    renamed = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    return {
        "fetch.table.columns": Choice(renamed, "\n".join(whys)),
        "fetch.table.label": choices["label"],
        "fetch.table.timestamp_unit": choices["unit"],
    }


def _read_in_its_zone(
    workspace: Workspace,
    sets: Mapping[str, Choice],
    events: Look,
    time: str,
    others: Sequence[str],
    separators: Mapping[str, str],
) -> tuple[dict[str, Choice], RawLog]:
    """Return the parameter of the time zone, if there is one, and the whole log.

    Args:
        sets: the parameters of the files and the columns.
        time: the column of the times.
        others: the columns without a role, to be read as well.
    """
    days = timezone.day_columns(events, time)
    renamed = {name if name in others else f"{name} of the log": name for name in days}  # some names are reserved
    kept = {name: name for name in others}
    log = _read(workspace, sets, kept | renamed, separators)
    zone = timezone.guess(log.events, events.files, {ours: days[theirs] for ours, theirs in renamed.items()})
    offset = {"fetch.table.utc_offset_hours": zone} if zone.reason else {}
    if zone.value:
        log = _read(workspace, {**sets, **offset}, kept, separators)
    return offset, log


def _read(
    workspace: Workspace, sets: Mapping[str, Choice], keep: Mapping[str, str], separators: Mapping[str, str]
) -> RawLog:
    """Read the whole log as a fetch with these parameters would, with further columns of the events by our names."""
    table = nested({key: choice.value for key, choice in sets.items()})["fetch"]["table"]
    renamed = {ours: theirs for ours, theirs in keep.items() if ours != theirs}
    table["columns"] = {**table["columns"], **renamed}
    csv = Csv(**table.pop("csv", {}))
    return TableSource(workspace, Table(**table, csv=csv, keep=(*keep,), separators={**separators}), None).read()


def _keys(log: RawLog) -> Events:
    """Return the keys of the events of a log that a fetch would take."""
    return Events.of(
        checked(replace(log, events=log.events.select({name: log.events[name] for name in EVENT_COLUMNS}))).events.table
    )


def _require_answers(column: str, keys: Events) -> None:
    """Check that a label whose name means no answer differs between the rows of a user, of an item and of a day.

    Raises:
        InputError: it describes users, items or days. The message names the ways out.
    """
    for whose, of in {"user": keys.users, "item": keys.items, "day": keys.days}.items():
        rows = np.bincount(of)
        again = rows > 1
        clicks = np.bincount(of, keys.labels)[again]
        others = rows[again] - clicks
        if np.minimum(clicks, others).sum() < _UNLIKE * min(clicks.sum(), others.sum()):
            raise InputError(
                f"{column} is the same in nearly all rows of each {whose}, so it describes the {whose}, not whether "
                "an item was clicked; name the column that says so, or a rule such as rating >= 4, with --label; if "
                f"every row is a click, give --label {ALL_ROWS}"
            )


def _of_clicks(label: Choice, is_given: bool, keys: Events, in_two_rows: float) -> dict[str, Choice]:
    """Return the label with the number of clicks in its reason, and how many other rows to train on if these are many.

    Raises:
        InputError: no row is a click, or each is one by a rule that a person gave (`is_given`).
    """
    rows = len(keys.labels)
    clicks = int(keys.labels.sum())
    if clicks == 0 or (is_given and clicks == rows):
        raise InputError(
            f"fetch.table.label: {label.value}: is {min(clicks, 1)} in all {rows:,} rows, so nothing tells a click "
            "from another row; name another column, or a rule such as rating >= 4, with --label. If every row is a "
            f"click, give --label {ALL_ROWS}"
        )
    why = f"{label.reason}\n{rows:,} rows, {clicks:,} clicks: a CTR of {clicks / rows:.1%}"
    if in_two_rows > _IN_TWO_ROWS:
        why += (
            f"\n{in_two_rows:.0%} of the clicks have a row without a click of the same user, item and day: if an "
            "impression and its click are two rows, make them one"
        )
    sets = {"fetch.table.label": Choice(label.value, why)}
    others = (rows - clicks) / clicks
    if rows >= _FEW and others >= _RARE:
        why = f"{others:.0f} rows without a click to each click; {_ENOUGH} of them train as well, and sooner"
        sets["featurize.keep_negatives"] = Choice(float(f"{_ENOUGH / others:.1g}"), why)
    return sets


def _share_in_two_rows(keys: Events) -> float:
    """Return the share of clicks whose user, item and day another row has without a click."""
    of_user = keys.users.astype(np.int64) * (keys.items.max() + 1) + keys.items
    of_day = of_user * (keys.days.max() + 1) + keys.days
    clicked = keys.labels == 1
    return float(np.isin(of_day[clicked], of_day[~clicked]).mean()) if clicked.any() else 0.0


def _of_days(table: pa.Table, keys: Events, by_day: bool, in_two_rows: float) -> dict[str, Choice]:
    """Return the parameters of logs with a file a day, without times, and with repeated events."""
    sets = {}
    if by_day and len(np.unique(keys.days)) == keys.days.max() + 1:
        sets["fetch.table.daily"] = Choice(True, "a file for every day, without a gap")
    if len(table[TIMESTAMP].unique()) == 1:
        sets["featurize.order"] = Choice("sequence", "all rows have the same time, so their order in the files counts")
    events = table.group_by([USER_ID, ITEM_ID, TIMESTAMP]).aggregate([])
    again = 1 - events.num_rows / table.num_rows
    if again > _AGAIN and (table[TIMESTAMP].cast(pa.int64()).to_numpy() % _HOUR_US).any():
        if in_two_rows > _IN_TWO_ROWS:
            return sets  # it would drop the clicks
        why = f"{table.num_rows - events.num_rows:,} rows ({again:.1%}) repeat the user, item and time of another row"
        sets["fetch.table.drop_duplicates"] = Choice(True, why)
    elif again > _AGAIN:
        why = f"times are whole hours or days, and {again:.0%} of the rows repeat the user, item and time of another"
        sets["validate_raw.max_duplicate_rate"] = Choice(round(min(1.0, 2 * again), 2), why)
    return sets


def _of_answers(label: Rule, answers: pa.ChunkedArray, is_headed: bool) -> dict[str, Choice]:
    """Return the behaviours of a log of ratings or actions: all of them, if the others tell about the user as well.

    Views count as behaviours only if the log has no clicks.
    """
    seen = Column(label.column, answers)
    if seen.distinct <= 2:
        return {}
    if seen.kind == "number" and label.comparison in (">=", ">"):
        if is_headed and not words.means(label.column, "rating"):
            return {}
        what = "a bad rating"
    elif label.comparison == "!=" and words.means(label.value, "opened"):
        if any(words.means(value, "click") for value in seen.different.to_pylist()):
            return {}
        what = f"{label.value}, a visit of the item's page,"
    else:
        return {}
    why = f"{what} tells about the user as well, so all rows enter the history, with their values"
    return {"fetch.table.behaviour": Choice(ALL_ROWS, why)}


def _of_skipped(answers: pa.Table, labels: np.ndarray) -> dict[str, Choice]:
    """Return the behaviours of a log by days: all rows, as of midnight, if rows without a click differ in an answer.

    An answer is a number that tells the label. A name alone could mean something else.
    """
    skipped = pa.array(labels == 0)
    for name in answers.column_names:
        column = answers[name]
        counts = column.filter(skipped).value_counts().field("counts")
        differs = pc.max(counts).as_py() < _ALIKE * skipped.true_count
        if differs and Column(name, column).kind == "number" and fields.tells(column, labels) > fields.TELLS_ALL:
            why = f"rows without a click differ in {name}, so they tell about the user as well, and enter the history"
            midnight = (
                "a history that grows within the day tells how the user's last rows ended, which cost GAUC on a public "
                "log; requests must send the history as it was at midnight"
            )
            return {
                "fetch.table.behaviour": Choice(ALL_ROWS, why),
                "featurize.order": Choice("daily", midnight),
            }
    return {}


def _of_history(events: Look, before: str, columns: Mapping[str, str]) -> dict[str, Choice]:
    """Return how a column of the events becomes the history."""
    why = f"{before} lists items of the events: what a user had seen before the first of them"
    if not events.headed:
        why += (
            "\nif they were shown together with the row's item instead, remove fetch.table.history, and the separator "
            f"of {before}"
        )
    return {
        "fetch.table.history": Choice(events.paths, why),
        "fetch.table.history_columns": Choice({**columns, ITEM_ID: before}, "the columns of the events"),
    }


def _left_out(events: Look, reserved: Collection[str]) -> list[FieldGuess]:
    """Return the columns of events that can be no fields: their values are objects, or their names `reserved`."""
    of_objects = "its values are objects; write each part of them that matters as a column of its own"
    of_raw_log = "the raw log has a column of this name; rename it"
    return [
        *(FieldGuess(name, of_objects) for name, column in events.columns.items() if column.holds_objects),
        *(FieldGuess(name, of_raw_log) for name in events.columns if name in reserved),
    ]


def _of_sides(log: RawLog, keys: Events, is_temporal: bool) -> list[FieldGuess]:
    """Return the fields of the tables of items and users, and the user's id, if it can be learned."""
    guesses = fields.of_table(log.items.table, Group.ITEM, ITEM_ID) if log.items else []
    guesses += fields.of_table(log.users.table, Group.USER, USER_ID) if log.users else []
    rows_of_user = len(keys.users) / (int(keys.users.max()) + 1)
    if is_temporal and rows_of_user >= _OFTEN:
        why = f"{rows_of_user:.0f} rows a user are enough to learn users by name"
        guesses.append(FieldGuess(USER_ID, why, Group.USER, "id"))
    return guesses


def _once_each(fields: Iterable[FieldGuess]) -> list[FieldGuess]:
    """Leave out each field with the name of an earlier one, since a name means one field in all groups."""
    first_of_name: dict[str, FieldGuess] = {}
    named = []
    for field in fields:
        if field.group and first_of_name.setdefault(field.name, field) is not field:
            field = FieldGuess(field.name, "another table has a field of this name; rename one of them to use both")
        named.append(field)
    return named


def _of_fields(of_events: list[FieldGuess], sides: list[FieldGuess], separators: dict[str, str]) -> dict[str, Choice]:
    """Return the declared fields, and what to read for them.

    Args:
        of_events, sides: columns of the events, and of other tables.
        separators: the separators of columns that hold lists.
    """
    declared: dict[str, dict[str, Any]] = {}
    for field in (*sides, *of_events):
        if field.group is not None:
            declared.setdefault(str(field.group), {})[field.name] = field.kind
    left_out = {field.name for field in of_events if field.group is None}
    of_items = [field.name for field in of_events if field.group is Group.ITEM]
    kept = [field.name for field in of_events if field.group not in (None, Group.ITEM)]
    lists = {name: separator for name, separator in separators.items() if name not in left_out}
    reasons = "\n".join(field.sentence for field in (*sides, *of_events))
    sets = {"featurize.fields": Choice(declared, reasons or "the log has no further columns")}
    if kept:
        sets["fetch.table.keep"] = Choice(kept, "declared in featurize.fields")
    if of_items:
        sets["fetch.table.items_from_events"] = Choice(of_items, "the same in all rows of an item")
    if lists:
        sets["fetch.table.separators"] = Choice(lists, "most values contain it, and the parts repeat")
    return sets
