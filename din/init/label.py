"""Guess the label of a log: the column, or the rule over one, that says whether an item was clicked.

The name of a column that means a click decides. If its values can't be used as they are, the guess ends with the
question: a log with such a column is never taken for one of clicks alone.
"""

import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError, listed, shown
from din.init import words
from din.init.look import Choice, Column, Look
from din.init.time import unit_of

_FEW = 30  # values of a rating or an action
_LIKED = 0.8  # of the highest rating: 4 of 5 stars
_NUMBERS = {"0", "1", "0.0", "1.0", "True", "False", "true", "false", "TRUE", "FALSE"}  # that a fetch reads as labels
_MOST_COUNTED = 4  # values that a message counts


def guess(log: Look, given: str | None, time: str) -> Choice:
    """Return the label, given the column or rule that a person named, and the column of the time.

    Raises:
        InputError: several columns may say it, or the one that should say it can't be used as it is.
    """
    if given is not None:
        return Choice(given, "you said so")
    columns = {name: column for name, column in log.columns.items() if name != time and not column.is_nested}
    rules = {name: rule for name, column in columns.items() if (rule := _flag(column))}
    flags = {name: rule for name, rule in rules.items() if columns[name].distinct == 2}
    rest = {name: column for name, column in columns.items() if name not in rules}
    clicks = _unclear(rest, words.CLICK)
    # A like or a purchase doesn't replace a click that can't be used.
    if named := words.by_name(flags, words.CLICK) or words.by_name(flags, words.LABEL):
        return _named(columns[named[0]], rules)
    if not clicks and (named := words.by_name(flags, words.REACTION)):
        return _named(columns[named[0]], rules)
    if action := next(filter(None, map(_action, columns.values())), None):
        return action
    ratings = words.by_name(columns, words.RATING) if log.headed else list(columns)
    rated = [name for name in ratings if _is_rating(columns[name], log.headed)]
    if rated and not clicks:
        return _rating(columns[rated[0]])
    if answers := [*clicks, *_unclear(rest, words.LABEL), *_unclear(rest, words.REACTION)]:
        column = columns[answers[0]]
        if _is_above_0(column):
            return Choice(f"{column.name} > 0", f"the name means the answer of the user ({column.examples})")
        raise InputError(_question(log, column))
    for entries in (words.CLICK, words.LABEL, words.REACTION):
        if named := words.by_name(rules, entries):
            return _named(columns[named[0]], rules)
    if len(flags) == 1:
        ((name, rule),) = flags.items()
        return Choice(rule, f"the only column of two values ({columns[name].examples})")
    if flags:
        raise InputError(
            f"{log.files[0].name}: {listed(flags)} all hold two values; say which is the click with --label"
        )
    reason = "no column says whether an item was clicked, so every row is a click; negatives are sampled"
    rule = f"{time} > 0" if log.columns[time].is_number else f"{time} != -"
    return Choice(rule, reason)


def _named(column: Column, rules: dict[str, str]) -> Choice:
    return Choice(rules[column.name], f"the name means the answer of the user ({column.examples})")


def _flag(column: Column) -> str | None:
    """Return the rule under which a column of two values is a label, or None.

    A column that means an answer may have one value: then all rows are clicks, or none is.
    """
    answers = (*words.CLICK, *words.LABEL, *words.REACTION)
    least = 1 if words.means(column.name, answers) else 2
    if column.missing or not least <= column.distinct <= 2:
        return None
    yes = _among(column, words.YES)
    no = _among(column, words.NO)
    if len(yes) > 1 or len(no) > 1 or len(yes) + len(no) < column.distinct:
        return None
    if {*yes, *no} <= _NUMBERS:
        return column.name
    return f"{column.name} == {yes[0]}" if yes else f"{column.name} != {no[0]}"


def _among(column: Column, meant: tuple[str, ...]) -> list[str]:
    """Return the values of a column that mean yes, or no."""
    values = map(str, column.values.unique().drop_null().to_pylist())
    return [value for value in values if value.lower() in meant]


def _unclear(columns: dict[str, Column], entries: tuple[str, ...]) -> list[str]:
    """Return the columns that by their names should tell the clicks, but can't as they are; the most certain first.

    A buyer's country or a purchase's price have such names, too, but describe rows that are all clicks.
    """
    described = (*words.USER, *words.ITEM, *words.ID, *words.CATEGORY, *words.MONEY)
    is_certain = entries is not words.REACTION

    def may_answer(column: Column) -> bool:
        if words.means(column.name, described):
            return False
        if column.missing:
            return True
        if column.is_time:
            return False
        if column.is_number:
            return pc.min(column.values).as_py() <= 0 or (is_certain and column.distinct <= _FEW)
        if column.distinct > _FEW:
            return entries is words.CLICK
        return is_certain or bool(_among(column, (*words.YES, *words.NO)))

    return [name for name in words.by_name(columns, entries) if may_answer(columns[name])]


def _is_above_0(column: Column) -> bool:
    """Return whether a click or label is a few whole numbers, such as -1 and 1, some of them more than 0."""
    if not words.means(column.name, (*words.CLICK, *words.LABEL)) or not column.is_whole or column.missing:
        return False
    low, high = pc.min(column.values).as_py(), pc.max(column.values).as_py()
    return low <= 0 < high and column.distinct <= _FEW


def _question(log: Look, column: Column) -> str:
    """Return what is wrong with a column that should say whether the item was clicked, and the way out."""
    counts = sorted(column.values.drop_null().value_counts().to_pylist(), key=lambda one: -one["counts"])
    parts = [f"{shown(one['values'], quotes=False)} ({one['counts']:,}×)" for one in counts[:_MOST_COUNTED]]
    parts += [f"{len(counts) - _MOST_COUNTED:,} others"] if len(counts) > _MOST_COUNTED else []
    if column.missing:
        parts.append(f"missing ({column.missing:,}×)")
        way = "write 0 there if it means no click, or drop these rows"
        if unit_of(column):
            way = "write a column that is 1 where it holds a time, and 0 elsewhere"
        advice = f"no rule can judge a missing value: {way}, or name another column or a rule with --label"
    else:
        advice = (
            f"expected a yes and a no: e.g. --label {shown(_proposed(column, counts))}, or name another column or a "
            f"rule with --label. If every row is a click, leave {column.name} out of the file"
        )
    return (
        f"{log.files[0].name}: {column.name} should say whether the item was clicked, but its values are "
        f"{listed(parts)}; {advice}"
    )


def _proposed(column: Column, counts: list[dict[str, object]]) -> str:
    """Return a rule that would make a column the label: more than 0, yes, not no, or the rarest value."""
    if column.is_number:
        return f"{column.name} > {max(pc.min(column.values).as_py(), 0)}"
    yes = _among(column, words.YES)
    no = _among(column, words.NO)
    if len(no) == 1 and len(yes) != 1:
        return f"{column.name} != {no[0]}"
    return f"{column.name} == {yes[0] if len(yes) == 1 else counts[-1]['values']}"


def _action(column: Column) -> Choice | None:
    """Return the rule that a column of actions, such as view and click, gives."""
    if not column.is_text or not 1 < column.distinct <= _FEW or not words.means(column.name, words.ACTION):
        return None
    values: list[str] = column.values.unique().drop_null().to_pylist()
    seen = [value for value in values if words.means(value, words.SHOWN)]
    clicked = [value for value in values if words.means(value, words.CLICKED) and value not in seen]
    if len(seen) == 1:
        return Choice(f"{column.name} != {seen[0]}", f"{listed(values)}: everything but {seen[0]} is an answer")
    if len(clicked) == 1:
        return Choice(f"{column.name} == {clicked[0]}", f"{listed(values)}: {clicked[0]} is the answer")
    return None


def _is_rating(column: Column, named: bool) -> bool:
    """Return whether the values are ratings; without a name, they must be a few numbers up to 5 or 10."""
    if not column.is_number or column.missing or not 2 < column.distinct <= 101:
        return False
    return named or (column.distinct <= 11 and pc.max(column.values).as_py() in (5, 10))


def _rating(column: Column) -> Choice:
    """Return the rule under which a rating is a label."""
    values = sorted(column.values.unique().to_pylist())
    low = min(values[0], 0)
    least = next(value for value in values if value >= low + _LIKED * (values[-1] - low))
    share = pc.mean(pc.greater_equal(column.values, least).cast(pa.int8())).as_py()
    if share in (0, 1):
        least = values[-1]
    why = f"a rating of {values[0]} to {values[-1]}; {least} and more count as liked ({share:.0%} of the first rows)"
    return Choice(f"{column.name} >= {least}", why)
