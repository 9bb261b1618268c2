"""Guess the label of a log: the column, or the rule over one, that says whether an item was clicked.

The name of a column that means a click decides. If its values can't be used as they are, a person is asked: a log with
such a column is never taken for one of clicks alone.
"""

from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from din.errors import listed, shown
from din.init import words
from din.init.ask import Choice, Undecided, by_name
from din.init.look import Column, Look
from din.init.time import unit_of

_FEW = 30  # values of a rating or an action
_LIKED = 0.8  # of the highest rating: 4 of 5 stars
_MOST_COUNTED = 4  # values that a message counts
_ONE = ("1", "1.0", "true")
_ZERO = ("0", "0.0", "false")


@dataclass(frozen=True)
class Label:
    """`fetch.table.label`, and whether the log holds no impressions that were not clicked."""

    rule: Choice
    all_positive: bool = False


def guess(log: Look, given: str | None, time: str) -> Label:
    """Return the label, given the column or rule that a person named, and the column of the time.

    Raises:
        Undecided: several columns may say it, or the one that should say it can't be used as it is.
    """
    if given is not None:
        return Label(Choice(given, "you said so"))
    others = {name: column for name, column in log.columns.items() if name != time and not column.is_nested}
    flags = {name: rule for name, column in others.items() if (rule := _flag(column))}
    rest = {name: column for name, column in others.items() if name not in flags}
    clicks = _unclear(rest, words.CLICK)
    # A like or a purchase doesn't replace a click that can't be used.
    certain = (words.CLICK, words.LABEL) if clicks else (words.CLICK, words.LABEL, words.REACTION)
    for entries in certain:
        if named := by_name(list(flags), entries):
            reason = f"the name means the answer of the user, and the values are two ({others[named[0]].examples})"
            return Label(Choice(flags[named[0]], reason))
    for name, column in others.items():
        if column.is_text and column.distinct <= _FEW and (found := _action(name, column)):
            return Label(found)
    if clicks:
        return Label(_of_unclear(log, clicks, [flags[name] for name in by_name(list(flags), words.REACTION)]))
    named = by_name(list(others), words.RATING) if log.headed else [name for name in others if _is_stars(others[name])]
    if rated := [name for name in named if _is_rating(others[name])]:
        return Label(_rule_of(rated[0], others[rated[0]]))
    if answers := [*_unclear(rest, words.LABEL), *_unclear(rest, words.REACTION)]:
        return Label(_of_unclear(log, answers, []))
    if constant := _constant(rest):
        return constant
    plain = [name for name in flags if not words.means(name, words.FEEDBACK)]
    only = plain if len(plain) == 1 else list(flags)
    if len(only) == 1:
        return Label(Choice(flags[only[0]], f"the only column of two values ({others[only[0]].examples})"))
    if flags:
        raise Undecided(
            f"{log.files[0].name}: {listed(flags)} all hold two values; say which is the click with --label",
            "label",
            list(flags.values()),
        )
    reason = "no column says whether an item was clicked, so every row is a click; negatives are sampled"
    rule = f"{time} > 0" if log.columns[time].is_number else f"{time} != -"
    return Label(Choice(rule, reason), all_positive=True)


def _flag(column: Column) -> str | None:
    """Return the rule under which a column of two values is a label, or None."""
    values = {str(value).lower() for value in column.values.slice(0, 1_000_000).unique().drop_null().to_pylist()}
    if len(values) != 2 or column.missing:
        return None
    if values <= {"0", "1"} or values <= {"true", "false"} or values == {"0.0", "1.0"}:
        return column.name
    if not column.is_text:
        return None
    yes = _among(column, words.YES)
    no = _among(column, words.NO)
    return f"{column.name} == {yes[0]}" if len(yes) == len(no) == 1 else None


def _among(column: Column, meant: tuple[str, ...]) -> list[str]:
    """Return the values of a text column that mean yes, or no."""
    return [value for value in column.values.unique().drop_null().to_pylist() if value.lower() in meant]


def _unclear(columns: dict[str, Column], entries: tuple[str, ...]) -> list[str]:
    """Return the columns that should tell the clicks by their names, but can't as they are; the most certain first."""
    return [name for name in by_name(list(columns), entries) if _may_answer(columns[name], entries)]


def _may_answer(column: Column, entries: tuple[str, ...]) -> bool:
    """Return whether the values may tell clicks from other rows, though they are more or less than a yes and a no.

    A buyer's country or a purchase's price have such names, too, but describe rows that are all clicks.
    """
    is_click = entries is words.CLICK
    is_certain = entries is not words.REACTION
    if not is_click and words.means(column.name, (*words.USER, *words.ID, *words.CATEGORY, *words.MONEY)):
        return False
    if column.missing:
        return True
    if column.distinct < 2 or column.is_time:
        return is_certain and column.is_text and not _among(column, (*words.YES, *words.NO))
    if column.is_number:
        return pc.min(column.values).as_py() <= 0 or (is_certain and column.distinct <= _FEW)
    if column.distinct > _FEW:
        return is_click and not words.means(column.name, (*words.ID, *words.ITEM))
    return is_certain or bool(_among(column, (*words.YES, *words.NO)))


def _of_unclear(log: Look, names: list[str], rivals: list[str]) -> Choice:
    """Return the rule of the first column of counts, unless rules over other columns (`rivals`) may be meant instead.

    Raises:
        Undecided: no column holds counts, or there are rivals.
    """
    counts = [name for name in names if _is_count(log.columns[name])]
    if counts and not rivals:
        column = log.columns[counts[0]]
        share = pc.mean(pc.greater(column.values, 0).cast(pa.int8())).as_py()
        why = f"the name means the answer of the user; more than 0 counts as a click ({share:.0%} of the first rows)"
        return Choice(f"{column.name} > 0", why)
    column = log.columns[names[0]]
    rules = [rule for name in names if (rule := _proposed(log.columns[name]))] + rivals
    example = f", e.g. --label {shown(rules[0])}" if rules else ""
    another = f"name another column or a rule with --label{example}"
    if not column.missing:
        advice = f"{another}. If every row is a click, leave {column.name} out of the file"
    elif unit_of(column):
        advice = f"write a column of 1 where {column.name} holds a time and 0 elsewhere, or {another}"
    else:
        advice = f"write 0 there if it means no click, or drop these rows, or {another}"
    expected = "no rule can judge a missing value" if column.missing else "expected a yes and a no"
    raise Undecided(
        f"{log.files[0].name}: {column.name} should say whether the item was clicked, but its values are "
        f"{_counted(column)}; {expected}: {advice}",
        "label",
        rules,
    )


def _is_count(column: Column) -> bool:
    if not column.is_number or column.missing or column.distinct > _FEW:
        return False
    low, high = pc.min(column.values).as_py(), pc.max(column.values).as_py()
    return low <= 0 < high and column.is_integral


def _proposed(column: Column) -> str | None:
    """Return a rule that would make a column the label, or None if a value is missing, or it has too many values."""
    if column.missing:
        return None
    if column.is_number:
        low, high = pc.min(column.values).as_py(), pc.max(column.values).as_py()
        return f"{column.name} > {0 if low <= 0 < high else low}"
    yes = _among(column, words.YES)
    no = _among(column, words.NO)
    if len(yes) != 1 and len(no) == 1:
        return f"{column.name} != {no[0]}"
    if len(yes) != 1 and column.distinct > _FEW:
        return None
    rarest = min(column.raw.value_counts().to_pylist(), key=lambda one: one["counts"])["values"]
    return f"{column.name} == {yes[0] if len(yes) == 1 else rarest}"


def _counted(column: Column) -> str:
    """Return the commonest values and how often each occurs, for people."""
    counts = column.raw.drop_null().value_counts().to_pylist()
    counts.sort(key=lambda one: -one["counts"])
    parts = [f"{shown(one['values'], quotes=False)} ({one['counts']:,}×)" for one in counts[:_MOST_COUNTED]]
    if len(counts) > _MOST_COUNTED:
        parts.append(f"{len(counts) - _MOST_COUNTED:,} others")
    if column.missing:
        parts.append(f"missing ({column.missing:,}×)")
    return listed(parts)


def _constant(columns: dict[str, Column]) -> Label | None:
    """Return the label by a column that should tell the clicks, but has one value."""
    named = [by_name(list(columns), entries) for entries in (words.CLICK, words.LABEL, words.REACTION)]
    for name in chain.from_iterable(named):
        column = columns[name]
        if column.missing or column.distinct != 1:
            continue
        value = str(column.values[0].as_py())
        is_yes = value.lower() in (*words.YES, *_ONE)
        if not is_yes and value.lower() not in (*words.NO, *_ZERO):
            continue
        rule = name if value.lower() in (*_ONE, *_ZERO) else f"{name} {'==' if is_yes else '!='} {value}"
        so = ", so every row is a click; negatives are sampled" if is_yes else ""
        reason = f"{name} is {value} in all of the first {column.rows:,} rows{so}"
        return Label(Choice(rule, reason), all_positive=is_yes)
    return None


def _action(name: str, column: Column) -> Choice | None:
    """Return the rule that a column of actions, such as view and click, gives."""
    if not words.means(name, words.ACTION):
        return None
    values: list[str] = column.values.unique().drop_null().to_pylist()
    shown_ones = [value for value in values if words.means(value, words.SHOWN)]
    clicked = [value for value in values if words.means(value, words.CLICKED) and value not in shown_ones]
    if len(shown_ones) == 1 and len(values) > 1:
        return Choice(f"{name} != {shown_ones[0]}", f"{listed(values)}: everything but {shown_ones[0]} is an answer")
    if len(clicked) == 1 and len(values) > 1:
        return Choice(f"{name} == {clicked[0]}", f"{listed(values)}: {clicked[0]} is the answer")
    return None


def _is_stars(column: Column) -> bool:
    """Return whether the values are a few small numbers, as ratings are."""
    return column.is_number and column.distinct <= 11 and pc.max(column.values).as_py() in (5, 10)


def _is_rating(column: Column) -> bool:
    return column.is_number and 2 < column.distinct <= 101 and not column.values.null_count


def _rule_of(name: str, column: Column) -> Choice:
    """Return the rule under which a rating is a label."""
    values = sorted(column.values.unique().to_pylist())
    floor = values[0] + _LIKED * (values[-1] - min(values[0], 0)) if values[0] < 0 else _LIKED * values[-1]
    least = next(value for value in values if value >= floor)
    share = pc.mean(pc.greater_equal(column.values, least).cast(pa.int8())).as_py()
    if share in (0, 1):
        least = values[-1]
    why = f"a rating of {values[0]} to {values[-1]}; {least} and more count as liked ({share:.0%} of the first rows)"
    return Choice(f"{name} >= {least}", why)
