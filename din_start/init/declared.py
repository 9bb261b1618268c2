"""Declare the fields of a log: the columns of its tables that become features."""

from collections.abc import Collection, Iterable
from typing import Any

from din.data.rawlog import RawLog
from din.schema import EVENT_COLUMNS, ITEM_ID, RESERVED, USER_ID, Group
from din_start.init import fields
from din_start.init.choice import Choice
from din_start.init.fields import Events, FieldGuess
from din_start.init.look import Look

_TAKEN = {*EVENT_COLUMNS, "date", *RESERVED}
_OFTEN = 20  # training rows a user, so that an embedding of the user can be learned


def left_out(events: Look, roles: Collection[str]) -> list[FieldGuess]:
    """Return the columns of events that can be no fields: of objects, or with a name that is taken, whatever its case.

    Args:
        roles: the columns that are no fields anyway.
    """
    first_of_name: dict[str, str] = {}
    guesses = []
    for name, column in events.columns.items():
        if name in roles:
            continue
        first = first_of_name.setdefault(name.lower(), name)
        if column.holds_objects:
            why = "its values are objects; write each part of them that matters as a column of its own"
        elif name.lower() in _TAKEN:
            why = "the raw log or the feature files have a column of this name; rename it"
        elif name != first:
            why = f"its name differs from {first!r} by case only; rename one of them to use both"
        else:
            continue
        guesses.append(FieldGuess(name, why))
    return guesses


def of_sides(log: RawLog, keys: Events, is_temporal: bool) -> list[FieldGuess]:
    """Return the fields of the tables of items and users, and the user's id, if it can be learned."""
    guesses = fields.of_table(log.items.table, Group.ITEM, ITEM_ID) if log.items else []
    guesses += fields.of_table(log.users.table, Group.USER, USER_ID) if log.users else []
    rows_of_user = len(keys.users) / (int(keys.users.max()) + 1)
    if is_temporal and rows_of_user >= _OFTEN:
        why = f"{rows_of_user:.0f} rows a user are enough to learn users by name"
        guesses.append(FieldGuess(USER_ID, why, Group.USER, "id"))
    return guesses


def once_each(fields: Iterable[FieldGuess]) -> list[FieldGuess]:
    """Leave out each field with the name of an earlier one, whatever its case, or of a column of the feature files."""
    first_of_name: dict[str, FieldGuess] = {}
    named = []
    for field in fields:
        if field.group and field.name.lower() in RESERVED:
            field = FieldGuess(field.name, "the feature files have a column of this name; rename it")
        if field.group and first_of_name.setdefault(field.name.lower(), field) is not field:
            field = FieldGuess(field.name, "another table has a field of this name; rename one of them to use both")
        named.append(field)
    return named


def of_fields(of_events: list[FieldGuess], sides: list[FieldGuess], separators: dict[str, str]) -> dict[str, Choice]:
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
    parameters = {"featurize.fields": Choice(declared, reasons or "the log has no further columns")}
    if kept:
        parameters["fetch.table.keep"] = Choice(kept, "declared in featurize.fields")
    if of_items:
        parameters["fetch.table.items_from_events"] = Choice(of_items, "the same in all rows of an item")
    if lists:
        parameters["fetch.table.separators"] = Choice(lists, "most values contain it, and the parts repeat")
    return parameters
