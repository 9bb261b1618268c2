"""Guess which columns of a log are the time of an impression, the user and the item, and in which unit the time is.

A column must fit by its values. Among those that fit, a name that means the role decides. Without such a name, a role
is guessed only if one column fits.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from din.base.errors import InputError, listed, shown
from din.data import times
from din_start.init import label, words
from din_start.init.choice import Choice
from din_start.init.look import Column, Look

_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (1995, 2050))  # a fetch accepts more; ids look like times
_BEGIN = r"(?i)^\s*([a-z]{3,9}\.?,? ){0,2}\d"  # of a time as text, such as 31.05.2024 or Fri May 31 2024
_CLOCK = r"^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?$"
_SHORTEST = 10_000_000  # no form of digits alone is shorter than %Y%m%d
_GAPS = 0.1  # share of rows without a time from which a column is more likely to hold those of clicks
_EXAMPLE = "say how they are written with --unit, such as --unit '%d/%b/%Y %H:%M'"
_NO_IDS = ("rating", "reaction", "click", "feedback", "time", "money", "number")
_NO_LOG = "A log without users and items is none that din-ctr can learn from"
_FEWEST_IDS = 10
_FEWEST_OTHERS = 100  # in a column whose name says more than the role, such as a feature of the user


def guess(log: Look, overrides: Mapping[str, str]) -> dict[str, Choice]:
    """Return the columns of `time`, `user` and `item`, the `unit` of the time, and the `label`, maybe a rule.

    A role in `overrides` is not guessed.

    Raises:
        InputError: a role can't be guessed; a given column does not exist, or can't have its role.
    """
    for role, name in overrides.items():
        if role not in ("label", "split", "unit", "encoding") and name not in log.columns:
            raise InputError(f"--{role} {shown(name)}: no such column; expected one of {listed(log.columns)}")
    time, unit = _time(log, overrides.get("time"), overrides.get("unit"))
    answer = Choice(overrides["label"], "you said so") if "label" in overrides else label.guess(log, time.value)
    rule = label.parse(answer.value, log)
    used = {time.value, rule.column, *log.once}
    user = _id(log, "user", overrides.get("user"), used | {overrides.get("item", "")})
    item = _id(log, "item", overrides.get("item"), used | {user.value})
    return {"time": time, "unit": unit, "user": user, "item": item, "label": answer}


def unit_of(column: Column) -> Choice | None:
    """Return the unit of a column of times with its reason, or None if the values are no times."""
    if column.kind == "time":
        return Choice("iso", "the column is of a time type, which has a unit of its own")
    if column.kind not in ("text", "number") or not column.distinct:
        return None
    # 2024050100 is an hour. Hardly any count of seconds would end in a month, a day and an hour in all rows.
    return _written(column) or (_since_1970(column) if column.kind == "number" else None)


def _written(column: Column) -> Choice | None:
    """Return the form of times in text or in digits with its reason, or None."""
    if column.kind == "text" and column.share_of(_BEGIN) < times.MOST:
        return None
    if column.kind == "number" and not (column.is_whole and pc.max(column.different).as_py() >= _SHORTEST):
        return None
    text = pa.chunked_array([column.different[:20_000].cast(pa.string())])
    if column.kind == "text" and times.is_iso(text):
        return Choice("iso", f"{text[0]} is ISO 8601; times without an offset count as UTC")
    if forms := times.forms_of(text, times.DIGITS if column.kind == "number" else times.FORMS):
        also = f" (or {forms[1]}: check it)" if len(forms) > 1 else ""
        return Choice(forms[0], f"{text[0]}, and all others, have this form{also}; they count as UTC")
    return None


def _since_1970(column: Column) -> Choice | None:
    """Return the unit of a count since 1970 with its reason, or None if the numbers are too small or too large."""
    # Among different values, 0 or another mark for a missing time counts once. Few rows may have it.
    low, high = pc.quantile(column.different, [1 - times.MOST, times.MOST], interpolation="nearest").to_pylist()
    least = min(low, pc.quantile(column.values, _GAPS, interpolation="nearest")[0].as_py())
    for unit, per in times.NANOSECONDS.items():
        if least * per >= _FIRST.timestamp() * 10**9 and high * per < _LAST.timestamp() * 10**9:
            first, last = (datetime.fromtimestamp(time * per / 10**9, UTC) for time in (low, high))
            return Choice(unit, f"nearly all are {first:%Y-%m-%d} to {last:%Y-%m-%d} in {unit} since 1970")
    return None


def _time(log: Look, column_name: str | None, unit_name: str | None) -> tuple[Choice, Choice]:
    """Return the column of the time and its unit; `column_name` and `unit_name` are what a person named."""
    if unit_name is None:
        units = {name: unit for name, column in log.columns.items() if (unit := unit_of(column))}
    elif unit_name == "iso" or "%" in unit_name or times.count_of(unit_name):
        units = {
            name: Choice(unit_name, "you said so") for name, column in log.columns.items() if _fits(column, unit_name)
        }
    else:
        raise InputError(
            f"--unit {shown(unit_name)}: expected s, ms, us, ns, iso, a form such as %d.%m.%Y %H:%M, or days "
            "since 2000-01-01, in quotes"
        )
    if column_name in units:
        return Choice(column_name, "you said so"), units[column_name]
    # Ids may look like times since 1970.
    units = {name: unit for name, unit in units.items() if words.means(name, "time") or not words.means(name, "id")}
    expected = unit_name or "seconds to nanoseconds since 1970, ISO 8601, or a date such as 31.05.2024 12:00"
    if column_name is not None:
        raise InputError(
            f"--time {column_name}: its values, such as {log.columns[column_name].examples}, are not times; expected "
            f"{expected}: {_EXAMPLE}"
        )
    if not units:
        if log.headed and not any(words.means(name, "user", "item", "time") for name in log.columns):
            raise InputError(
                f"{log.files[0].name}: no column is a user, an item or a time by its name: {listed(log.columns)}. "
                f"{_NO_LOG}. If some are, name them with --user, --item and --time"
            )
        for name in words.by_name(log.columns, "time"):
            if count := _count_from_elsewhere(log.columns[name]):
                raise InputError(
                    f"{log.files[0].name}: {name} holds no times since 1970 ({log.columns[name].examples}); if it "
                    f"counts from a day that the log doesn't name, any day will do: give --time {name} --unit '{count}'"
                )
        nested = [name for name, column in log.columns.items() if column.kind == "nested"]
        plain = [name for name in log.columns if name not in nested]
        raise InputError(
            f"{log.files[0].name}: no column holds times, which tell the order of the rows; expected {expected} in one "
            f"of {listed(plain)}. If one holds times in another form, name it with --time, and {_EXAMPLE}. If the rows "
            "have an order but no times, add a column `timestamp` of the same day in all rows, such as 2000-01-01"
            + (f"; write one row per impression instead of lists or objects in {listed(nested)}" if nested else "")
        )
    columns = {name: log.columns[name] for name in units}
    if whole := [name for name, column in columns.items() if column.missing < _GAPS * len(column.values)]:
        units = {name: units[name] for name in whole}  # where nobody clicked, the time of the click is missing
    if others := {name: unit for name, unit in units.items() if not words.means(name, "user", "item", "id")}:
        units = others
    if named := words.by_name(units, "time"):
        most = max(log.columns[name].distinct for name in named)
        best = next(name for name in named if log.columns[name].distinct * 20 >= most)  # not the day beside the time
        reason = f"the name means a time, and the values are times ({log.columns[best].examples})"
    elif len(units) == 1:
        (best,) = units
        reason = f"the only column of times ({log.columns[best].examples})"
    else:
        problem = f"{listed(units)} all hold times; name the time of the impression with --time"
        raise InputError(f"{log.files[0].name}: {problem}")
    is_coarse = is_day(log.columns[best], units[best].value)
    if clocks := [name for name, column in log.columns.items() if is_coarse and column.share_of(_CLOCK) > times.MOST]:
        reason += f"\nthese are days; to use the time of day in {clocks[0]} as well, write both in one column"
    return Choice(best, reason), units[best]


def _count_from_elsewhere(column: Column) -> str | None:
    """Return the unit in which numbers from 0 on are days or years apart, counted from an arbitrary day, or None."""
    if column.kind != "number" or not column.distinct:
        return None
    low, high = pc.min_max(column.values).as_py().values()
    for unit, a_day in {"days": 1, "s": 86_400, "ms": 86_400_000}.items():
        if low >= 0 and 2 * a_day <= high - low and high < 4_000 * a_day:
            return f"{unit} since 2000-01-01"
    return None


def is_day(column: Column, unit: str) -> bool:
    """Return whether a column of times of a unit holds days, without the time of day."""
    if unit == "iso":
        return any(len(str(time)) == len("2024-05-31") for time in column.different[:1])
    return "%" in unit and "%H" not in unit and "%I" not in unit


def _fits(column: Column, unit: str) -> bool:
    """Return whether a column may hold times of a unit."""
    if times.count_of(unit):
        return column.kind == "number"
    if unit == "iso":
        return column.kind == "time" or (column.kind == "text" and times.is_iso(column.values.drop_null()))
    return column.kind != "nested" and times.has_form(column.values.drop_null(), unit)


def _id(log: Look, role: str, column_name: str | None, used: set[str]) -> Choice:
    """Return the column of the user or of the item, which has no other role yet."""
    if column_name is not None:
        if problem := _problem(log.columns[column_name], role, is_given=True):
            raise InputError(f"--{role} {column_name}: {problem}")
        return Choice(column_name, "you said so")
    free = {name: column for name, column in log.columns.items() if name not in used}
    problems = {name: _problem(column, role, is_given=False) for name, column in free.items()}
    named = words.by_name(free, role)
    named.sort(key=lambda name: (words.rank(name, role), not words.means(name, "id")))
    like_ids = [name for name in named if words.means(name, "id") or len(words.words(name)) == 1]
    likely = [name for name in like_ids if free[name].distinct >= _FEWEST_IDS]
    named = [name for name in named if name in like_ids or free[name].distinct >= _FEWEST_OTHERS]
    # Ids with gaps can't be used, and no column whose name is less certain replaces them.
    meant = [name for name in named if problems[name] is None or (free[name].missing and name in likely)] + likely
    if meant and problems[meant[0]] is None:
        return Choice(meant[0], f"the name means the {role}; {_repeats(free[meant[0]])}")
    fitting = [name for name in free if problems[name] is None]
    plain = [name for name in fitting if not words.means(name, "item" if role == "user" else "user", *_NO_IDS)]
    if plain and (not log.headed or (len(plain) == 1 and not meant)):
        why = "the only column left that repeats like ids" if log.headed else "no header: check it; it repeats like ids"
        return Choice(plain[0], f"{why}; {_repeats(free[plain[0]])}")
    problem = f"no column is named like {'a user' if role == 'user' else 'an item'}"
    credible = [name for name in plain if free[name].distinct >= 2 * _FEWEST_IDS or words.means(name, "id")]
    candidates = sorted(credible, key=lambda name: -free[name].distinct)
    if blamed := next(iter((*meant, *named)), None):
        problem = f"{blamed} means the {role}, but {problems[blamed]}"
        if _problem(free[blamed], role, is_given=True) is None:
            candidates = [blamed, *(name for name in candidates if name != blamed)]
    listing = f"candidates by their values: {listed(candidates)}" if candidates else "no other column looks like one"
    raise InputError(f"{log.files[0].name}: {problem}; {listing}. If one is, name it with --{role}. {_NO_LOG}")


def _problem(column: Column, role: str, is_given: bool) -> str | None:
    """Return why a column can't be the user or the item, and what to do, or None; unlikely ids must be given."""
    if column.holds_objects:
        return (
            f"its values are objects ({column.values.type}); write the {role}'s id as a column of its own, e.g. of "
            f"JSON-lines with jq -c '.{role}_id = .{column.name}.id'"
        )
    # Ids such as 1234.5678 are read as they are written.
    if not (column.kind == "text" or column.is_whole or (column.kind == "number" and words.means(column.name, "id"))):
        kind = f"{column.values.type} ({column.examples})"
        return f"its values are of type {kind}; expected whole numbers or text: name another column"
    if column.missing:
        return (
            f"{column.missing:,} of the first {len(column.values):,} values are missing; fill them or drop their rows"
        )
    if column.distinct <= 2:
        return f"its only values are {column.examples}; expected more than two {role}s: name another column"
    if column.holds_lists:
        return f"its values are lists, such as {shown(column.examples)}; expected one {role}: write a row for each"
    if is_given:
        return None
    if column.distinct < _FEWEST_IDS:
        return f"it has only {column.distinct} values ({column.examples}), fewer than {_FEWEST_IDS}"
    if column.is_once:
        return f"hardly any {role} repeats: {_repeats(column)}"
    return None


def _repeats(column: Column) -> str:
    return f"{column.distinct:,} values in the first {len(column.values):,} rows"
