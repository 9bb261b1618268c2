"""Convert timestamps to UTC microseconds, and catch the usual mistakes: a wrong unit, a missing value, not a time."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError
from din.sources.columns import NUMBER, numbers
from din.sources.rawlog import TIME, Part, first

BEIJING = 8  # hours ahead of UTC, all year round
YEARS = (1990, 2100)  # a time outside these years means a wrong unit or a broken clock
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DATES = (
    "%d.%m.%Y",
    "%d.%m.%y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%Y/%m/%d",
    "%d-%m-%Y",
    "%m %d, %Y",
    "%b %d, %Y",
    "%b %d %Y",
    "%d %b %Y",
)
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_OTHERS = ("%d/%b/%Y:%H:%M:%S", "%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M%S", "%Y%m%d %H:%M:%S", "%y%m%d%H")
FORMS = (*(date + clock for date in _DATES for clock in _CLOCKS), *_OTHERS)
"""Forms of text that logs use beside ISO 8601. Where two fit, such as 03/04/2024, the first is more common."""
_LOW, _HIGH = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (YEARS[0], YEARS[1] + 1))
_OFFSET = r"(Z|[+-]\d{2}(:?\d{2})?)"
_ISO = rf"^\d{{4}}-\d{{2}}-\d{{2}}([T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?{_OFFSET}?)?$"
_UNIT_KEY = "fetch.table.timestamp_unit"


def to_utc(part: Part, name: str, unit: str) -> pa.ChunkedArray:
    """Return the column `name` as timestamp[us] in UTC.

    Args:
        part: the table.
        name: the column.
        unit: `s`, `ms`, `us` or `ns` since 1970, `iso` for ISO 8601 with an offset or in UTC, or a form of text in
            UTC such as `%d.%m.%Y`. A column of a time type has its own unit.

    Raises:
        InputError: a value is missing, is not a time, or lies outside 1990-2100. The message names its row, and
            another unit if one would make sense of the value.
    """
    column = part.table[name]
    if (row := first(pc.is_null(column, nan_is_null=True))) is not None:
        raise InputError(f"{part.at(row)}: {name} is missing; expected a time: fill it or leave the row out")
    if "%" in unit and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        column = column.cast(pa.string())  # such as 20240531
    if pa.types.is_string(column.type):
        read = _iso if unit == "iso" else _formed if "%" in unit else _number
        column = read(part, name, column, unit)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        zone = getattr(column.type, "tz", None)
        return _plausible(part, name, column.cast(pa.timestamp("us", zone), safe=False).cast(TIME))
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        raise InputError(f"{part.name}: {name} is of type {column.type}; expected numbers, text or timestamps")
    if unit == "iso":
        raise InputError(
            f"{part.at(0)}: {name} is {column[0].as_py()!r}; expected ISO 8601 text ({_UNIT_KEY}=iso), e.g. "
            f"2024-05-31T12:00:00Z{_proposal(column[0])}"
        )
    return _scaled(part, name, column, unit)


def formed(column: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Return text of a form as `strptime` reads it as timestamp[us], with null where a value has another form."""
    return pc.strptime(column, format=form, unit="us", error_is_null=True).cast(TIME)


def forms_of(column: pa.ChunkedArray) -> list[str]:
    """Return the `FORMS` that every value of a text column has, with times within the years 1990 to 2100."""
    found = []
    for form in FORMS:
        times = formed(column, form)
        if times.null_count == 0 and pc.all(_within(times)).as_py():
            found.append(form)
    return found


def is_iso(column: pa.ChunkedArray) -> bool:
    """Return whether every value of a text column is ISO 8601."""
    return pc.all(pc.match_substring_regex(column, _ISO)).as_py() is True


def since_1970(part: Part, name: str, unit: str, ahead_hours: int = 0) -> pa.ChunkedArray:
    """Return an int64 column, in the unit that its publisher states, as timestamp[us].

    Args:
        part: the table.
        name: the column.
        unit: `s` or `ms`.
        ahead_hours: added to each time, so that days begin as in a time zone this far ahead of UTC.

    Raises:
        InputError: a value is missing or lies outside 1990-2100. The message names its row.
    """
    column = part.table[name]
    per_us = NANOSECONDS[unit] // 1000
    fits = pc.and_(pc.greater_equal(column, _LOW * 10**6 // per_us), pc.less(column, _HIGH * 10**6 // per_us))
    if (row := first(pc.invert(fits).fill_null(True))) is not None:
        raise InputError(
            f"{part.at(row)}: {name} is {column[row].as_py()!r}; expected {unit} since 1970, within the years "
            f"{YEARS[0]} to {YEARS[1]}: correct the row, or download the file again"
        )
    return shifted(pc.multiply(column, per_us).cast(TIME), ahead_hours)


def shifted(column: pa.ChunkedArray, ahead_hours: int) -> pa.ChunkedArray:
    """Shift times so that their UTC days are the days of a time zone `ahead_hours` ahead of UTC."""
    return pc.add(column, timedelta(hours=ahead_hours)) if ahead_hours else column


def _scaled(part: Part, name: str, column: pa.ChunkedArray, unit: str) -> pa.ChunkedArray:
    per = NANOSECONDS[unit]
    low, high = _LOW * 10**9 // per, _HIGH * 10**9 // per
    if (row := first(pc.invert(pc.and_(pc.greater_equal(column, low), pc.less(column, high))))) is not None:
        value = column[row]
        raise InputError(
            f"{part.at(row)}: {name} is {value.as_py()!r}, which as {_UNIT_KEY}={unit} lies outside the years "
            f"{YEARS[0]} to {YEARS[1]}{_proposal(value)}"
        )
    if pa.types.is_floating(column.type):
        return pc.round(pc.multiply(column, per / 1000)).cast(pa.int64()).cast(TIME)
    scaled = pc.multiply(column, per // 1000) if per >= 1000 else pc.divide(column, 1000)
    return scaled.cast(TIME)


def _number(part: Part, name: str, column: pa.ChunkedArray, unit: str) -> pa.ChunkedArray:
    result = numbers(column)
    if pa.types.is_string(result.type):
        row = first(pc.invert(pc.match_substring_regex(column, NUMBER))) or 0
        raise InputError(
            f"{part.at(row)}: {name} is {column[row].as_py()!r}; expected a number ({_UNIT_KEY}={unit}): correct the "
            f"row, or set {_UNIT_KEY} to iso where all are written like 2024-05-31T12:00:00Z"
        )
    return result


def _formed(part: Part, name: str, column: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    times = formed(column, form)
    if (row := first(pc.is_null(times))) is None:
        return times
    raise InputError(
        f"{part.at(row)}: {name} is {column[row].as_py()!r}; expected the form {form!r} ({_UNIT_KEY}): correct the "
        f"row{_proposal(column[row]).replace('; correct the row', '')}"
    )


def _iso(part: Part, name: str, column: pa.ChunkedArray, _: str) -> pa.ChunkedArray:
    fits = pc.match_substring_regex(column, _ISO)
    if (row := first(pc.invert(fits))) is None:
        short = pc.replace_substring_regex(column, r"(\.\d{6})\d+", r"\1")
        aware = pc.match_substring_regex(short, rf"\d\d:\d\d.*{_OFFSET}$")
        try:
            zoned = pc.if_else(aware, short, None).cast(pa.timestamp("us", "UTC")).cast(TIME)
            return pc.coalesce(zoned, pc.if_else(aware, None, short).cast(TIME))
        except pa.ArrowInvalid:  # e.g. the 13th month; find its row the slow way
            row = next(row for row, value in enumerate(column) if not _parses(value.as_py()))
    raise InputError(
        f"{part.at(row)}: {name} is {column[row].as_py()!r}; expected ISO 8601 ({_UNIT_KEY}=iso), e.g. "
        f"2024-05-31T12:00:00Z or 2024-05-31 14:00:00+02:00{_proposal(column[row])}"
    )


def _parses(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _plausible(part: Part, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if (row := first(pc.invert(_within(column)))) is not None:
        raise InputError(
            f"{part.at(row)}: {name} is {column[row].as_py()}, outside the years {YEARS[0]} to {YEARS[1]}; "
            "correct the row"
        )
    return column


def _within(column: pa.ChunkedArray) -> pa.ChunkedArray:
    low, high = (pa.scalar(seconds * 10**6).cast(TIME) for seconds in (_LOW, _HIGH))
    return pc.and_(pc.greater_equal(column, low), pc.less(column, high))


def _proposal(scalar: pa.Scalar) -> str:
    text = scalar.as_py()
    if isinstance(text, str) and (forms := forms_of(pa.chunked_array([[text]]))):
        return f'; set {_UNIT_KEY} to "{forms[0]}"'
    try:
        value = float(text)
    except ValueError:
        return ""
    units = [unit for unit, per in NANOSECONDS.items() if _LOW <= value * per / 10**9 < _HIGH]
    return f"; set {_UNIT_KEY} to {units[0]}" if units else "; correct the row"
