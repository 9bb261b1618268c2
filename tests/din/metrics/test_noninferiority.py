"""The sequential test: error rates over many simulated comparisons, power, and how many users it asks for."""

import math
from dataclasses import replace

import numpy as np
import pytest

from din.metrics.estimates import Estimate, mean
from din.metrics.noninferiority import excludable_loss, judge, level_of

LEVEL = 0.05
USERS = 400


def drawn(rng, truth, error, users=USERS):
    """Return an estimate of a true difference whose standard error is `error`, about users that no other one has."""
    influence = rng.normal(size=users)
    influence -= influence.mean()
    influence *= error / np.sqrt(users / (users - 1) * (influence**2).sum())
    ids = rng.integers(1 << 62, size=users)
    return Estimate(truth + error * rng.normal(), np.sort(ids), influence, np.ones((2, users), bool))


def exactly(rng, value, error):
    return replace(drawn(rng, 0.0, error), value=value)


def sampled(rate, trials):
    """Return how far a share of trials may lie from its rate by chance."""
    return 3.5 * math.sqrt(rate * (1 - rate) / trials)


def test_the_spent_levels_add_up_to_the_level():
    """However many comparisons follow, they never spend more than was permitted."""
    spent = np.cumsum([level_of(number, LEVEL) for number in range(1, 10_001)])
    assert np.all(spent < LEVEL)
    assert spent[-1] == pytest.approx(LEVEL, rel=1e-3)


def test_a_first_comparison_errs_as_often_as_it_says(rng):
    """A candidate that loses exactly the margin opens, and closes, as often as the first comparison's level says."""
    trials = 4000
    verdicts = [judge([drawn(rng, -1.0, 0.5)], 1.0, 1, LEVEL).verdict for _ in range(trials)]
    level = level_of(1, LEVEL)
    errors = [abs(verdicts.count(wrong) / trials - level) for wrong in ("open", "closed")]
    assert max(errors) <= sampled(level, trials)


def test_at_the_margin_many_comparisons_rarely_decide(rng):
    """Daily candidates that lose exactly the margin open within the level, and close by pool or day within it each."""
    plans = 300
    decided = []
    for _ in range(plans):
        days = [drawn(rng, -1.0, 0.5, users=60) for _ in range(15)]
        verdicts = (judge(days[:number], 1.0, number, LEVEL).verdict for number in range(1, len(days) + 1))
        decided.append(next((verdict for verdict in verdicts if verdict != "borderline"), None))
    permitted = {"open": LEVEL, "closed": 2 * LEVEL}
    held = [decided.count(wrong) / plans <= rate + sampled(rate, plans) for wrong, rate in permitted.items()]
    assert all(held)


def test_an_equal_candidate_opens_with_the_stated_power(rng):
    """If the margin is what one comparison excludes, four of five equal candidates open at the first one."""
    error = 0.001
    trials = 2000
    margin = excludable_loss(drawn(rng, 0.0, error), level_of(1, LEVEL))
    opened = [judge([drawn(rng, 0.0, error)], margin, 1, LEVEL).verdict == "open" for _ in range(trials)]
    assert abs(np.mean(opened) - 0.8) <= sampled(0.8, trials)


def test_days_add_up(rng):
    """Four undecided days of equal candidates have half the standard error of one, and decide."""
    days = [exactly(rng, 0.0, 1.0) for _ in range(12)]
    assert mean(days[:4]).standard_error == pytest.approx(0.5, rel=0.01)
    assert judge(days[-1:], 1.7, 12, LEVEL).verdict == "borderline"
    assert judge(days, 1.7, 12, LEVEL).verdict == "open"


def test_good_days_do_not_let_a_bad_candidate_through(rng):
    """The mean of many good days is good, but today's rows alone must rule out a loss of two margins."""
    good = [exactly(rng, 0.0, 0.7) for _ in range(20)]
    bad = exactly(rng, -1.2, 0.7)
    outcome = judge([*good, bad], 1.0, 21, LEVEL)
    assert outcome.interval.lower > -1
    assert outcome.verdict == "borderline"


def test_retries_of_a_day_do_not_let_a_bad_candidate_through(rng):
    """Among good days, bad candidates that lose two margins open in at most 2α of the days that are retried often."""
    good = [exactly(rng, 0.0, 0.1) for _ in range(3)]
    days = 200
    opened = 0
    for _ in range(days):
        bad = [drawn(rng, -2.0, 0.5, users=60) for _ in range(20)]
        outcomes = (judge([*good, one], 1.0, 4 + n, LEVEL, n) for n, one in enumerate(bad))
        opened += any(outcome.verdict == "open" for outcome in outcomes)
    assert 0 < opened / days <= 2 * LEVEL + sampled(2 * LEVEL, days)


def test_a_certain_loss_of_today_closes(rng):
    """Good days don't keep a candidate undecided that is worse for certain."""
    good = [exactly(rng, 0.0, 0.1) for _ in range(20)]
    bad = exactly(rng, -1.8, 0.1)
    assert judge([*good, bad], 1.0, 21, LEVEL).verdict == "closed"


def test_the_users_it_asks_for_decide(rng):
    """With as many users as it asks for, the smallest loss that the comparison excludes is the margin."""
    outcome = judge([drawn(rng, 0.0, 0.002)], 0.001, 1, LEVEL)
    assert outcome.verdict == "borderline"
    assert outcome.users_needed is not None
    more = drawn(rng, 0.0, 0.002 * math.sqrt(USERS / outcome.users_needed), users=outcome.users_needed)
    assert judge([more], 0.001, 1, LEVEL).excludes == pytest.approx(0.001, rel=0.01)


def test_an_undefined_difference_closes():
    """NaN compares false with every margin, and what can't be evaluated is closed."""
    undefined = Estimate(math.nan, np.arange(30), np.full(30, math.nan), np.ones((2, 30), bool))
    assert judge([undefined], 0.001, 1, LEVEL).verdict == "closed"
