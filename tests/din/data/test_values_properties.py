"""Column conversions compared with slow Python on random input."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from functools import reduce
from math import isnan
from operator import or_
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from din import kinds
from din.base.errors import InputError
from din.data import times, values
from din.data.rows import Rows
from din.data.values import Form

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1, max_size=4)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 12, 31, 23), timezones=st.just(UTC))
OFFSETS = st.one_of(st.none(), st.integers(-14 * 60, 14 * 60))
WORDS = ("1", "-7", "0", "1.5", "NA", "007", "x", "99999999999999999999", "9223372036854775807", "-9223372036854775809")


def rows(given: Sequence[Any] | pa.Array) -> Rows:
    """Return a table with one column of text, or with the given one."""
    column = given if isinstance(given, pa.Array) else pa.array(given, pa.string())
    return Rows.of("f.csv", {"t": column})


def typed(texts: Sequence[str | None]) -> tuple[str, list[Any]]:
    """Return the type of a column of a CSV, and its values in that type."""
    table = rows(texts)
    kind = values.number(values.forms(table, {})["t"])
    return kind, table.select({"t": values.cast(table["t"], "VARCHAR", kind)}).table["t"].to_pylist()


def utc(table: Rows, unit: str) -> list[datetime]:
    time, checks = times.to_utc(table, "t", unit, values.forms(table, {})["t"])
    table.require(checks)
    return table.select({"t": time}).table["t"].to_pylist()


@given(st.lists(st.lists(TEXT, max_size=4).filter(lambda row: not re.fullmatch(r"(?s)\[.*\]", "|".join(row)))))
def test_splitting_inverts_joining(lists: list[list[str]]) -> None:
    """Splitting into lists inverts joining, also for empty rows; brackets around a cell are no part of its list."""
    table = rows(["|".join(row) for row in lists])
    assert table.select({"t": values.elements(table, "t", "|")}).table["t"].to_pylist() == lists


@given(st.lists(st.floats(allow_nan=False, width=64), min_size=1), st.sampled_from(["", "nan", "NA"]))
def test_numbers_with_missing_markers(numbers: list[float], marker: str) -> None:
    """A float as Python writes it is read as the same float, and a marker among numbers is a missing value."""
    kind, found = typed([repr(value) for value in numbers] + [marker or None])
    assert kind == "DOUBLE"
    assert found[:-1] == numbers
    assert found[-1] is None or isnan(found[-1])  # the contract makes NaN a missing value


@pytest.mark.parametrize(
    "words", [["01", "2"], ["1", "a"], ["99999999999999999999", "NA"], ["1_0"], ["+1"], ["."], ["NA", "NaN"], [" 1"]]
)
def test_words_stay_words(words: list[str]) -> None:
    """Text stays as written if it holds leading zeros, signs, blanks, or only markers."""
    assert typed(words) == ("VARCHAR", words)
    assert values.identifier("VARCHAR", values.forms(rows(words), {})["t"], text=True) == "VARCHAR"


def slow(text: str | None) -> int:
    """Return the form of a text as plain Python tells it."""
    if text is None:
        return 0
    if text in ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", r"\N"):
        return Form.MARK
    if re.fullmatch("0|-?[1-9][0-9]*", text):
        return Form.WHOLE if -(2**63) <= int(text) < 2**63 else Form.LONG
    if text.endswith(".0") and slow(text[:-2]) == Form.WHOLE:
        return Form.FLOAT
    number = r"(?i)-?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|inf|infinity)"
    return Form.NUMBER if re.fullmatch(number, text) else Form.WORD


LIKE_NUMBERS = st.text("0123456789.-+eE_ ", max_size=6)


@given(st.lists(st.one_of(st.none(), st.sampled_from(WORDS), LIKE_NUMBERS, st.text(max_size=3))))
@example(["1\n", "\n1", "1\0", "٣", "1_000", "1e5", "0x1", "-0", "true", "Infinity", "-inf", "1.", "-.5"])
@example(["7.0", "-0.0", "1.00"])
def test_forms_of_text(texts: list[str | None]) -> None:
    """A column has the forms of its values, as plain Python finds them."""
    assert values.forms(rows(texts), {})["t"] == reduce(or_, map(slow, texts), 0)


@given(st.lists(st.tuples(MOMENTS, OFFSETS, st.booleans()), min_size=1))
def test_iso_times_match_python(moments: list[tuple[datetime, int | None, bool]]) -> None:
    """Any mix of offsets, naive times and separators gives the same instants as datetime."""
    texts = []
    for moment, minutes, blank in moments:
        zone = None if minutes is None else timezone(timedelta(minutes=minutes))
        local = moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)
        texts.append(local.isoformat(sep=" " if blank else "T"))
    assert utc(rows(texts), "iso") == [moment.replace(tzinfo=None) for moment, _, _ in moments]


@given(MOMENTS, st.sampled_from(["s", "ms", "us", "ns"]), st.booleans())
def test_numeric_times_match_python(moment: datetime, unit: str, as_text: bool) -> None:
    """Whole units since 1970, as numbers or as text, give the same instants as datetime."""
    micro = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    value = micro * 1000 // times.NANOSECONDS[unit]
    (read,) = utc(rows(pa.array([str(value)]) if as_text else pa.array([value])), unit)
    assert read == datetime(1970, 1, 1) + timedelta(microseconds=value * times.NANOSECONDS[unit] // 1000)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31)),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_a_wrong_unit_is_named(moment: datetime, true: str, stated: str) -> None:
    """A time of this century in another unit than the declared one is refused, and the message names its true unit."""
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    column = pa.array([seconds * 10**9 // times.NANOSECONDS[true]])
    if true == stated:
        assert utc(rows(column), stated)
    else:
        with pytest.raises(
            InputError, match=f"f.csv row 1: t is {column[0]}; .*set fetch.table.timestamp_unit to {true}"
        ):
            utc(rows(column), stated)


@given(MOMENTS, st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.sampled_from(("s", "ms", "days")))
def test_counts_since_a_day_match_python(moment: datetime, start: date, unit: str) -> None:
    """A log may count from a day of its own, before or after 1970."""
    per = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "days": timedelta(days=1)}[unit]
    first = datetime(start.year, start.month, start.day, tzinfo=UTC)
    count = (moment - first) // per
    expected = (first + count * per).replace(tzinfo=None)
    if expected.year >= times.YEARS[0]:
        assert utc(rows(pa.array([count])), f"{unit} since {start}") == [expected]


def test_forms_of_times_match_python() -> None:
    """A time that Python writes in a form is read as the same time."""
    texts = {form: datetime(2024, 11, 25, 19, 7, 5, tzinfo=UTC).strftime(form) for form in times.FORMS}
    read = {form: utc(rows([text]), form) for form, text in texts.items()}
    assert read == {form: [datetime.strptime(text, form).replace(tzinfo=None)] for form, text in texts.items()}


SINGLE = {
    "DOUBLE": st.floats(-1e38, 1e38) | st.just(float("nan")),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "BOOLEAN": st.booleans(),
}


@given(kind=st.sampled_from([*SINGLE]), data=st.data())
@example(kind="DOUBLE", data=None)
def test_text_is_the_servers(kind: str, data: st.DataObject | None) -> None:
    """A value that becomes text in a log is the same text in a request, alone and in a list."""
    drawn = data.draw(st.lists(st.none() | SINGLE[kind], max_size=4)) if data else [7.0, -0.0, 0.1, 1e16, 1e-5]
    types = {"DOUBLE": pa.float64(), "BIGINT": pa.int64(), "BOOLEAN": pa.bool_()}
    expected = [kinds.text(value) for value in drawn]
    alone, listed = rows(pa.array(drawn, types[kind])), rows(pa.array([drawn], pa.list_(types[kind])))
    assert alone.select({"t": values.text(alone["t"], kind)}).table["t"].to_pylist() == expected
    assert listed.select({"t": values.text(listed["t"], f"{kind}[]")}).table["t"].to_pylist() == [expected]
