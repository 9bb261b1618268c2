"""Guess how the tables beside the events are read: items, users, and the history of earlier behaviours."""

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from din.base.errors import InputError, listed
from din.data.rawlog import RawLog
from din.params.validate import ValidateRaw
from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from din_start.init import roles, words
from din_start.init.choice import Choice
from din_start.init.look import Column, Look

_KEYS = {"items": ITEM_ID, "users": USER_ID, "history": USER_ID}
KNOWN = 0.5
"""Least share of the events' ids that a table of them holds, or of a column's elements that are the events' items."""

_OWN = 0.1  # share of the rows that list their own item, below which the items are earlier ones


def guess(
    tables: Mapping[str, Look], columns: Mapping[str, str], unit: str
) -> tuple[dict[str, Choice], dict[str, str]]:
    """Return the parameters of the tables beside the events, and the separators of the lists in their cells.

    Args:
        tables: the first rows of each table.
        columns: the columns of the events under our names.
        unit: the unit of the events' times, which is that of a history, too.

    Raises:
        InputError: a table lacks a column that it must have.
    """
    events = tables["events"]
    parameters: dict[str, Choice] = {}
    separators: dict[str, str] = {}
    for table, ours in _KEYS.items():
        if table not in tables:
            continue
        side = tables[table]
        place = f"--{table} {side.paths}"
        if table == "history":
            choices = history_of(side, place, events, columns, unit)
            lists = [choices[ITEM_ID].value]
        else:
            key = key_of(side, place, ours, events.columns[columns[ours]])
            choices = {ours: Choice(key, f"{key} holds the ids of this table")}
            lists = [name for name in side.columns if name != key]
        separators |= separators_of(side, lists)
        parameters[f"fetch.table.{table}"] = Choice(side.paths, side.reason)
        if renamed := {name: choice.value for name, choice in choices.items() if choice.value != name}:
            why = "\n".join(choice.reason for name, choice in choices.items() if name in renamed)
            parameters[f"fetch.table.{table}_columns"] = Choice(renamed, why)
    return parameters, separators


def coverage(log: RawLog) -> dict[str, str]:
    """Return how many of the events each table beside them knows, in words."""
    coverages = {}
    for table, rows in {"items": log.items, "users": log.users, "history": log.history}.items():
        if rows is None:
            continue
        ids, held = (side.select({"": side[_KEYS[table]]}).table[""] for side in (log.events, rows))
        share = known(ids, held) if ids.type == held.type else 0.0
        noun = "item" if table == "items" else "user"
        coverages[table] = f"{rows.count:,} rows; {share:.1%} of events have their {noun} here"
        if table == "items" and 1 - share > ValidateRaw.max_unknown_items:
            most = f"validate_raw.max_unknown_items permits {ValidateRaw.max_unknown_items:.0%}"
            coverages[table] += f"; {1 - share:.1%} are of unknown items, but {most}: complete the table"
    return coverages


def known(ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> float:
    """Return the share of the ids that are among others of the same type."""
    return pc.mean(pc.is_in(ids, among).cast("int8")).as_py()


def separators_of(table: Look, names: Iterable[str]) -> dict[str, str]:
    """Return the separator of each of these columns that holds lists as text."""
    return {name: separator for name in names if (separator := table.columns[name].separator)}


def history_of(side: Look, place: str, events: Look, columns: Mapping[str, str], unit: str) -> dict[str, Choice]:
    """Return the columns of a history under our names: users, times, and items or lists of them.

    Raises:
        InputError: it lacks one of them. `place` names the table.
    """
    theirs = events.columns[columns[USER_ID]]
    user = key_of(side, place, USER_ID, theirs, repeats=True)
    users = side.columns[user]
    if users.missing or max(known(users.ids, theirs.ids), known(theirs.ids, users.ids)) < KNOWN:
        raise InputError(f"{place}: {user} has missing values, or holds other users than the events' {theirs.name}")
    time = _time(side, place, columns[TIMESTAMP], unit)
    items = _items(side, place, events, columns[ITEM_ID], [user, time.value])
    return {USER_ID: Choice(user, f"{user} is the user"), TIMESTAMP: time, ITEM_ID: items}


def is_history(events: Look, name: str, columns: Mapping[str, str]) -> bool:
    """Return whether a column of the events lists items that the user had seen before, as its name says if it has one.

    Lists that often hold the row's own item hold what was shown together with it instead.

    Args:
        events: the first events.
        name: the column.
        columns: the columns of the events under our names.
    """
    if events.headed and not words.means(name, "history"):
        return False
    column, item = events.columns[name], events.columns[columns[ITEM_ID]]
    if not len(column.parts) or known(column.parts, item.ids) < KNOWN:
        return False
    lists = column.split(column.separator)
    rows = pc.list_parent_indices(lists)
    items = item.values.cast("string").combine_chunks().take(rows)
    with_own = rows.filter(pc.equal(lists.flatten(), items)).unique()
    return len(with_own) < _OWN * len(lists)


def key_of(side: Look, place: str, ours: str, theirs: Column, repeats: bool = False) -> str:
    """Return the column of the ids of users or items: by its name, else the only one without repeats.

    Of several, or without a header, the one with the most ids of the events is taken.

    Args:
        side: the table; `place` names it in messages.
        ours: our name of the ids; `theirs` is the events' column.
        repeats: whether an id may have several rows.

    Raises:
        InputError: no column is certain to hold them.
    """
    role, other = ("user", "item") if ours == USER_ID else ("item", "user")
    columns = {name: column for name, column in side.columns.items() if column.kind != "nested"}
    once = {name: column for name, column in columns.items() if repeats or column.distinct == len(column.values)}
    named = [name for name in (theirs.name, ours) if name in columns]
    likely = [name for name in once if not (side.headed and words.means(name, other))]
    if side.headed and repeats:
        likely = words.by_name(columns, role)[:1]
    if side.headed and (named or len(likely) == 1):
        return [*named, *likely][0]
    shares = {name: known(theirs.ids, columns[name].ids) for name in likely}
    if shares and max(shares.values()) >= KNOWN:
        return max(shares, key=lambda name: shares[name])
    if not side.headed:
        raise InputError(f"{place}: it has no header, and none of its columns holds the events' {theirs.name}s")
    raise InputError(
        f"{place}: no column {theirs.name!r}, the name of the {ours} in the events; its columns are "
        f"{listed(side.columns)}. Rename the right one to {theirs.name!r}"
    )


def _time(side: Look, place: str, theirs: str, unit: str) -> Choice:
    """Return the column of the time of a history."""
    units = {name: choice.value for name, column in side.columns.items() if (choice := roles.unit_of(column))}
    fitting = [name for name, column_unit in units.items() if column_unit == unit or side.columns[name].kind == "time"]
    if not fitting:
        raise InputError(
            f"{place}: no column holds times as the events do ({unit}); its columns are {listed(side.columns)}. Write "
            f"a column {theirs!r} in the events' form: for a list, the time of its newest element or later"
        )
    named = [name for name in (theirs, TIMESTAMP) if name in fitting] + words.by_name(fitting, "time")
    return Choice((named or fitting)[0], f"{(named or fitting)[0]} is the time of a behaviour, or of the whole list")


def _items(side: Look, place: str, events: Look, theirs: str, used: list[str]) -> Choice:
    """Return the column of the items of a history: by its name, else lists of items of the events."""
    free = {name: column for name, column in side.columns.items() if name not in used and not column.holds_objects}
    if named := [name for name in (theirs, ITEM_ID) if name in free and side.headed]:
        return Choice(named[0], f"{named[0]} has the items' name")
    items = events.columns[theirs].ids
    lists = {name: column.parts for name, column in free.items()}
    sizes = {name: len(parts) for name, parts in lists.items() if len(parts) and known(parts, items) >= KNOWN}
    lists = sorted(sizes, key=lambda name: -sizes[name])
    if not lists:
        raise InputError(
            f"{place}: no column {theirs!r}, the name of the items in the events, and none with lists of them; its "
            f"columns are {listed(side.columns)}. Rename the right one to {theirs!r}"
        )
    if len(lists) == 1:
        return Choice(lists[0], f"{lists[0]} holds lists of the events' items")
    why = f"{listed(lists)} hold items; {lists[0]} holds most, so it may list what was shown, not only what was liked"
    return Choice(lists[1], why)
