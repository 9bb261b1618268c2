"""Charts: round ticks, marks within the picture, and escaped text."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from din.metrics.estimates import Interval
from din.report.charts import Axis, Plot, interval


@example(values=[0.0])
@example(values=[1.0, 1.0000000000000002])
@given(st.lists(st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12), max_size=5))
def test_ticks_are_few_and_round(values: list[float]) -> None:
    """Whatever the values are, equal or none, an axis has two to seven ticks, whose texts differ and fit beside it."""
    axis = Axis.over(values, "")
    ticks = axis.ticks()
    assert 1 < len(ticks) <= 7
    room = (axis.high - axis.low) * 1e-6
    assert all(axis.low - room <= tick <= axis.high + room for tick in ticks)
    assert len(set(ticks.values())) == len(ticks)
    assert max(map(len, ticks.values())) <= 17


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (Axis.over([0.0046, 0.0052], ""), ["0.0046", "0.0048", "0.005", "0.0052"]),
        (Axis(0, 0.0135, ""), ["0", "0.005", "0.01"]),
        (Axis(0, 23_000, ""), ["0", "5,000", "10,000", "15,000", "20,000"]),
        (Axis(0, 2e-8, ""), ["0", "5e-09", "1e-08", "1.5e-08", "2e-08"]),
    ],
)
def test_the_texts_of_ticks(axis: Axis, texts: list[str]) -> None:
    """Steps are 1, 2 or 5 times a power of ten, and texts have no digit too many."""
    assert list(axis.ticks().values()) == texts


def test_text_is_escaped() -> None:
    """A label from a log stays text."""
    plot = Plot(Axis(0, 1, "<x>"), Axis(0, 1, "<y>"))
    plot.note_at(0.5, "<note>")
    text = plot.svg("<title>", [(0.5, "<tick>")])
    assert "<x>" not in text and "<y>" not in text and "<note>" not in text and "<tick>" not in text
    assert "&lt;title&gt;" in text


def test_an_interval_without_bounds_is_a_dot() -> None:
    """An undefined figure draws neither."""
    axis = Axis(0, 1, "")
    assert "whisker" in interval(Interval(0.5, 0.4, 0.6), axis, 0.5)
    undefined = interval(Interval(0.5, math.nan, math.nan), axis, 0.5)
    assert "whisker" not in undefined and "dot" in undefined
    assert "dot" not in interval(Interval(math.nan, math.nan, math.nan), axis, 0.5)
