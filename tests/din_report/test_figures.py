"""Calibration and its bounds, and the names of items."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.workspace import Workspace
from din_report import figures
from din_report.entity_names import item_names
from tests.factories.features import write_features


def drawn(count: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    p = random.beta(2, 3, count)
    return (random.random(count) < p).astype(np.int8), p


def test_calibration_bins_hold_every_row() -> None:
    """Bins are of equal mass, and the CTR lies within its bounds."""
    labels, p = drawn()
    bins = figures.calibration(labels, p, 0.95)
    assert [one.rows for one in bins] == [500] * 10
    assert all(one.ctr.lower < one.ctr.point < one.ctr.upper for one in bins)
    assert sum(one.rows * one.ctr.point for one in bins) == pytest.approx(labels.sum())


def test_wilson_bounds() -> None:
    """The bounds solve |share − truth| = z · √(truth · (1 − truth) / rows)."""
    z = 1.6448536269514722
    bounds = figures.wilson(7, 20, 0.95)
    for truth in (bounds.lower, bounds.upper):
        assert abs(7 / 20 - truth) == pytest.approx(z * np.sqrt(truth * (1 - truth) / 20))
    assert figures.wilson(0, 10, 0.95).lower == 0
    assert figures.wilson(10, 10, 0.95).upper == pytest.approx(1)


def test_items_have_their_titles(tmp_path: Path) -> None:
    """An item without a title, or a log without titles, has the id; row 0 is the unknown item."""
    here = Workspace(tmp_path)
    features = write_features(here.features)
    ids = features.raw_items().to_pylist()[:3]
    assert item_names(here, features, [1, 0]) == [str(ids[1]), "unknown item"]
    here.raw.mkdir(parents=True)
    titles = {"item_id": ids[1:], "title": ["A <b>film</b>", None]}
    pq.write_table(pa.table(titles), here.raw / "items.parquet")
    assert item_names(here, features, [2, 1, 0, 1]) == [str(ids[2]), "A <b>film</b>", "unknown item", "A <b>film</b>"]
