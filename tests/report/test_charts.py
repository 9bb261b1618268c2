"""Charts: round ticks, marks within the picture, and escaped text."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from din.metrics.estimates import Interval
from din.report.charts import Axis, Plot, interval, strip

FINITE = st.floats(-1e9, 1e9)


@example(values=[5e-324], zero=False)
@given(st.lists(FINITE, max_size=5), st.booleans())
def test_an_axis_has_few_round_ticks_within_its_bounds(values: list[float], zero: bool) -> None:
    """Whatever the values are, equal or none, an axis has one to seven ticks."""
    axis = Axis.over([*map(abs, values), math.nan], "", zero=zero)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 7
    room = (axis.high - axis.low) * 1e-6
    assert all(axis.low - room <= tick <= axis.high + room for tick in ticks)


@example(values=[0.0])
@example(values=[1.0, 1.0000000000000002])
@example(values=[5e-324])
@given(st.lists(st.floats(-1e15, 1e15), max_size=5))
def test_the_text_of_a_tick_is_the_tick(values: list[float]) -> None:
    """Texts differ, fit beside the axis, and mean exactly their ticks, from tiny to huge values."""
    ticks = Axis.over(values, "").ticks()
    assert len(set(ticks.values())) == len(ticks) > 1
    assert [float(text.replace(",", "")) for text in ticks.values()] == list(ticks)
    assert max(map(len, ticks.values())) <= 17


@given(st.floats(1e-6, 1))
def test_the_text_of_a_percentage_is_the_tick(highest: float) -> None:
    """Texts differ, and a hundredth of each is its tick."""
    ticks = Axis(0, highest, "", percent=True).ticks()
    assert len(set(ticks.values())) == len(ticks) > 1
    assert [float(text.removesuffix("%")) / 100 for text in ticks.values()] == pytest.approx(list(ticks))


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (Axis.over([0.0046, 0.0052], ""), ["0.0046", "0.0048", "0.0050", "0.0052"]),
        (Axis(0, 0.0135, ""), ["0.000", "0.005", "0.010"]),
        (Axis.over([0.7431, 0.7438], ""), ["0.7432", "0.7434", "0.7436", "0.7438"]),
        (Axis(0, 23_000, ""), ["0", "5,000", "10,000", "15,000", "20,000"]),
        (Axis(0, 1, "", percent=True), ["0%", "20%", "40%", "60%", "80%", "100%"]),
        (Axis(0, 0.013, "", percent=True), ["0.0%", "0.5%", "1.0%"]),
        (Axis(0, 21_000_000, ""), ["0", "5,000,000", "10,000,000", "15,000,000", "20,000,000"]),
        (Axis(0, 2e-8, ""), ["0.0e+00", "5.0e-09", "1.0e-08", "1.5e-08", "2.0e-08"]),
    ],
)
def test_ticks_have_the_digits_of_their_step(axis: Axis, texts: list[str]) -> None:
    """Steps are 1, 2 or 5 times a power of ten, close values have more digits, and very long numbers an exponent."""
    assert list(axis.ticks().values()) == texts


def test_text_is_escaped() -> None:
    """A label from a log stays text."""
    plot = Plot(Axis(0, 1, "<x>"), Axis(0, 1, "<y>"))
    plot.note_at(0.5, "<note>")
    text = plot.svg("<title>", [(0.5, "<tick>")])
    assert "<x>" not in text and "<y>" not in text and "<note>" not in text and "<tick>" not in text
    assert "&lt;title&gt;" in text
    assert "&lt;name&gt;" in strip([0.5], ["<name>"], 1.0, 1.0)


def test_an_interval_without_bounds_is_a_dot() -> None:
    """An undefined figure draws neither."""
    axis = Axis(0, 1, "")
    assert "whisker" in interval(Interval(0.5, 0.4, 0.6), axis, "candidate")
    undefined = interval(Interval(0.5, math.nan, math.nan), axis, "other")
    assert "whisker" not in undefined and "dot" in undefined
    assert "dot" not in interval(Interval(math.nan, math.nan, math.nan), axis, "other")
