"""AUC, GAUC and RelaImpr against arithmetic and brute-force pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.metrics.ranking import auc, gauc, relative_improvement
from tests.din.metrics.weighted_twin import pairs_auc

# ragged click logs with many ties: rows of (user, label, score)
rows = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 5)), max_size=40)


@given(rows)
def test_auc_equals_all_pairs(log):
    """Searching sorted scores counts the same pairs as two loops, and without pairs the AUC is undefined."""
    labels, scores = [r[1] for r in log], [r[2] for r in log]
    assert auc(labels, scores) == pytest.approx(pairs_auc(labels, scores), nan_ok=True)


def test_nan_score_makes_the_metric_nan():
    """A NaN score is never ranked, and it makes GAUC NaN even if it belongs to one user only."""
    labels, scores, users = [1, 0, 1, 0], [0.2, 0.1, math.nan, 0.3], ["a", "a", "b", "b"]
    assert math.isnan(auc(labels, scores))
    assert math.isnan(gauc(labels, scores, users).value)


@given(rows)
def test_gauc_equals_a_loop_over_users(log):
    """The sum over sorted runs equals Eq. 10 user by user."""
    users, labels, scores = ([r[i] for r in log] for i in range(3))
    total, weight, one_class = 0.0, 0, 0
    for user in set(users):
        mine = [i for i, u in enumerate(users) if u == user]
        value = pairs_auc([labels[i] for i in mine], [scores[i] for i in mine])
        if math.isnan(value):
            one_class += 1
        else:
            total, weight = total + len(mine) * value, weight + len(mine)
    result = gauc(labels, scores, users)
    assert result.value == pytest.approx(total / weight if weight else math.nan, nan_ok=True)
    assert (result.users, result.one_class_users) == (len(set(users)), one_class)


def test_relative_improvement_reproduces_the_paper():
    """Eq. 11 on the paper's Alibaba row: DIN 0.6029 over BaseModel 0.5970 is +6.08 %."""
    assert relative_improvement(0.6029, 0.5970) == pytest.approx((0.1029 / 0.0970 - 1) * 100)
    assert relative_improvement(0.6029, 0.5970) == pytest.approx(6.08, abs=0.005)
    assert math.isnan(relative_improvement(0.6, 0.5))


def test_large_counts_do_not_overflow():
    """10⁶ clicks above 10⁶ non-clicks are 10¹² pairs."""
    labels = np.repeat([0, 1], 1_000_000)
    assert auc(labels, labels) == 1.0
    assert gauc(labels, labels, np.zeros_like(labels)).value == 1.0
