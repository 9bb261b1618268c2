"""Column conversions compared with slow Python on random input."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.errors import InputError
from din.sources import columns, times
from din.sources.rawlog import Part

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1, max_size=4)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 12, 31, 23), timezones=st.just(UTC))
OFFSETS = st.one_of(st.none(), st.integers(-14 * 60, 14 * 60))


def part(values: list[str | None] | pa.Array) -> Part:
    """Return a table with one column."""
    column = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    return Part(pa.table({"t": column}), (("f.csv", len(column)),))


def chunked(values: list[str | None], cut: int) -> pa.ChunkedArray:
    """Return text in two chunks."""
    return pa.chunked_array([pa.array(values[:cut], pa.string()), pa.array(values[cut:], pa.string())])


@given(st.lists(st.lists(TEXT, max_size=4)), st.integers(0, 5))
def test_splitting_inverts_joining(rows: list[list[str]], cut: int) -> None:
    """Splitting into lists inverts joining for any chunks, also for empty rows."""
    column = chunked(["|".join(row) for row in rows], cut)
    lengths, values = columns.lists(column, "|")
    assert lengths.tolist() == [len(row) for row in rows]
    assert columns.joined(lengths, values).to_pylist() == rows


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=3)), min_size=1))
def test_native_lists(rows: list[list[int | None] | None]) -> None:
    """A missing list is empty, and missing elements are dropped."""
    lengths, values = columns.lists(pa.chunked_array([pa.array(rows, pa.list_(pa.int64()))]), None)
    expected = [[value for value in row or [] if value is not None] for row in rows]
    assert columns.joined(lengths, values).to_pylist() == expected
    assert np.array_equal(lengths, [len(row) for row in expected])


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1))
def test_whole_numbers(values: list[int | None]) -> None:
    """Every 64-bit integer survives exactly, also between missing values."""
    column = columns.numbers(chunked([None if value is None else str(value) for value in values], 1))
    assert column.to_pylist() == values
    assert column.type == (pa.string() if set(values) == {None} else pa.int64())


@given(st.lists(st.floats(allow_nan=False, width=64), min_size=1), st.sampled_from(["", "nan", "NA"]))
def test_numbers_with_missing_markers(values: list[float], marker: str) -> None:
    """A float as Python writes it is read as the same float, and a marker among numbers is a missing value."""
    texts = [repr(value) for value in values] + [marker or None]
    column = columns.numbers(chunked(texts, 1))
    assert column.type == pa.float64()
    assert column.to_pylist() == [*values, None]


@pytest.mark.parametrize(
    "words", [["01", "2"], ["1", "a"], ["99999999999999999999", "NA"], ["1_0"], ["+1"], ["."], ["NA", "NaN"], [" 1"]]
)
def test_words_stay_words(words: list[str]) -> None:
    """Text stays as written if it holds leading zeros, signs, blanks, or only markers."""
    assert columns.numbers(chunked(words, 1)).to_pylist() == words
    assert columns.ids(chunked(words, 1), text=True).to_pylist() == words


@given(st.lists(st.tuples(MOMENTS, OFFSETS, st.booleans()), min_size=1))
def test_iso_times_match_python(moments: list[tuple[datetime, int | None, bool]]) -> None:
    """Any mix of offsets, naive times and separators gives the same instants as datetime."""
    texts = []
    for moment, minutes, blank in moments:
        zone = None if minutes is None else timezone(timedelta(minutes=minutes))
        local = moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)
        texts.append(local.isoformat(sep=" " if blank else "T"))
    read = times.to_utc(part(texts), "t", "iso").to_pylist()
    assert read == [moment.replace(tzinfo=None) for moment, _, _ in moments]


@given(MOMENTS, st.sampled_from(["s", "ms", "us", "ns"]), st.booleans())
def test_numeric_times_match_python(moment: datetime, unit: str, as_text: bool) -> None:
    """Whole units since 1970, as numbers or as text, give the same instants as datetime."""
    micro = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    value = micro * 1000 // times.NANOSECONDS[unit]
    column = pa.array([str(value)]) if as_text else pa.array([value])
    read = times.to_utc(part(column), "t", unit)[0].as_py().replace(tzinfo=UTC)
    assert read == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value * times.NANOSECONDS[unit] // 1000)


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
        assert times.to_utc(part(column), "t", stated)[0].as_py().timestamp()
    else:
        with pytest.raises(
            InputError, match=f"f.csv row 1: t is {column[0]}, .*set fetch.table.timestamp_unit to {true}"
        ):
            times.to_utc(part(column), "t", stated)
