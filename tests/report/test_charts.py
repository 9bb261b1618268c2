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


def test_ticks_are_round() -> None:
    """Steps are 1, 2 or 5 times a power of ten."""
    assert Axis(0, 1, "").ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Axis(0, 23_000, "").ticks() == [0, 5000, 10_000, 15_000, 20_000]


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


def test_cells_are_as_dark_as_their_weights() -> None:
    """The largest is darkest, and the other sign is an outline."""
    text = strip([0.5, -0.25, 0.0], ["a", "b", "c"], 0.5, 1.0)
    assert [text.count(f"--share:{share}") for share in ("1.000", "0.500", "0.000")] == [1, 1, 1]
    assert text.count("opposite") == 1
