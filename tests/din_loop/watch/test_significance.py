"""A day like those before raises no alarm, whatever the log; a shift that one can see does."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from din_loop.watch.significance import FALSE_ALARMS, WEEK, Check, Figure, Worse, alarms_among, binned, judge, ratio

DAYS = 29
USERS = 200


def p_value(figure: Figure) -> float:
    """Judge a figure that can be told."""
    p = judge("x", figure).p
    assert p is not None
    return p


def clean(rng: np.random.Generator, weekday: float, between: float, error: float) -> Figure:
    """Return a figure that moves by weekday, by day, and by chance."""
    week = weekday * np.sin(2 * np.pi * np.arange(DAYS) / WEEK)
    values = 5 + week + rng.normal(0, between, DAYS) + rng.normal(0, error, DAYS)
    return Figure.level(values, np.full(DAYS, error), USERS)


@pytest.mark.parametrize(("weekday", "between", "error"), [(0, 0, 1), (0, 1, 0.1), (2, 0.2, 0.2), (0.5, 0.5, 0.5)])
def test_p_values_of_clean_days(weekday: float, between: float, error: float) -> None:
    """Small p-values are as rare as they claim, and a shift of eight deviations has one."""
    rng = np.random.default_rng(7)
    figures = [clean(rng, weekday, between, error) for _ in range(1000)]
    p_values = np.array([p_value(figure) for figure in figures])
    assert (p_values < 0.01).mean() <= 0.02
    assert (p_values < 0.001).mean() <= 0.004
    deviation = np.hypot(between, error)
    moved = figures[0].values + np.append(np.zeros(DAYS - 1), 9 * deviation)
    assert p_value(Figure.level(moved, np.full(DAYS, error), USERS)) < 0.001


def test_a_week_ago_is_the_base_where_weekdays_differ() -> None:
    """The busy day of a week is like the busy days before, and half as much is too little."""
    busy = np.log([10, 20, 10, 10, 40, 10, 10] * 4 + [10])
    noisy = busy + np.random.default_rng(1).normal(0, 0.02, DAYS)
    usual = judge("requests", Figure.level(noisy, np.zeros(DAYS), USERS, is_log=True))
    assert usual.low and usual.observed and usual.high and usual.low < usual.observed < usual.high
    half = noisy - np.append(np.zeros(DAYS - 1), np.log(2))
    assert p_value(Figure.level(half, np.zeros(DAYS), USERS, is_log=True)) < 1e-6


def test_a_day_of_few_users_may_move_further() -> None:
    """A shift raises an alarm if its standard error is small, but not if it is large."""
    values = np.append(np.random.default_rng(0).normal(0, 0.1, DAYS - 1), 1.0)
    errors = [np.append(np.full(DAYS - 1, 0.1), last) for last in (0.1, 1.0)]
    sure, unsure = (p_value(Figure.level(values, error, USERS)) for error in errors)
    assert sure < 1e-4 < 0.1 < unsure


@pytest.mark.parametrize("worse", get_args(Worse))
def test_a_figure_that_gets_better_never_alarms(worse: Worse) -> None:
    """A shift in the harmless direction has no limit."""
    values = np.append(np.random.default_rng(0).normal(0, 0.1, DAYS - 1), 3.0)
    up, down = (p_value(Figure.level(sign * values, np.zeros(DAYS), USERS, worse)) for sign in (1, -1))
    assert {"higher": up < 1e-6 < 0.5 < down, "lower": down < 1e-6 < 0.5 < up, "either": max(up, down) < 1e-6}[worse]


@pytest.mark.parametrize("lasted", [5, 8, 15])
def test_a_fault_that_lasts_goes_on_to_alarm(lasted: int) -> None:
    """Days that alarmed tell nothing about usual days; if they did, the fault would soon be usual."""
    values = np.random.default_rng(0).normal(0, 0.1, DAYS)
    values[-lasted:] += 3
    usual = np.arange(DAYS) < DAYS - lasted
    assert p_value(Figure.level(values, np.zeros(DAYS), USERS, usual=usual)) < 1e-6
    assert p_value(Figure.level(values, np.zeros(DAYS), USERS)) > 1e-3
    days = [Counter({"a": 990, "b": 10})] * (DAYS - lasted) + [Counter({"a": 500, "b": 500})] * lasted
    users = [USERS] * DAYS
    assert p_value(Figure.distribution(days, users, usual)) < 1e-6 < p_value(Figure.distribution(days, users))


def test_gaps() -> None:
    """A service that is closed one day a week is judged on the others, and one lost day hides no other."""
    values = np.random.default_rng(0).normal(0, 0.1, DAYS)
    values[[25]] = np.nan
    assert p_value(Figure.level(values, np.zeros(DAYS), USERS)) > 1e-3
    values[2::7] = np.nan
    assert p_value(Figure.level(values, np.zeros(DAYS), USERS)) > 1e-3
    values[-1] = 2
    assert p_value(Figure.level(values, np.zeros(DAYS), USERS)) < 1e-6


def test_a_quiet_day_is_no_other_distribution() -> None:
    """With two fifths of the rows and users, chance moves a distribution further, which is no alarm."""
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(50):
        rows = [1000] * (DAYS - 1) + [400]
        days = [Counter(map(str, rng.integers(0, 200, count))) for count in rows]
        p_values.append(p_value(Figure.distribution(days, [500] * (DAYS - 1) + [200])))
    assert np.mean(np.array(p_values) < 0.001) <= 0.02


def test_limits_are_where_a_figure_alone_would_alarm() -> None:
    """A figure at its limit has the p-value at which a single figure alarms."""
    values = np.random.default_rng(0).normal(5, 0.1, DAYS)
    for worse in get_args(Worse):
        check = judge("x", Figure.level(values, np.zeros(DAYS), USERS, worse))
        limits = [limit for limit in (check.low, check.high) if limit is not None]
        for limit in limits:
            at = Figure.level(np.append(values[:-1], limit), np.zeros(DAYS), USERS, worse)
            assert p_value(at) == pytest.approx(FALSE_ALARMS)
        assert len(limits) == (2 if worse == "either" else 1)


def test_too_little_to_tell() -> None:
    """Too few days, too few users and no value are said, and none alarms."""
    values = np.random.default_rng(0).normal(0, 0.1, DAYS)
    young = np.where(np.arange(DAYS) < DAYS - 10, np.nan, values)
    missing = np.append(values[:-1], np.nan)
    zeros = np.zeros(DAYS)
    checks = [judge("x", Figure.level(young, zeros, USERS)), judge("x", Figure.level(values, zeros, 19))]
    checks.append(judge("x", Figure.level(missing, zeros, USERS)))
    reasons = [check.problem or "" for check in checks]
    assert ["too few days" in reasons[0], "too few users to tell: 19" in reasons[1], "no such value" in reasons[2]] == [
        True
    ] * 3
    assert alarms_among(checks) == []


def test_distributions() -> None:
    """A new value, a value that takes over, and a swap of two values alarm; one user's odd value does not."""
    rng = np.random.default_rng(3)
    days = [Counter(map(str, rng.choice(4, 1000, p=[0.4, 0.3, 0.2, 0.1]))) for _ in range(DAYS)]
    users = [USERS] * DAYS

    def p(today: Counter[str]) -> float:
        return p_value(Figure.distribution([*days[:-1], today], users))

    assert p(days[-1]) > 0.01
    assert p(days[-1] + Counter({"new": 5})) > 0.01
    assert p(days[-1] + Counter({"new": 300})) < 1e-4
    assert p(Counter({"0": 1000})) < 1e-4
    assert p(Counter({"0": days[-1]["3"], "3": days[-1]["0"], "1": days[-1]["1"], "2": days[-1]["2"]})) < 1e-4


def test_numbers_are_compared_in_bins() -> None:
    """Bins have about equal counts, and a common number has a bin of its own."""
    rng = np.random.default_rng(3)
    days = binned([rng.normal(size=500) for _ in range(4)])
    assert [day.total() for day in days] == [500] * 4
    assert all(0.05 < sum(days, Counter())[str(2 * bin)] / 2000 < 0.15 for bin in range(10))
    zero, also_zero, five = binned([[0.0] * 5, [0.0], [5.0]])
    assert zero.keys() == also_zero.keys() != five.keys()


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=30), st.sampled_from([0.002, 0.05, 0.3]))
def test_false_alarms_are_bounded_as_scipy_does(p_values: list[float], share: float) -> None:
    """The alarms are the checks whose adjusted p-value is at most the share."""
    checks = [Check(str(at), 0.0, p=p) for at, p in enumerate(p_values)]
    adjusted = false_discovery_control(p_values)
    expected = {str(at) for at, p in enumerate(adjusted) if p <= share * (1 - 1e-12)}
    possible = {str(at) for at, p in enumerate(adjusted) if p <= share * (1 + 1e-12)}
    assert expected <= {check.figure for check in alarms_among(checks, share)} <= possible


def test_a_sound_day_rarely_alarms() -> None:
    """At most one in 200 of 2,000 days without a fault has an alarm among its 20 figures."""
    days = np.random.default_rng(0).uniform(size=(2000, 20))
    alarming = [bool(alarms_among([Check(str(at), None, p=p) for at, p in enumerate(day)])) for day in days]
    assert np.mean(alarming) <= 0.005


def test_errors_are_clustered_by_user() -> None:
    """The standard error of a ratio is the spread of the ratio when users are drawn again."""
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(300), rng.integers(1, 9, 300))
    rates = rng.beta(2, 5, 300)[users]
    clicks = rng.random(len(users)) < rates
    value, error = ratio(clicks, np.ones(len(users)), users)
    rows = [np.flatnonzero(users == user) for user in range(300)]
    drawn = [clicks[np.concatenate([rows[user] for user in rng.integers(0, 300, 300)])].mean() for _ in range(400)]
    assert value == pytest.approx(clicks.mean())
    assert error == pytest.approx(np.std(drawn), rel=0.15)
