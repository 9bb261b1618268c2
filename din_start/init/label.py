"""Guess the label of a log: the column, or the rule over one, that says whether an item was clicked.

The name of a column that means a click decides. If its values can't be used as they are, the guess ends with the
question: a log with such a column is never taken for one of clicks alone.
"""

import shlex

import pyarrow as pa
import pyarrow.compute as pc

from din.base.errors import InputError, listed, shown
from din.data.rules import Rule
from din.params.fetch import ALL_ROWS
from din_start.init import words
from din_start.init.choice import Choice
from din_start.init.look import Column, Look

_CERTAIN = ("click", "label")
_ANSWERS = (*_CERTAIN, "reaction")
_FEW = 30  # values of a rating or an action
_LIKED = 0.8  # of the highest rating: 4 of 5 stars
_NUMBERS = {"0", "1", "0.0", "1.0", "True", "False", "true", "false", "TRUE", "FALSE"}  # that a fetch reads as labels
_PLACES = r"^[\[\]\d\s,;|]+$"  # lists of places, or of 0 and 1
_MOST_COUNTED = 4  # values that a message counts


def guess(log: Look, time: str) -> Choice:
    """Return the label: a column, or a rule over one that is not the time.

    Raises:
        InputError: several columns may say it, or the one that should say it can't be used as it is.
    """
    columns = {name: column for name, column in log.columns.items() if name != time and column.kind != "nested"}
    rules = {name: rule for name, column in columns.items() if (rule := _flag(column))}
    flags = [name for name in rules if columns[name].distinct == 2]
    rest = {name: column for name, column in columns.items() if name not in rules}
    unclear = [rest[name] for name in words.by_name(rest, *_ANSWERS) if _may_answer(rest[name])]
    # A like or a rating doesn't replace a click that can't be used.
    lacks_click = bool(unclear) and words.means(unclear[0].name, "click")
    if named := words.by_name(flags, *(_CERTAIN if lacks_click else _ANSWERS)):
        return _named(columns[named[0]], rules[named[0]])
    if action := next(filter(None, (_action(column, log.headed) for column in columns.values())), None):
        return action
    ratings = words.by_name(columns, "rating") if log.headed else columns
    ratings = [name for name in ratings if not words.means(name, "category")]
    rated = [columns[name] for name in ratings if _holds_ratings(columns[name], log.headed)]
    if rated and not lacks_click:
        return _rating(rated[0])
    if unclear:
        if not _is_above_0(unclear[0]):
            others = {name: column for name, column in columns.items() if name != unclear[0].name}
            lists = [name for name, column in others.items() if column.holds_lists or len(column.parts)]
            raise InputError(f"{log.files[0].name}: {_question(unclear[0], lists)}")
        return _named(unclear[0], f"{unclear[0].name} > 0")
    if constant := words.by_name(rules, *_ANSWERS):
        return _named(columns[constant[0]], rules[constant[0]])
    if codes := [name for name in words.by_name(rest, "action") if _is_action_code(rest[name])]:
        raise InputError(f"{log.files[0].name}: {_question(rest[codes[0]], [])}")
    if len(flags) > 1:
        raise InputError(f"{log.files[0].name}: {listed(flags)} all hold two values; name the click with --label")
    if flags and log.headed:
        examples = f"{flags[0]} is the only column of two values ({columns[flags[0]].examples})"
        raise InputError(
            f"{log.files[0].name}: {examples}, but its name means no click; if it is one, give --label "
            f"{shlex.quote(rules[flags[0]])}; if every row is a click, give --label {ALL_ROWS}"
        )
    if flags:
        return Choice(rules[flags[0]], f"the only column of two values ({columns[flags[0]].examples})")
    reason = "no column says whether an item was clicked, so every row is a click; negatives are sampled"
    return Choice(ALL_ROWS, reason)


def parse(text: str, log: Look) -> Rule:
    """Return the rule of a label; if every row is a click, it is over no column of the log.

    Raises:
        InputError: the text is neither a column nor a rule over one.
    """
    return Rule("--label", text) if text == ALL_ROWS else Rule.parse("--label", text, [*log.columns], log.files[0].name)


def is_rating(rule: Rule, log: Look) -> bool:
    """Return whether a rule compares ratings."""
    named = words.means(rule.column, "rating")
    may_be = rule.comparison is not None and (named or not log.headed)
    return may_be and _holds_ratings(log.columns[rule.column], named)


def is_named(column: str) -> bool:
    """Return whether a column is named like a click, or another answer of the user."""
    return words.means(column, *_ANSWERS)


def clicks_among(rows: Look) -> Rule | None:
    """Return the rule of a column that is named like an answer and says which rows are clicks, or None."""
    flags = (rule for column in rows.columns.values() if is_named(column.name) and (rule := _flag(column)))
    first = next(flags, None)
    return parse(first, rows) if first else None


def _named(column: Column, rule: str) -> Choice:
    return Choice(rule, f"the name means an answer of the user ({column.examples})")


def _flag(column: Column) -> str | None:
    """Return the rule under which a column of two values is a label, or None.

    A column that means an answer may have one value: then all rows are clicks, or none is.
    """
    least = 1 if words.means(column.name, *_ANSWERS) else 2
    if column.missing or not least <= column.distinct <= 2:
        return None
    yes = _among(column, "yes")
    no = _among(column, "no")
    if len(yes) > 1 or len(no) > 1 or len(yes) + len(no) < column.distinct:
        return None
    if {*yes, *no} <= _NUMBERS:
        return column.name
    return f"{column.name} == {yes[0]}" if yes else f"{column.name} != {no[0]}"


def _among(column: Column, *meanings: str) -> list[str]:
    """Return the values of a column that mean yes, or no. An empty text means no."""
    meant = [entry for meaning in meanings for entry in words.ENTRIES[meaning]] + [""] * ("no" in meanings)
    return [value for value in map(str, column.different.to_pylist()) if value.lower() in meant]


def _may_answer(column: Column) -> bool:
    """Return whether a column that is named as an answer may tell the clicks, though not as it is.

    A buyer's country or a purchase's price have such names, too, but describe rows that are all clicks.
    """
    is_certain = words.means(column.name, *_CERTAIN)
    if words.means(column.name, "user", "item", "id", "category", "money"):
        return False
    if words.describes_click(column.name) and 2 * len(_among(column, "yes", "no")) < column.distinct:
        return False
    if column.missing:
        return True
    if column.kind == "time":
        return False
    if column.kind == "number":
        return pc.min(column.values).as_py() <= 0 or (is_certain and column.distinct <= _FEW)
    if column.distinct > _FEW:
        return words.means(column.name, "click")
    return is_certain or bool(_among(column, "yes", "no"))


def _is_above_0(column: Column) -> bool:
    """Return whether a click or label is a few whole numbers, such as -1 and 1, some of them more than 0."""
    if not words.means(column.name, *_CERTAIN) or not column.is_whole or column.missing:
        return False
    low, high = pc.min_max(column.values).as_py().values()
    return low <= 0 < high and column.distinct <= _FEW


def _question(column: Column, lists: list[str]) -> str:
    """Return what is wrong with a column that should say whether the item was clicked, and the way out.

    It may say which elements of `lists`, columns beside it, were clicked.
    """
    if lists and column.share_of(_PLACES) == 1:
        return (
            f"{column.name} should say whether the item was clicked, but its values are {column.examples}; if it says "
            f"which elements of {listed(lists)} were clicked, list these themselves in it instead of their places, or "
            "instead of 0 and 1; else name another column with --label"
        )
    counts = sorted(column.values.drop_null().value_counts().to_pylist(), key=lambda entry: -entry["counts"])
    described = [f"{shown(entry['values'], quotes=False)} ({entry['counts']:,}×)" for entry in counts[:_MOST_COUNTED]]
    described += [f"{len(counts) - _MOST_COUNTED:,} others"] if len(counts) > _MOST_COUNTED else []
    described += [f"missing ({column.missing:,}×)"] if column.missing else []
    advice = "no rule can judge a missing value: write 1 for a click and 0 for none in every row, drop these rows, or"
    if not column.missing:
        yes = _among(column, "yes")
        rule = f"{column.name} == {yes[0]}" if len(yes) == 1 else f"{column.name} != {counts[0]['values']}"
        if column.kind == "number":
            rule = f"{column.name} > {max(pc.min(column.values).as_py(), 0)}"
        advice = f"if every row is a click, give --label {ALL_ROWS}; else a rule, e.g. --label {shown(rule)}, or"
    return (
        f"{column.name} should say whether the item was clicked, but its values are {listed(described)}; {advice} "
        "name another column with --label"
    )


def _action(column: Column, is_headed: bool) -> Choice | None:
    """Return the rule that a column of actions, such as view and click, gives; without a header, most are known."""
    if column.kind != "text" or not 1 < column.distinct <= _FEW:
        return None
    values: list[str] = column.different.to_pylist()
    seen = [value for value in values if words.means(value, "shown")]
    clicked = [value for value in values if words.means(value, "clicked") and value not in seen]
    actions = [value for value in values if words.means(value, "shown", "clicked", "reaction", "feedback")]
    if not (words.means(column.name, "action") if is_headed else len(actions) > len(values) / 2):
        return None
    if len(seen) == 1:
        return Choice(f"{column.name} != {seen[0]}", f"{listed(values)}: everything but {seen[0]} is an answer")
    if len(clicked) == 1:
        return Choice(f"{column.name} == {clicked[0]}", f"{listed(values)}: {clicked[0]} is the answer")
    return None


def _is_action_code(column: Column) -> bool:
    """Return whether a column that is named as an action holds a few numbers, each of which may stand for one."""
    named = words.means(column.name, "user", "item", "id", "time", "total")
    return column.is_whole and 1 < column.distinct <= _FEW and not named


def _holds_ratings(column: Column, named: bool) -> bool:
    """Return whether the values are ratings; without a name, they must be a few numbers up to 5 or 10."""
    if column.kind != "number" or column.missing or not 2 < column.distinct <= 101:
        return False
    return named or (column.distinct <= 11 and pc.max(column.values).as_py() in (5, 10))


def _rating(column: Column) -> Choice:
    """Return the rule under which a rating is a label."""
    values = sorted(column.different.to_pylist())
    low = min(values[0], 0)
    liked = [value for value in values if value >= low + _LIKED * (values[-1] - low)]
    least = liked[0] if len(liked) < len(values) else values[-1]
    share = pc.mean(pc.greater_equal(column.values, least).cast(pa.int8())).as_py()
    why = f"a rating of {values[0]} to {values[-1]}; {least} and more count as liked ({share:.0%} of the first rows)"
    return Choice(f"{column.name} >= {least}", why)
