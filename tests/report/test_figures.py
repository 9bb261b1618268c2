"""Calibration and its bounds."""

import numpy as np
import pytest

from din.report import figures


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
