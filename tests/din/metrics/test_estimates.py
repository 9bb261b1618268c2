"""Influences of users against numerical derivatives, and how often bounds are wrong."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.metrics.estimates import MIN_USERS, difference, estimate
from tests.din.metrics.weighted_twin import weighted

METRICS = ["auc", "gauc", "calibration_ratio", "log_loss"]


def click_log(rng, users=200, per_user=10):
    """Return labels, probabilities and users; rows of a user depend on each other by a click rate of their own."""
    user = np.repeat(np.arange(users), per_user)
    score = rng.normal(size=len(user))
    logit = score + rng.normal(size=users)[user]
    return rng.random(len(user)) < 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-score)), user


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=25))
def test_an_influence_is_the_derivative_by_the_weight_of_a_user(log):
    """Raise each user's weight a little, and compute the metric again as the slow twin weighs it."""
    labels, fifths, users = (np.array(column) for column in zip(*log, strict=True))
    scores = fifths / 5
    step = 1e-6
    for metric in METRICS:
        found = estimate(metric, labels, scores, users)
        value = partial(weighted, metric, labels, scores, users)
        ones = np.ones(len(found.influence))
        slopes = [(value(ones + step * unit) - value(ones - step * unit)) / (2 * step) for unit in np.eye(len(ones))]
        assert found.value == pytest.approx(value(ones), nan_ok=True)
        assert found.influence == pytest.approx(slopes, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_equal_orders_differ_by_exactly_nothing(rng, metric):
    """A monotone transform ranks alike, so there is neither a difference nor doubt about it."""
    labels, scores, users = click_log(rng)
    interval = difference(metric, labels, scores, 2 * scores + 1, users).interval(0.95)
    assert (interval.point, interval.lower, interval.upper) == (0, 0, 0)


def test_repeated_rows_of_a_user_are_no_evidence(rng):
    """Repeating each user's rows three times changes nothing; as rows of other users they would narrow the interval."""
    labels, scores, users = click_log(rng, per_user=4)
    once = estimate("auc", labels, scores, users)
    thrice = estimate("auc", np.tile(labels, 3), np.tile(scores, 3), np.tile(users, 3))
    naive = estimate("auc", np.tile(labels, 3), np.tile(scores, 3), np.arange(3 * len(users)))
    assert thrice.standard_error == pytest.approx(once.standard_error)
    assert naive.standard_error < 0.8 * once.standard_error


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_bounds_are_wrong_as_often_as_they_say(metric):
    """Two models that are good for different users: each bound lies on the wrong side of 0 in one log of ten."""
    rng = np.random.default_rng(5)
    users, trials = MIN_USERS + 10, 600
    below = above = 0
    for _ in range(trials):
        labels, scores, user = click_log(rng, users)
        levels = scores + 0.3 * rng.normal(size=(2, users))[:, user]
        both = np.clip(levels + 0.05 * rng.normal(size=levels.shape), 0.01, 0.99)
        interval = difference(metric, labels, *both, user).interval(0.9)
        below += interval.upper < 0
        above += interval.lower > 0
    off = max(abs(wrong / trials - 0.1) for wrong in (below, above))
    assert off <= 3.5 * math.sqrt(0.1 * 0.9 / trials)


def test_users_who_tell_nothing_count_for_nothing():
    """Among 2,000 users, 20 have both classes. Bounds at 99 % are wrong as often as they say, not twice as often."""
    rng = np.random.default_rng(6)
    trials, level = 1500, 0.01
    user = np.concatenate((np.repeat(np.arange(MIN_USERS), 8), np.arange(MIN_USERS, 2000)))
    labels = np.arange(len(user)) % 4 == 0
    labels[MIN_USERS * 8 :] = False
    wrong = 0
    for _ in range(trials):
        interval = difference("gauc", labels, *rng.normal(size=(2, len(user))), user).interval(1 - level)
        wrong += not interval.lower <= 0 <= interval.upper
    assert abs(wrong / trials - 2 * level) <= 3.5 * math.sqrt(2 * level / trials)


def test_few_clicks_are_not_too_many_too_often():
    """With about 30 clicks, p-values of 0.01 for too many clicks come up almost as often as they say."""
    rng = np.random.default_rng(7)
    trials, level, ctr = 2500, 0.01, 0.02
    user = np.repeat(np.arange(300), 5)
    found = [estimate("calibration_ratio", rng.random(1500) < ctr, np.full(1500, ctr), user) for _ in range(trials)]
    wrong = sum(one.p_outside(1) <= level for one in found)
    assert wrong / trials - level <= 3.5 * math.sqrt(level / trials)
    one = found[0]
    assert one.p_outside(one.interval(1 - level).lower) == pytest.approx(1 - level)
    assert one.p_outside(one.interval(1 - level).upper) == pytest.approx(level)


def test_few_users_with_most_rows_are_few(rng):
    """Equal users count as many as they are, and those beside one with half of all rows as few."""
    labels, scores, users = click_log(rng, users=400)
    assert estimate("auc", labels, scores, users).effective_users > 200
    heavy = np.where(rng.random(len(users)) < 0.5, 0, users)
    assert estimate("auc", labels, scores, heavy).effective_users < 50


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("fault", ["too few users", "one user clicks", "a NaN score"])
def test_undefined_bounds_are_nan(rng, metric, fault):
    """Bounds that can't be computed are NaN, and the gate closes on NaN."""
    labels, scores, users = click_log(rng, users=MIN_USERS - 1 if fault == "too few users" else 50)
    if fault == "one user clicks":
        labels = users == 0
    if fault == "a NaN score":
        scores[3] = math.nan
    interval = estimate(metric, labels, scores, users).interval(0.95)
    if (metric, fault) == ("log_loss", "one user clicks"):
        assert interval.lower < interval.point  # every row tells about the log loss, whatever its class
    else:
        assert math.isnan(interval.lower) and math.isnan(interval.upper)
