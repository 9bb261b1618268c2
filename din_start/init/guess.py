"""Guess the parameters of a log: an overlay of params.yaml, and a reason for each of its keys.

    first rows ── look, roles ──> fetch.table ── the reader of `din fetch` ──> all rows ── fields, split ──> featurize

The second half reads the whole log as a fetch would, so a log that a fetch would refuse is refused here, with the same
message. Unlike a fetch, it holds the columns in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from din.base.errors import InputError, listed, shown
from din.base.workspace import Workspace
from din.data import SOURCES
from din.data.rawlog import RawLog, checked
from din.data.tabular import TableSource
from din.params.fetch import DATE, Csv, Table
from din.params.overlays import nested
from din.schema import EVENT_COLUMNS, ITEM_ID, SEQUENCE, TIMESTAMP, USER_ID, Group
from din_start.init import behaviours, clicks, declared, fields, label, layout, roles, sides, split, timezone
from din_start.init.choice import Choice
from din_start.init.fields import Events, FieldGuess
from din_start.init.look import Look
from din_start.init.sides import separators_of
from din_start.params.recipes import RECIPES


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
    roles_of = {*columns.values(), choices["label"].value, SEQUENCE}
    left_out = declared.left_out(events, roles_of)
    others = [name for name in events.columns if name not in {*roles_of, *(field.name for field in left_out)}]
    parameters, separators, log = _read_all(workspace, tables, place or events.paths, choices, columns, others)
    keys = _keys(log)
    if "label" not in overrides and not label.is_named(rule.column):
        clicks.require_answers(rule.column, keys)
    rows = log.events.table
    is_given = "label" in overrides and rule.comparison is not None
    in_two_rows = clicks.share_in_two_rows(keys)
    parameters |= clicks.of_clicks(choices["label"], is_given, keys, in_two_rows)
    parameters |= split.guess(keys, _named(overrides.get("split")), rated=label.is_rating(rule, events))
    parameters |= clicks.of_rows(rows, keys, DATE in events.paths, in_two_rows)
    is_temporal = parameters["featurize.protocol"].value == "temporal"
    ruled = rule.column if rule.comparison else None
    if ruled in others:
        parameters |= behaviours.of_answers(rule, rows[ruled], events.headed)
    event_fields, history = _fields_of_events(tables, columns, rows, keys, others, ruled)
    parameters |= history
    event_fields += left_out
    if is_temporal and in_two_rows <= clicks.IN_TWO_ROWS and "fetch.table.behaviour" not in parameters:
        answers = [field.name for field in event_fields if field.group is Group.BEHAVIOUR]
        parameters |= behaviours.of_skipped(rows.select(answers), keys.labels)
    described_by = declared.of_sides(log, keys, is_temporal)
    named = declared.once_each([*described_by, *event_fields])
    return parameters | declared.of_fields(named[len(described_by) :], named[: len(described_by)], separators)


def _read_all(
    workspace: Workspace,
    tables: Mapping[str, Look],
    place: str,
    choices: Mapping[str, Choice],
    columns: Mapping[str, str],
    others: Sequence[str],
) -> tuple[dict[str, Choice], dict[str, str], RawLog]:
    """Return the parameters of the reader, the separators of lists as text, and the whole log.

    Args:
        tables: the first rows of each table.
        place: where the tables were found.
        choices: what was chosen for each role.
        columns: the columns of the events under our names.
        others: the columns of the events without a role.
    """
    events = tables["events"]
    parameters = layout.of_files(workspace, tables, place) | layout.of_roles(choices, columns)
    beside, lists = sides.guess(tables, columns, choices["unit"].value)
    parameters |= beside
    separators = separators_of(events, others) | lists | {**events.separators}
    zone, log = _read_in_its_zone(workspace, parameters, events, columns[TIMESTAMP], others, separators)
    parameters |= zone
    for table, covers in sides.coverage(log).items():
        parameters[f"fetch.table.{table}"] = Choice(tables[table].paths, f"{tables[table].reason}\n{covers}")
    return parameters, separators, log


def _fields_of_events(
    tables: Mapping[str, Look],
    columns: Mapping[str, str],
    rows: pa.Table,
    keys: Events,
    others: Sequence[str],
    ruled: str | None,
) -> tuple[list[FieldGuess], dict[str, Choice]]:
    """Return the fields of the events, and the parameters of a column of them that is their history, if there is one.

    Args:
        tables: the first rows of each table.
        columns: the columns of the events under our names.
        rows: all events.
        keys: their keys.
        others: their columns without a role.
        ruled: the column that the rule of the label compares, if it has one.
    """
    events = tables["events"]
    by_day = DATE in events.paths
    described = None if "items" in tables else Group.CONTEXT if by_day else Group.ITEM
    guesses = [fields.of_event(name, rows[name], keys, described, name == ruled) for name in others]
    before = next((name for name in others if sides.is_history(events, name, columns)), None)
    if before is None:
        return guesses, {}
    guesses = [field for field in guesses if field.name != before]
    if "history" in tables or by_day:
        other = "a log in files of days can't be its own history" if by_day else "a table is the history already"
        return [*guesses, FieldGuess(before, f"it lists earlier items, but {other}")], {}
    return guesses, behaviours.of_history(events, before, columns)


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
    model = layout.name_of(workspace, options["path"])
    parameters = {"promote.model_name": Choice(model, "the name of the log, for its champions")}
    rows, clicked = len(keys.labels), int(keys.labels.sum())
    why = f"{source['fetch.source'].reason}\n{rows:,} rows, {clicked:,} clicks: a CTR of {clicked / rows:.1%}"
    named = _named(protocol) or Choice(log.protocol, f"the source {name} says so")
    rated = log.protocol == "by_user" and "rating" in log.fields.get("behaviour", {})
    return {**source, "fetch.source": Choice(name, why), **parameters, **split.guess(keys, named, rated=rated)}


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


def _read_in_its_zone(
    workspace: Workspace,
    parameters: Mapping[str, Choice],
    events: Look,
    time: str,
    others: Sequence[str],
    separators: Mapping[str, str],
) -> tuple[dict[str, Choice], RawLog]:
    """Return the parameter of the time zone, if there is one, and the whole log.

    Args:
        parameters: the parameters of the files and the columns.
        time: the column of the times.
        others: the columns without a role, to be read as well.
    """
    days = timezone.day_columns(events, time)
    renamed = {name if name in others else f"{name} of the log": name for name in days}  # some names are reserved
    kept = {name: name for name in others}
    log = _read(workspace, parameters, kept | renamed, separators)
    zone = timezone.guess(log.events, events.files, {ours: days[theirs] for ours, theirs in renamed.items()})
    offset = {"fetch.table.utc_offset_hours": zone} if zone.reason else {}
    if zone.value:
        log = _read(workspace, {**parameters, **offset}, kept, separators)
    return offset, log


def _read(
    workspace: Workspace, parameters: Mapping[str, Choice], keep: Mapping[str, str], separators: Mapping[str, str]
) -> RawLog:
    """Read the whole log as a fetch with these parameters would, with further columns of the events by our names."""
    table = nested({key: choice.value for key, choice in parameters.items()})["fetch"]["table"]
    renamed = {ours: theirs for ours, theirs in keep.items() if ours != theirs}
    table["columns"] = {**table["columns"], **renamed}
    csv = Csv(**table.pop("csv", {}))
    return TableSource(workspace, Table(**table, csv=csv, keep=(*keep,), separators={**separators}), None).read()


def _keys(log: RawLog) -> Events:
    """Return the keys of the events of a log that a fetch would take."""
    return Events.of(
        checked(replace(log, events=log.events.select({name: log.events[name] for name in EVENT_COLUMNS}))).events.table
    )
