"""Guess which columns of a log are the time, the label, the user and the item, by their names and by their values.

A column must fit by its values. Among those that fit, a name that means the role decides. Without such a name, a role
is guessed only if one column fits; otherwise it stays open, and `din init` asks. It also asks if a name means the role,
but the values can't be used as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from din.errors import listed, shown
from din.init import ids, label, time, words
from din.init.ask import Choice, Misnamed
from din.init.look import Look


@dataclass(frozen=True)
class Roles:
    """The columns of the events that have a role; see `time.Time` and `label.Label`."""

    time: Choice
    unit: Choice
    user: Choice
    item: Choice
    label: Choice
    all_positive: bool = False


def guess(log: Look, given: Mapping[str, str]) -> Roles:
    """Return the roles of a log's columns, given what a person said by role (`unit` too; the label may be a rule).

    Raises:
        Undecided: a role that is not given can't be guessed.
        Misnamed: a given column does not exist, or can't have its role.
        InputError: the given unit is unknown.
    """
    for role, name in given.items():
        if role not in ("label", "unit") and name not in log.columns:
            raise Misnamed(f"--{role} {shown(name)}: no such column; expected one of {listed(log.columns)}", role)
    when = time.guess(log, given.get("time"), given.get("unit"))
    answer = label.guess(log, given.get("label"), when.column.value)
    rule = answer.rule.value
    labelled = next((name for name in sorted(log.columns, key=len, reverse=True) if rule.startswith(name)), "")
    used = {when.column.value} | ({labelled} if not answer.all_positive else set())
    user = ids.guess(log, "user", words.USER, given.get("user"), used | {given.get("item", "")})
    item = ids.guess(log, "item", words.ITEM, given.get("item"), used | {user.value})
    return Roles(when.column, when.unit, user, item, answer.rule, answer.all_positive)
