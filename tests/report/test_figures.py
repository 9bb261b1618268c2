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
from random_features import write_features

from din.artifacts import MANIFEST, read_json, write_json
from din.metrics.ranking import auc
from din.report import figures
from din.workspace import Workspace

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


def test_equal_scores_are_one_step_of_the_roc_curve() -> None:
    """A constant score has two points, whatever the order of the rows."""
    assert figures.roc([1, 1, 0, 0], [0.5] * 4) == [(0.0, 0.0), (1.0, 1.0)]


@given(ROWS)
def test_lift_of_the_best_rows(rows: list[tuple[bool, int]]) -> None:
    """Rows of equal score count with their mean CTR, as if they were in random order."""
    labels = np.array([clicked for clicked, _ in rows])
    scores = np.array([score for _, score in rows])
    for one in figures.lifts(labels, scores):
        place = max(int(np.ceil(one.share * len(rows))), 1)
        means = {score: labels[scores == score].mean() for score in set(scores.tolist())}
        best = sorted(scores.tolist(), reverse=True)[:place]
        assert one.lift == pytest.approx(np.mean([means[score] for score in best]) / labels.mean())


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


def test_the_histogram_holds_every_row_of_both_classes() -> None:
    """Shares of a class add up to 1, also where all predictions are equal."""
    labels, p = drawn()
    for predictions in (p, np.full(len(p), 0.3)):
        bins = figures.histogram(labels, predictions)
        assert sum(one.clicked for one in bins) == pytest.approx(1)
        assert sum(one.not_clicked for one in bins) == pytest.approx(1)


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


def test_a_field_that_does_not_change_has_no_shift(tmp_path: Path) -> None:
    """Every field with ids is there, with a finite index and shares."""
    features = write_features(tmp_path / "data" / "features")
    found = figures.field_shifts(Workspace(tmp_path))
    expected = {field.name for field in features.fields if field.form.holds_ids and field.group != "behaviour"}
    assert {one.name for one in found} == expected
    assert all(0 <= one.index < 5 and 0 <= one.unknown_train <= 1 for one in found)
    assert figures._stability(np.array([1, 50, 50]), np.array([1, 50, 50])) == 0
    assert figures._stability(np.array([1, 90, 10]), np.array([1, 10, 90])) > 0.25


@given(st.lists(st.booleans(), max_size=200), st.floats(0.01, 1))
def test_a_sample_of_negatives_holds_all_clicks(labels: list[bool], share: float) -> None:
    """All clicks and the given share of the other rows are chosen, up to one row, in order."""
    label = np.array(labels, np.int8)
    chosen = figures._chosen(label, share)
    assert np.all(np.diff(chosen) > 0)
    assert label[chosen].sum() == label.sum()
    assert abs((label[chosen] == 0).sum() - share * (label == 0).sum()) <= 1


def test_missing_negatives_are_no_shift(tmp_path: Path) -> None:
    """A context that follows the label has shifted only if the features do not say that negatives are missing."""
    features = write_features(tmp_path / "data" / "features", users=200)
    for path in features.root.glob("shards/*/t*.parquet"):
        rows = pq.read_table(path)
        rows = rows.set_column(rows.schema.get_field_index("tab"), "tab", rows["label"].cast(pa.int32()))
        if path.stem == "train":
            rows = rows.take(pa.array(figures._chosen(rows["label"].to_numpy(), 0.1)))
        pq.write_table(rows, path)
    manifest = read_json(features.root / MANIFEST)
    found = []
    for more in ({}, {"negatives": {"log": 1.0, "training": 0.1}}):
        write_json(features.root / MANIFEST, manifest | more)
        found.append(next(one.index for one in figures.field_shifts(Workspace(tmp_path)) if one.name == "tab"))
    assert found[0] > 1
    assert found[1] < 0.05
