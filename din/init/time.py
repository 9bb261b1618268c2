"""Guess which column of a log is the time of an impression, and its unit."""

import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError, listed, shown
from din.init import words
from din.init.look import Choice, Column, Look
from din.sources import times

_UNITS = ("s", "ms", "us", "ns")
_YEARS = (1995, 2050)  # narrower than what a fetch accepts, since ids may look like times
_SECONDS = [(year - 1970) * 365.2425 * 86_400 for year in _YEARS]
_EXAMPLE = "say how they are written with --unit, such as --unit '%d/%b/%Y %H:%M'"


def guess(log: Look, given: str | None, said: str | None) -> tuple[Choice, Choice]:
    """Return the column of the time, and `fetch.table.timestamp_unit`; `given` and `said` are what a person named.

    Raises:
        InputError: no column holds times, or several do; the given column holds none, or the unit is unknown.
    """
    if said is not None and said not in (*_UNITS, "iso") and "%" not in said:
        raise InputError(f"--unit {shown(said)}: expected s, ms, us, ns, iso, or a form such as %d.%m.%Y %H:%M")
    units = {name: unit for name, column in log.columns.items() if (unit := unit_of(column, said)) is not None}
    if given is not None:
        if given not in units:
            expected = said or "seconds to nanoseconds since 1970, ISO 8601, or a date such as 31.05.2024 12:00"
            raise InputError(
                f"--time {given}: its values, such as {log.columns[given].examples}, are no times that are known; "
                f"expected {expected}: {_EXAMPLE}"
            )
        return Choice(given, "you said so"), units[given]
    if not units:
        plain = [name for name, column in log.columns.items() if not column.is_nested]
        nested = [name for name, column in log.columns.items() if column.is_nested]
        hold = "holds" if len(nested) == 1 else "hold"
        raise InputError(
            f"{log.files[0].name}: no column holds times, so nobody knows which rows come first; expected seconds "
            f"since 1970, ISO 8601, or dates such as 31.05.2024 in one of {listed(plain)}. If one holds times in "
            f"another form, name it with --time, and {_EXAMPLE}"
            + (f"; {listed(nested)} {hold} lists or objects: write one row per impression" if nested else "")
        )
    if whole := {name: unit for name, unit in units.items() if not log.columns[name].missing}:
        units = whole  # a time that is missing where nobody clicked is that of the click
    if named := words.by_name(units, words.TIME):
        most = max(log.columns[name].distinct for name in named)
        best = next(name for name in named if log.columns[name].distinct * 20 >= most)  # not the day beside the time
        reason = f"the name means a time, and the values are times ({log.columns[best].examples})"
        return Choice(best, reason), units[best]
    if len(units) > 1:
        problem = f"{listed(units)} all hold times; name the time of the impression with --time"
        raise InputError(f"{log.files[0].name}: {problem}")
    ((only, unit),) = units.items()
    return Choice(only, f"the only column of times ({log.columns[only].examples})"), unit


def unit_of(column: Column, said: str | None = None) -> Choice | None:
    """Return the unit of a column of times with its reason, or None if the values are no times, or not in `said`."""
    if said is not None:
        return Choice(said, "you said so") if _fits(column, said) else None
    if column.is_time:
        return Choice("iso", "the column is of a time type, which has a unit of its own")
    present = column.values.drop_null()
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
        return not column.is_nested and times.has_form(column.values.drop_null(), unit)
    if unit == "iso":
        return column.is_time or (column.is_text and times.is_iso(column.values))
    return column.is_number


def _span(low: float, high: float) -> str:
    first, last = pa.array([int(low), int(high)], pa.timestamp("s")).to_pylist()
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
