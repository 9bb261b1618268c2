"""Bootstrap intervals: weights as repeated rows, pairing, coverage, determinism."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.metrics import auc, bootstrap, calibration_ratio, gauc, log_loss, paired_bootstrap
from din.metrics.comparison import MIN_USERS, weighted_auc


def click_log(rng, users=200, per_user=10, signal=1.0):
    """Draw users with their own click rates, so that a user's rows depend, and scores that know part of the logit."""
    user = np.repeat(np.arange(users), per_user)
    score = rng.normal(size=len(user))
    logit = signal * score + rng.normal(size=users)[user]
    return rng.random(len(user)) < 1 / (1 + np.exp(-logit)), score, user


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=25), st.data())
def test_weighted_auc_equals_repeated_rows(log, data):
    """A user of weight w counts as if each of the user's rows occurred w times."""
    labels, scores, users = (np.array(column) for column in zip(*log, strict=True))
    ids, user = np.unique(users, return_inverse=True)
    weights = np.array([data.draw(st.integers(0, 3)) for _ in ids], dtype=np.float64)
    repeats = weights[user].astype(int)
    expected = auc(np.repeat(labels, repeats), np.repeat(scores, repeats))
    assert weighted_auc(labels, scores, users)(weights) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("metric", ["auc", "gauc", "calibration_ratio", "log_loss"])
def test_point_is_the_difference_of_the_metrics(rng, metric):
    """The point estimate is computed on the rows themselves, not on resamples."""
    labels, score, users = click_log(rng)
    candidate, champion = 1 / (1 + np.exp(-score)), rng.random(len(score))
    by_name = {"auc": auc, "calibration_ratio": calibration_ratio, "log_loss": log_loss}
    value = by_name.get(metric, lambda y, s: gauc(y, s, users).value)
    interval = paired_bootstrap(labels, candidate, champion, users, metric, resamples=200)
    assert interval.point == pytest.approx(value(labels, candidate) - value(labels, champion))
    assert interval.lower < interval.point < interval.upper
    alone = bootstrap(labels, candidate, users, metric, resamples=200)
    assert alone.point == pytest.approx(value(labels, candidate))
    assert alone.lower < alone.point < alone.upper


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_identical_scores_differ_by_exactly_nothing(rng, metric):
    """Both sides see the same draws, and a monotone transform ranks alike."""
    labels, score, users = click_log(rng)
    interval = paired_bootstrap(labels, score, 2 * score + 1, users, metric, resamples=50)
    assert (interval.point, interval.lower, interval.upper) == (0, 0, 0)


def test_pairing_is_narrower_than_the_two_metrics_alone(rng):
    """For two almost equal models, the AUCs are uncertain and their difference is not."""
    labels, score, users = click_log(rng)
    paired = paired_bootstrap(labels, score, score + 0.05 * rng.normal(size=len(score)), users, resamples=300)
    alone = bootstrap(labels, score, users, resamples=300)
    assert paired.upper - paired.lower < (alone.upper - alone.lower) / 3


def test_clusters_widen_the_interval(rng):
    """Repeating each user's rows three times does not give three times the evidence."""
    labels, score, users = click_log(rng, per_user=4)
    once = bootstrap(labels, score, users, resamples=300)
    thrice = bootstrap(np.tile(labels, 3), np.tile(score, 3), np.tile(users, 3), resamples=300)
    naive = bootstrap(np.tile(labels, 3), np.tile(score, 3), np.arange(3 * len(users)), resamples=300)
    assert thrice.upper - thrice.lower == pytest.approx(once.upper - once.lower)
    assert naive.upper - naive.lower < 0.8 * (once.upper - once.lower)


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_coverage(rng, metric):
    """The true difference, from a log 200 times as large, lies inside an 80 % interval about 80 % of the time."""
    large = click_log(rng, users=20_000)
    noise = 0.5
    pair = (large[1], large[1] + noise * rng.normal(size=len(large[1])))
    truth = (
        auc(large[0], pair[0]) - auc(large[0], pair[1])
        if metric == "auc"
        else gauc(large[0], pair[0], large[2]).value - gauc(large[0], pair[1], large[2]).value
    )
    trials, hits = 200, 0
    for seed in range(trials):
        labels, score, users = click_log(rng, users=100)
        worse = score + noise * rng.normal(size=len(score))
        interval = paired_bootstrap(labels, score, worse, users, metric, 200, confidence=0.8, seed=seed)
        hits += interval.lower <= truth <= interval.upper
    assert 0.70 <= hits / trials <= 0.90  # ±3.5 standard errors of a binomial


def test_seed_decides_the_interval(rng):
    """Equal seeds give equal bits, and another seed moves the bounds a little."""
    labels, score, users = click_log(rng)
    first, again, other = (bootstrap(labels, score, users, seed=seed, resamples=100) for seed in (1, 1, 2))
    assert first == again
    assert first.point == other.point and first.lower != other.lower


def test_confidence_widens(rng):
    """99 % confidence gives a wider interval than 80 %."""
    labels, score, users = click_log(rng)
    narrow, wide = (bootstrap(labels, score, users, confidence=c, resamples=300) for c in (0.8, 0.99))
    assert wide.lower < narrow.lower < narrow.upper < wide.upper


def test_user_ids_may_be_strings(rng):
    """Only the grouping of rows by user matters, not the type or order of ids."""
    labels, score, users = click_log(rng, users=50)
    interval = bootstrap(labels, score, users, resamples=50)
    renamed = bootstrap(labels, score, np.array([f"u{u:03d}" for u in users]), resamples=50)
    assert interval == renamed


@pytest.mark.parametrize("fault", ["too few users", "a resample without clicks", "a NaN score"])
def test_undefined_bounds_are_nan(rng, fault):
    """Bounds that can't be computed are NaN, and the gate closes on NaN."""
    labels, score, users = click_log(rng, users=MIN_USERS - 1 if fault == "too few users" else 20)
    if fault == "a resample without clicks":
        labels = users == 0
    if fault == "a NaN score":
        score[3] = math.nan
    interval = bootstrap(labels, score, users, resamples=200)
    assert math.isnan(interval.lower) and math.isnan(interval.upper)
