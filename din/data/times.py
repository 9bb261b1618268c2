"""Convert timestamps to UTC microseconds, and catch the usual mistakes: a wrong unit, a missing value, not a time."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from din.base.errors import InputError, shown
from din.data import values
from din.data.rawlog import type_name
from din.data.rows import Check, Rows, quoted
from din.data.values import Form
from din.params.fetch import SINCE

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
    "%B %d, %Y",
    "%d %B %Y",
)
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_OTHERS = (
    *("%d/%b/%Y:%H:%M:%S", "%Y-%m-%d %H", "%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M%S", "%Y%m%d %H:%M:%S", "%y%m%d%H"),
    *("%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT"),
)
FORMS = (*(date + clock for date in _DATES for clock in _CLOCKS), *_OTHERS)
"""Forms of text that logs use besides ISO 8601, the more common of two like `%m/%d/%Y` and `%d/%m/%Y` first."""
DIGITS = tuple(form for form in _OTHERS if form.replace("%", "").isalpha())
"""The forms that write a time in digits alone, as a whole number is written."""
MOST = 0.99
"""The share of a column's values whose form is that of the column. A fetch names the first of the others."""
_LOW, _HIGH = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (YEARS[0], YEARS[1] + 1))
_ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|UTC|[+-]\d{2}(:?\d{2})?))?)?"
_WITHOUT_SECONDS = r"([T ]\d{2}:\d{2})(Z| UTC|[+-].*)?$"
UNIT_KEY = "fetch.table.timestamp_unit"
_OF_THE_YEARS = f"a time in the years {YEARS[0]} to {YEARS[1]}"


def to_utc(rows: Rows, name: str, unit: str, forms: int) -> tuple[str, list[Check]]:
    """Return SQL for the column `name` as a timestamp in UTC, and checks that each value is a time of 1990 to 2100.

    Messages name another unit if one would make sense of the value.

    Args:
        unit: `s`, `ms`, `us` or `ns` since 1970, `iso` for ISO 8601 with an offset or in UTC, or a form of text in
            UTC such as `%d.%m.%Y`, or a count since another day such as `days since 2000-01-01`. A column of a time
            type has its own unit.
        forms: the forms of the values in the column.

    Raises:
        InputError: the column has a type that can't hold times.
    """
    column = rows[name]
    kind = rows.types[name]
    missing = f"{column} IS NULL" + (f" OR isnan({column})" if kind == "DOUBLE" else "")
    checks = [Check(missing, name, "NULL", "a time", "fill it or leave the row out")]
    if kind.startswith(("TIMESTAMP", "DATE")):
        time = f"CAST({column} AS TIMESTAMP)"
    elif kind not in ("BIGINT", "DOUBLE", "VARCHAR"):
        raise InputError(f"{rows.name}: {name} is of type {type_name(kind)}; expected numbers, text or timestamps")
    elif count := count_of(unit):
        numbers = values.number(forms) if kind == "VARCHAR" else kind
        return _number(rows, name, numbers, unit, count, checks)
    else:
        time = _iso(column) if unit == "iso" else _formed(column, _checked(unit))
        checks.append(Check(f"{time} IS NULL", name, column, _expected(unit), _proposal))
    checks.append(Check(f"NOT {_within(time)}", name, time, _OF_THE_YEARS, "correct the row"))
    return time, checks


class Count(NamedTuple):
    """How times are counted: the nanoseconds of a unit, and the seconds from 1970 to the first moment."""

    per: int
    start: int


def count_of(unit: str) -> Count | None:
    """Return how a unit counts, or None if it is a form of text.

    Raises:
        InputError: it counts from a day that doesn't exist.
    """
    if since := re.fullmatch(SINCE, unit):
        try:
            day = datetime.fromisoformat(since[2]).replace(tzinfo=UTC)
        except ValueError:
            raise InputError(f"{UNIT_KEY}: {shown(unit)}: no such day; expected one such as 2000-01-01") from None
        return Count(NANOSECONDS.get(since[1], 86_400 * 10**9), int(day.timestamp()))
    return Count(NANOSECONDS[unit], 0) if unit in NANOSECONDS else None


def is_iso(column: pa.ChunkedArray) -> bool:
    """Return whether nearly every value of a text column is ISO 8601."""
    return _shares(column, [f"regexp_full_match(c0, '{_ISO}')"])[0] >= MOST


def has_form(column: pa.ChunkedArray, form: str) -> bool:
    """Return whether nearly every value of a text column has a form of `strptime`."""
    return _shares(column, [f"{_formed('c0', _checked(form))} IS NOT NULL"])[0] >= MOST


def forms_of(column: pa.ChunkedArray, forms: Sequence[str] = FORMS) -> list[str]:
    """Return the forms that nearly every value of a text column has, with times within the years 1990 to 2100.

    A form that more of the values have comes first, then a shorter one, then one whose times lie closer together:
    01/05/2024 to 10/05/2024 are ten days of May, rather than a day of each of ten months.
    """
    shares = _shares(column, [_within(_formed("c0", form)) for form in forms])
    fitting = {form: share for form, share in zip(forms, shares, strict=True) if share >= MOST}
    return sorted(fitting, key=lambda form: (-fitting[form], len(form), _span(column, form)))


def _shares(column: pa.ChunkedArray, conditions: list[str]) -> tuple[float, ...]:
    """Return the share of a column's values that meets each condition."""
    rows = Rows.of("", {"": column.cast(pa.string())})
    return rows.ask(*(f"coalesce(avg(coalesce({condition}, false)::INT), 1)" for condition in conditions))


def _span(column: pa.ChunkedArray, form: str) -> timedelta:
    """Return the time between the first and the last of a text column's values that have a form."""
    time = _formed("c0", form)
    (span,) = Rows.of("", {"": column.cast(pa.string())}).where(_within(time)).ask(f"max({time}) - min({time})")
    return span


def _number(rows: Rows, name: str, kind: str, unit: str, count: Count, checks: list[Check]) -> tuple[str, list[Check]]:
    """Return SQL for numbers of a unit that counts; `kind` is the type of the numbers, or VARCHAR if not all are."""
    column = rows[name]
    per = count.per
    number = f"TRY_CAST({column} AS {kind if kind == 'BIGINT' else 'DOUBLE'})"
    if rows.types[name] == "VARCHAR":
        fix = f"correct the row, or set {UNIT_KEY} to iso where all are written like 2024-05-31T12:00:00Z"
        word = f"{values.form(column, 'VARCHAR')} & {Form.WHOLE | Form.NUMBER | Form.FLOAT:d} = 0"
        checks.append(Check(word, name, column, f"a number ({UNIT_KEY}={unit})", fix))
    low, high = ((seconds - count.start) * 10**9 // per for seconds in (_LOW, _HIGH))
    broken = f"NOT ({number} >= {low} AND {number} < {high})"
    checks.append(Check(broken, name, number, f"{_OF_THE_YEARS} ({UNIT_KEY}={unit})", _proposal))
    if kind == "BIGINT":
        microseconds = f"{number} * {per // 1000}" if per >= 1000 else f"{number} // 1000"
    else:
        microseconds = f"CAST(round_even({number} * {per / 1000!r}::DOUBLE, 0) AS BIGINT)"
    fits = f"CASE WHEN {broken} THEN NULL ELSE {microseconds} END"  # numbers outside the years may overflow
    return f"make_timestamp({fits} + {count.start * 10**6})", checks


def _iso(column: str) -> str:
    """Return SQL for the time of ISO 8601 text, NULL for other text or a date that does not exist."""
    text = f"CAST({column} AS VARCHAR)"
    short = rf"regexp_replace({text}, '(\.\d{{6}})\d+', '\1')"
    joined = rf"regexp_replace({short}, ' ([Z+-])', '\1')"
    full = rf"regexp_replace({joined}, '{_WITHOUT_SECONDS}', '\1:00\2')"
    time = f"make_timestamp(epoch_us(TRY_CAST({full} AS TIMESTAMPTZ)))"
    return f"CASE WHEN regexp_full_match({text}, '{_ISO}') THEN {time} END"


def _formed(column: str, form: str) -> str:
    """Return SQL for the time of text, or of digits, in a form. The blank before AM and PM may be missing."""
    forms = ", ".join(quoted(variant) for variant in dict.fromkeys((form, form.replace(" %p", "%p"))))
    text = rf"regexp_replace(CAST({column} AS VARCHAR), '^(\d+)\.0$', '\1')"  # pandas writes 2024050100.0
    return f"CAST(try_strptime({text}, [{forms}]) AS TIMESTAMP)"


def _checked(form: str) -> str:
    """Return a form of text; raise InputError if DuckDB has no such form."""
    try:
        duckdb.execute("SELECT try_strptime('', ?)", [form])
    except duckdb.InvalidInputException as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"{UNIT_KEY}: {shown(form)}: {problem}; expected a form such as %d.%m.%Y %H:%M") from None
    return form


def _within(time: str) -> str:
    return f"({time} >= TIMESTAMP '{YEARS[0]}-01-01' AND {time} < TIMESTAMP '{YEARS[1] + 1}-01-01')"


def _expected(unit: str) -> str:
    if unit == "iso":
        return f"ISO 8601 ({UNIT_KEY}=iso), e.g. 2024-05-31T12:00:00Z or 2024-05-31 14:00:00+02:00"
    return f"the form {unit!r} ({UNIT_KEY})"


def _proposal(value: Any) -> str:
    """Return the advice to set the unit or form that makes sense of a value, or else to correct the row."""
    if isinstance(value, str) and (forms := forms_of(pa.chunked_array([[value]]))):
        return f'set {UNIT_KEY} to "{forms[0]}"'
    try:
        number = float(value)
    except (TypeError, ValueError):
        return "correct the row"
    units = [unit for unit, per in NANOSECONDS.items() if _LOW <= number * per / 10**9 < _HIGH]
    return f"set {UNIT_KEY} to {units[0]}" if units else "correct the row"
