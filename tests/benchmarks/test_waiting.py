"""The benchmark of waiting, at the noise of a small log."""

import numpy as np

from benchmarks.waiting import days, waited


def test_pooled_days_decide_and_let_no_more_harm_pass() -> None:
    """Equal candidates wait less than with today's rows at the same levels, and harmful ones pass no more often."""
    equal, harmful = (
        {
            rule: [waited(rule, days(np.random.default_rng(seed), loss, 0.7)) for seed in range(20)]
            for rule in ("pooled", "spending", "fresh")
        }
        for loss in (0, 1)
    )
    assert np.median(equal["pooled"]) < np.median(equal["spending"])
    assert np.isfinite(harmful["pooled"]).mean() <= 0.1 < 0.4 < np.isfinite(harmful["fresh"]).mean()
