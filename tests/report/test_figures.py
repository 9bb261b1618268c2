"""Curves against slow twins, and the days of a log."""

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.metrics.ranking import auc
from din.report import figures

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60)


def drawn(count: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    p = random.beta(2, 3, count)
    return (random.random(count) < p).astype(np.int8), p


def test_the_area_below_the_roc_curve_is_the_auc() -> None:
    """A binned curve loses no more than its bins."""
    labels, p = drawn()
    x, y = np.array(figures.roc(labels, p)).T
    assert len(x) <= figures.CURVE_POINTS
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(auc(labels, p), abs=1e-3)


@given(ROWS)
def test_lift_of_the_best_rows(rows: list[tuple[bool, int]]) -> None:
    """Rows of equal score count with their mean CTR, as if they were in random order."""
    labels = np.array([clicked for clicked, _ in rows])
    scores = np.array([score for _, score in rows])
    for share, lift in figures.lifts(labels, scores):
        place = max(int(np.ceil(share * len(rows))), 1)
        means = {score: labels[scores == score].mean() for score in set(scores.tolist())}
        best = sorted(scores.tolist(), reverse=True)[:place]
        assert lift == pytest.approx(np.mean([means[score] for score in best]) / labels.mean())


def test_calibration_bins_hold_every_row() -> None:
    """Bins are of equal mass, and the CTR lies within its bounds."""
    labels, p = drawn()
    bins = figures.calibration(labels, p, 0.95)
    assert [one.rows for one in bins] == [500] * 10
    assert all(one.lower < one.ctr < one.upper for one in bins)
    assert sum(one.rows * one.ctr for one in bins) == pytest.approx(labels.sum())


def test_wilson_bounds() -> None:
    """The bounds solve |share − truth| = z · √(truth · (1 − truth) / rows)."""
    z = 1.6448536269514722
    bounds = figures.wilson(7, 20, 0.95)
    for truth in (bounds.lower, bounds.upper):
        assert abs(7 / 20 - truth) == pytest.approx(z * np.sqrt(truth * (1 - truth) / 20))
    assert figures.wilson(0, 10, 0.95).lower == 0
    assert figures.wilson(10, 10, 0.95).upper == pytest.approx(1)


def write_days(raw: Path, days: Iterable[int]) -> None:
    """Write three rows, one of them clicked, on each of these days since the first of 2024."""
    for number in days:
        folder = raw / "events" / f"date={date(2024, 1, 1) + timedelta(number)}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"label": pa.array([1, 0, 0], pa.int8())}), folder / "part-0.parquet")


def test_days_without_rows_are_periods(tmp_path: Path) -> None:
    """A gap in the log keeps its length, so that a chart shows it."""
    write_days(tmp_path, (0, 1, 9))
    found = figures.periods(tmp_path)
    assert [one.rows for one in found] == [3, 3, 0, 0, 0, 0, 0, 0, 0, 3]
    assert [one.first for one in found] == [one.last for one in found]
    assert (found[0].first, found[9].first) == (date(2024, 1, 1), date(2024, 1, 10))


@pytest.mark.parametrize("days", [1, figures.MOST_PERIODS, 4 * figures.MOST_PERIODS + 3])
def test_days_are_binned(days: int, tmp_path: Path) -> None:
    """However long the log is, there are few periods, and they hold all rows and clicks."""
    write_days(tmp_path, range(days))
    found = figures.periods(tmp_path)
    assert len(found) <= figures.MOST_PERIODS
    assert (sum(one.rows for one in found), sum(one.clicks for one in found)) == (3 * days, days)
