"""The ticks of charts are round."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from din_report.charts import Axis


@example(values=[0.0])
@example(values=[1.0, 1.0000000000000002])
@given(st.lists(st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12), max_size=5))
def test_ticks_are_few_and_round(values: list[float]) -> None:
    """Whatever the values are, equal or none, an axis has three to eight ticks with different texts that fit."""
    axis = Axis.over(values, "")
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 8
    room = (axis.high - axis.low) * 1e-6
    assert all(axis.low - room <= tick <= axis.high + room for tick in ticks)
    assert len(set(ticks.values())) == len(ticks)
    assert max(map(len, ticks.values())) <= 17


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (Axis.over([0.0046, 0.0052], ""), ["0.0046", "0.0048", "0.005", "0.0052"]),
        (Axis(0, 0.0135, ""), ["0", "0.002", "0.004", "0.006", "0.008", "0.01", "0.012"]),
        (Axis(0.4672, 0.7672, ""), ["0.5", "0.6", "0.7"]),
        (Axis(0, 23_000, ""), ["0", "5,000", "10,000", "15,000", "20,000"]),
        (Axis(0, 2e-8, ""), ["0", "5e-09", "1e-08", "1.5e-08", "2e-08"]),
    ],
)
def test_the_texts_of_ticks(axis: Axis, texts: list[str]) -> None:
    """Steps are 1, 2 or 5 times a power of ten, and texts have no digit too many."""
    assert list(axis.ticks().values()) == texts
