"""Guess which columns of a log are the time, the label, the user and the item, by their names and by their values.

A column must fit by its values. Among those that fit, a name that means the role decides. Without such a name, a role
is guessed only if one column fits; otherwise it stays open, and `din init` asks. It also asks if a name means the role,
but the values can't be used as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError, listed, shown
from din.init import words
from din.init.look import Column, Look
from din.sources import times

ROLES = ("time", "label", "user", "item")
_UNITS = ("s", "ms", "us", "ns")
_YEARS = (1995, 2050)  # narrower than what a fetch accepts, since ids may look like times
_SECONDS = [(year - 1970) * 365.2425 * 86_400 for year in _YEARS]
_FEW = 30  # values of a rating or an action
_LIKED = 0.8  # of the highest rating: 4 of 5 stars
_FEWEST_IDS = 10
_ONCE = 0.9  # values a row, from which ids hardly repeat
_MOST_COUNTED = 4  # values that a message counts
_ONE = ("1", "1.0", "true")
_ZERO = ("0", "0.0", "false")


@dataclass(frozen=True)
class Choice:
    """A value of a parameter, and the reason for it."""

    value: str
    reason: str


@dataclass(frozen=True)
class Roles:
    """The columns of the events that have a role.

    Attributes:
        time, user, item: names of columns.
        unit: `fetch.table.timestamp_unit`.
        label: `fetch.table.label`.
        all_positive: whether the log holds no impressions that were not clicked.
    """

    time: Choice
    unit: Choice
    user: Choice
    item: Choice
    label: Choice
    all_positive: bool = False


class Undecided(InputError):
    """A role that needs a person.

    Attributes:
        role: one of ROLES.
        candidates: the columns that may be it, the likeliest first; for the label, also rules.
    """

    def __init__(self, message: str, role: str, candidates: list[str]) -> None:
        super().__init__(message)
        self.role = role
        self.candidates = candidates


class Misnamed(InputError):
    """A column that a person named for a role, and that does not exist or can't have it.

    Attributes:
        role: one of ROLES.
    """

    def __init__(self, message: str, role: str) -> None:
        super().__init__(message)
        self.role = role


def guess(log: Look, given: Mapping[str, str]) -> Roles:
    """Return the roles of a log's columns.

    Args:
        log: its first rows.
        given: what a person said, by role; the label may be a rule. `unit` is `fetch.table.timestamp_unit`.

    Raises:
        Undecided: a role that is not given can't be guessed.
        Misnamed: a given column does not exist, or can't have its role.
        InputError: the given unit is unknown.
    """
    for role, name in given.items():
        if role not in ("label", "unit") and name not in log.columns:
            raise Misnamed(f"--{role} {shown(name)}: no such column; expected one of {listed(log.columns)}", role)
    said = given.get("unit")
    if said is not None and said not in (*_UNITS, "iso") and "%" not in said:
        raise InputError(f"--unit {shown(said)}: expected s, ms, us, ns, iso, or a form such as %d.%m.%Y %H:%M")
    time, unit = _time(log, given.get("time"), said)
    label, all_positive = _label(log, given.get("label"), time.value)
    labelled = next((name for name in sorted(log.columns, key=len, reverse=True) if label.value.startswith(name)), "")
    used = {time.value} | ({labelled} if not all_positive else set())
    user = _id(log, "user", words.USER, given.get("user"), used | {given.get("item", "")})
    item = _id(log, "item", words.ITEM, given.get("item"), used | {user.value})
    return Roles(time, unit, user, item, label, all_positive)


def _time(log: Look, given: str | None, said: str | None) -> tuple[Choice, Choice]:
    units = {name: unit for name, column in log.columns.items() if (unit := unit_of(column, said)) is not None}
    if given is not None:
        if given not in units:
            expected = said or "seconds to nanoseconds since 1970, ISO 8601, or a date such as 31.05.2024 12:00"
            raise Misnamed(
                f"--time {given}: its values, such as {log.columns[given].examples}, are no times that are known; "
                f"expected {expected}. Say how they are written with --unit, such as --unit '%d/%b/%Y %H:%M'",
                "time",
            )
        return Choice(given, "you said so"), units[given]
    if not units:
        nested = [name for name, column in log.columns.items() if column.is_nested]
        if nested:
            raise InputError(
                f"{log.files[0].name}: no column holds times, and {listed(nested)} hold lists or objects, which are "
                "not looked into; expected a row for each time that an item was shown: write the log in that form"
            )
        raise Undecided(
            f"{log.files[0].name}: no column holds times, so nobody knows which rows come first; expected seconds "
            f"since 1970, ISO 8601, or dates such as 31.05.2024 in one of {listed(log.columns)}. If one holds times in "
            "another form, name it with --time, and the form with --unit, such as --unit '%d/%b/%Y %H:%M'",
            "time",
            [],
        )
    if whole := {name: unit for name, unit in units.items() if not log.columns[name].missing}:
        units = whole  # a time that is missing where nobody clicked is that of the click
    named = _by_name(list(units), words.TIME)
    if named:
        most = max(log.columns[name].distinct for name in named)
        best = next(name for name in named if log.columns[name].distinct * 20 >= most)  # not the day beside the time
        reason = f"the name means a time, and the values are times ({log.columns[best].examples})"
        return Choice(best, reason), units[best]
    if len(units) == 1:
        (only,) = units
        return Choice(only, f"the only column of times ({log.columns[only].examples})"), units[only]
    raise Undecided(
        f"{log.files[0].name}: {listed(units)} all hold times; name the time of the impression with --time",
        "time",
        list(units),
    )


def unit_of(column: Column, said: str | None = None) -> Choice | None:
    """Return the unit of a column of times with its reason, or None if the values are no times, or not in `said`."""
    if said is not None:
        return Choice(said, "you said so") if _fits(column, said) else None
    if column.is_time:
        return Choice("iso", "the column is of a time type, which has a unit of its own")
    present = column.raw.drop_null()
    if column.is_nested or not len(present) or pa.types.is_boolean(present.type):
        return None
    if column.is_number:
        low, high = (pc.min(column.values).as_py(), pc.max(column.values).as_py())
        for unit in _UNITS:
            per = times.NANOSECONDS[unit] / 10**9
            if low * per >= _SECONDS[0] and high * per < _SECONDS[1]:
                return Choice(unit, f"{low} to {high} are {_span(low * per, high * per)} in {unit} since 1970")
    if column.is_number and not column.is_whole:
        return None
    text = pa.chunked_array([present.cast(pa.string()).unique().slice(0, 20_000)])
    if column.is_text and times.is_iso(text):
        return Choice("iso", f"{text[0]} is ISO 8601; times without an offset count as UTC")
    if forms := times.forms_of(text):
        also = f" (or {forms[1]}: check it)" if len(forms) > 1 and len(text) > 12 else ""
        return Choice(forms[0], f"{text[0]}, and all others, have this form{also}; they count as UTC")
    return None


def _fits(column: Column, unit: str) -> bool:
    """Return whether a column may hold times of a unit."""
    if "%" in unit:
        present = column.raw.drop_null()
        return not column.is_nested and times.formed(present.cast(pa.string()), unit).null_count == 0
    return column.is_time or (column.is_text and times.is_iso(column.raw)) if unit == "iso" else column.is_number


def _span(low: float, high: float) -> str:
    first, last = pa.array([int(low), int(high)]).cast(pa.int64()).cast(pa.timestamp("s")).to_pylist()
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _label(log: Look, given: str | None, time: str) -> tuple[Choice, bool]:
    if given is not None:
        return Choice(given, "you said so"), False
    others = {name: column for name, column in log.columns.items() if name != time and not column.is_nested}
    flags = {name: rule for name, column in others.items() if (rule := _flag(column))}
    rest = {name: column for name, column in others.items() if name not in flags}
    clicks = _unclear(rest, words.CLICK)
    # A like or a purchase doesn't replace a click that can't be used.
    certain = (words.CLICK, words.LABEL) if clicks else (words.CLICK, words.LABEL, words.REACTION)
    for entries in certain:
        if named := _by_name(list(flags), entries):
            reason = f"the name means the answer of the user, and the values are two ({others[named[0]].examples})"
            return Choice(flags[named[0]], reason), False
    for name, column in others.items():
        if column.is_text and column.distinct <= _FEW and (found := _action(name, column)):
            return found, False
    if clicks:
        return _of_unclear(log, clicks, [flags[name] for name in _by_name(list(flags), words.REACTION)]), False
    named = _by_name(list(others), words.RATING) if log.headed else [name for name in others if _is_stars(others[name])]
    if rated := [name for name in named if _is_rating(others[name])]:
        return _rule_of(rated[0], others[rated[0]]), False
    if answers := [*_unclear(rest, words.LABEL), *_unclear(rest, words.REACTION)]:
        return _of_unclear(log, answers, []), False
    if constant := _constant(rest):
        return constant
    plain = [name for name in flags if not words.means(name, words.FEEDBACK)]
    if len(plain) == 1:
        return Choice(flags[plain[0]], f"the only column of two values ({others[plain[0]].examples})"), False
    if len(flags) > 1:
        raise Undecided(
            f"{log.files[0].name}: {listed(flags)} all hold two values; say which is the click with --label",
            "label",
            list(flags.values()),
        )
    if len(flags) == 1:
        (name,) = flags
        return Choice(flags[name], f"the only column of two values ({others[name].examples})"), False
    reason = "no column says whether an item was clicked, so every row is a click; negatives are sampled"
    rule = f"{time} > 0" if log.columns[time].is_number else f"{time} != -"
    return Choice(rule, reason), True


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
    """Return the columns that should tell the clicks by their names, but can't as they are; the most certain first.

    Args:
        columns: those that are no flags.
        entries: CLICK, LABEL or REACTION.
    """
    return [name for name in _by_name(list(columns), entries) if _may_answer(columns[name], entries)]


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
    """Return the rule of the first column of counts, unless there are rivals.

    Args:
        log: the first rows.
        names: columns that should tell the clicks, but can't as they are; the most certain first.
        rivals: rules over other columns that may be meant instead.

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
    return low <= 0 < high and _are_whole(column.values)


def _are_whole(values: pa.ChunkedArray) -> bool:
    """Return whether numbers are whole, even if they are written such as 17.0."""
    return pc.all(pc.equal(pc.floor(values), values)).as_py() is not False


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


def _constant(columns: dict[str, Column]) -> tuple[Choice, bool] | None:
    """Return the rule of a column that should tell the clicks, but has one value, and whether all rows are clicks."""
    named = [_by_name(list(columns), entries) for entries in (words.CLICK, words.LABEL, words.REACTION)]
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
        return Choice(rule, f"{name} is {value} in all of the first {column.rows:,} rows{so}"), is_yes
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


def _id(log: Look, role: str, entries: tuple[str, ...], given: str | None, used: set[str]) -> Choice:
    if given is not None:
        if problem := _no_id(log.columns[given], role):
            raise InputError(f"--{role} {given}: {problem}")
        return Choice(given, "you said so")
    free = {name: column for name, column in log.columns.items() if name not in used}
    problems = {
        name: why for name, column in free.items() if (why := _no_id(column, role) or _unlike_ids(column, role))
    }
    fitting = [name for name in free if name not in problems]
    named = _by_name(fitting, entries)
    unfit = [name for name in problems if words.means(name, words.ID) or len(words.words(name)) == 1]
    meant = min(_by_name(unfit, entries), key=lambda name: _certainty(name, entries), default=None)
    blamed = meant is not None and _is_blamed(log.columns[meant], named, entries)
    if named and not blamed:
        first = words.rank(named[0], entries)
        equal = [name for name in named if words.rank(name, entries) == first]
        best = max(equal, key=lambda name: (words.means(name, words.ID), -len(name)))
        return Choice(best, f"the name means {'an' if role == 'item' else 'a'} {role}; {_repeats(log.columns[best])}")
    others = words.ITEM if role == "user" else words.USER
    plain = [name for name in fitting if not words.means(name, (*others, *words.FEEDBACK, *words.TIME, *words.NUMBER))]
    if plain and not log.headed:
        return Choice(
            plain[0], f"the first such column of a file without a header: check it; {_repeats(log.columns[plain[0]])}"
        )
    if len(plain) == 1 and not blamed:
        return Choice(plain[0], f"the only column left that repeats like ids; {_repeats(log.columns[plain[0]])}")
    candidates = sorted(plain or fitting, key=lambda name: -log.columns[name].distinct)
    problem = f"no name of a column means the {role}"
    if meant is not None:
        problem = f"{meant} means the {role}, but {problems[meant]}"
        if not _no_id(log.columns[meant], role):
            candidates.insert(0, meant)
    raise Undecided(
        f"{log.files[0].name}: {problem}; candidates by their values: {listed(candidates) or 'none'}. Name one with "
        f"--{role}",
        role,
        candidates,
    )


def _certainty(name: str, entries: tuple[str, ...]) -> tuple[int, bool]:
    """Return how certainly a name means a role that it matches: less is more certain."""
    rank = words.rank(name, entries)
    assert rank is not None, "the name matches an entry"
    return rank, not words.means(name, words.ID)


def _is_blamed(column: Column, named: list[str], entries: tuple[str, ...]) -> bool:
    """Return whether a column that means a role, but doesn't fit, keeps other columns from it.

    It holds ids, but some are missing, or hardly any repeats. Where names of columns that fit mean the role as well,
    it must lack values, and its name must be more certain.
    """
    if column.distinct < _FEWEST_IDS:
        return False
    if not named:
        return column.missing > 0 or column.distinct >= _ONCE * column.rows
    best = min(_certainty(name, entries) for name in named)
    return column.missing > 0 and _certainty(column.name, entries) < best


def _no_id(column: Column, role: str) -> str | None:
    """Return why a column can't be the user or the item, and what to do, or None."""
    if not (column.is_text or column.is_number):
        return f"its values are of type {column.values.type}; expected whole numbers or text: name another column"
    if column.missing:
        return f"{column.missing:,} of the first {column.rows:,} values are missing; fill them or drop their rows"
    if column.is_number and not _are_whole(column.values):
        return f"its values are real numbers ({column.examples}); expected whole numbers or text: name another column"
    if column.distinct <= 2:
        return f"its only values are {column.examples}; expected more than two {role}s: name another column"
    return None


def _unlike_ids(column: Column, role: str) -> str | None:
    """Return why a column is hardly the user or the item, unless a person says so, or None."""
    if not (column.is_text or column.is_whole):
        return f"its values are real numbers ({column.examples})"
    if column.distinct < _FEWEST_IDS:
        return f"it has only {column.distinct} values ({column.examples}), fewer than {_FEWEST_IDS}"
    if column.distinct >= _ONCE * column.rows:
        return f"hardly any {role} repeats: {_repeats(column)}"
    return None


def _repeats(column: Column) -> str:
    return f"{column.distinct:,} values in the first {column.rows:,} rows"


def _by_name(names: list[str], entries: tuple[str, ...]) -> list[str]:
    """Return the names that match an entry, the most certain first."""
    ranked = [(place, at, name) for at, name in enumerate(names) if (place := words.rank(name, entries)) is not None]
    return [name for _, _, name in sorted(ranked)]
