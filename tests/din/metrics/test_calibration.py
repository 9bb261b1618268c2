"""Log loss, normalised entropy, calibration ratio, ECE and the summary block."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from din.base import documents
from din.metrics.calibration import ece, log_loss
from din.metrics.summary import summary


def test_log_loss_equals_arithmetic_and_sklearn(rng):
    """Log loss is the mean of −ln of the probability of the label; a certain mistake costs −ln ε, not infinity."""
    assert log_loss([1, 0], [0.8, 0.4]) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    labels, p = rng.random(5000) < 0.3, rng.random(5000)
    assert log_loss(labels, p) == pytest.approx(sk.log_loss(labels, p))
    assert log_loss([1, 0], [0.0, 1.0]) == pytest.approx(-math.log(np.finfo(np.float64).eps))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=30), st.randoms())
def test_ece_does_not_depend_on_row_order(log, random):
    """Ties are never split over two bins."""
    shuffled = random.sample(log, len(log))
    assert ece([y for y, _ in log], [p / 4 for _, p in log]) == pytest.approx(
        ece([y for y, _ in shuffled], [p / 4 for _, p in shuffled])
    )


def test_summary_has_the_keys_of_evaluation_json():
    """The block has counts and figures of a split with one one-class user."""
    block = summary([1, 0, 0], [0.6, 0.3, 0.3], ["a", "a", "b"])
    assert block.model_dump() == {
        "rows": 3,
        "users": 2,
        "one_class_users": 1,
        "ctr": 1 / 3,
        "auc": 1.0,
        "gauc": 1.0,
        "log_loss": pytest.approx(-(math.log(0.6) + 2 * math.log(0.7)) / 3),
        "normalized_entropy": pytest.approx((-(math.log(0.6) + 2 * math.log(0.7)) / 3) / 0.6365141682948128),
        "calibration_ratio": pytest.approx(1.2),
        "ece": pytest.approx((0.4 + 0.6) / 3),
    }


@pytest.mark.parametrize("labels", [[], [0, 0], [1]])
def test_summary_says_none_where_a_figure_is_undefined(labels):
    """With one class, or without rows, the block is valid JSON without NaN."""
    block = summary(labels, [0.5] * len(labels), list(range(len(labels))))
    assert block.auc is block.gauc is block.normalized_entropy is None
    documents.dump(block)
