"""The statistics of the raw suite, on arrays."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from validation.detector_limits import CTR_FLOOR, EXTREME_CTR_SCORE, EXTREME_ODDS, LEAST_DAYS, WINDOW
from validation.hours import lacking, shifted
from validation.trailing import TrailingDays, begun, deviation, shares
from validation.users import who_click_everything

MONDAY = np.datetime64("2024-03-04", "D")
HOURS = shares(np.array([4, 2, 1, 1, 1, 2, 4, 7, 9, 9, 8, 9, 11, 9, 8, 8, 9, 11, 14, 17, 19, 18, 13, 8], float))


def calendar(days: int, newest: int | None = None) -> TrailingDays:
    return TrailingDays(MONDAY + np.arange(days), days if newest is None else newest)


def test_a_day_refers_to_the_days_before_it_and_the_newest_to_those_before_all_newest() -> None:
    """The reference days are as in the picture of the module."""
    found = calendar(13, newest=10).reference
    assert found[8].tolist()[:9] == [7, 6, 5, 4, 3, 2, 1, 0, -1]
    assert found[10].tolist() == found[12].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1, -1, -1, -1]
    assert calendar(13, newest=10).judged.tolist() == [False] * LEAST_DAYS + [True] * (13 - LEAST_DAYS)
    assert found.shape == (13, WINDOW)


def test_the_week_before_is_never_one_of_the_newest_days_nor_a_day_without_events() -> None:
    """If the newest five of 20 days are judged, they refer to days 8 to 12, and a removed day leaves a gap."""
    assert calendar(20, newest=15).week_before[7:].tolist() == list(range(13))
    days = np.delete(calendar(20).days, 9)
    assert TrailingDays(days, 19).week_before[15] == -1  # day 16 and day 9
    assert calendar(20, newest=10).week_before[18] == -1  # day 11 is new


@pytest.mark.parametrize(
    ("rows", "newest", "first"),
    [
        ([10] * 5 + [100] * 5, 8, 5),
        ([1, 3, 20, 100, 90, 110, 100], 5, 2),
        ([100] * 10, 8, 0),
        ([10] * 8 + [100] * 2, 8, 0),
        ([10] * 7 + [100] * 3, 8, 0),
        ([100] * 8 + [10] * 2, 8, 0),
        ([10] * 8 + [100] * 2 + [10] * 2, 10, 0),
        ([10], 1, 0),
        ([], 0, 0),
    ],
    ids=[
        "tiny first days",
        "a start in steps",
        "an even log",
        "the newest days alone are large",
        "one older day is large",
        "the newest days are small",
        "a promotion",
        "one day",
        "no day",
    ],
)
def test_a_log_begins_where_its_days_have_their_usual_size(rows: list[float], newest: int, first: int) -> None:
    """Small days before are no reference, if the new size lasts; what only the newest days show stays an alarm."""
    assert begun(np.array(rows, float), newest) == first
    reference = TrailingDays(MONDAY + np.arange(len(rows)), newest, first).reference
    assert not ((reference >= 0) & (reference < first)).any()


def test_no_alarm_for_growth_weeks_and_noise() -> None:
    """Growth to the double in two weeks, weekends at a third, and chance give no alarm."""
    for seed in range(200):
        random = np.random.default_rng(seed)
        day = np.arange(40)
        mean = 300 * 2 ** (day / 14) * np.where(day % 7 >= 5, 0.33, 1.0)
        count = np.maximum(random.poisson(mean), 1)
        found = deviation(calendar(40), np.log(count), 1 / np.sqrt(mean), 0.1)
        strange = found.beyond(np.log(2), 6)
        assert not strange[7:].any()


@pytest.mark.parametrize(("step", "most"), [(0.0, 0), (0.05, 0), (0.2, 3)])
def test_no_alarm_for_fashions_however_many_rows_a_log_has(step: float, most: int) -> None:
    """Logits of 40 values that wander by `step` a day hardly ever alarm, although noise is that of 10⁷ rows."""
    noise = np.full((20, 40), 0.02)
    alarms = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        logit = np.cumsum(random.normal(0, step, noise.shape), axis=0) + random.normal(0, noise)
        found = deviation(calendar(20, newest=18), logit, noise, CTR_FLOOR)
        alarms += found.beyond(EXTREME_ODDS, EXTREME_CTR_SCORE)[18:].any()
    assert alarms <= most


@pytest.mark.parametrize("days", [1, 2, 5])
def test_a_value_whose_clicks_fall_to_a_third_is_extreme_among_values_that_do_not_wander(days: int) -> None:
    """Neither the faulty value nor a faulty day a week before hides it, however many of the newest days it lasts."""
    random = np.random.default_rng(days)
    noise = np.full((20, 40), 0.05)
    logit = random.normal(0, noise)
    logit[20 - days :, 7] -= np.log(3)
    logit[12] += 2
    found = deviation(calendar(20, newest=20 - days), logit, noise, CTR_FLOOR)
    extreme = found.beyond(EXTREME_ODDS, EXTREME_CTR_SCORE)[20 - days :]
    assert extreme[:, 7].all() and not np.delete(extreme, 7, axis=1).any()


def test_an_older_day_without_a_figure_hides_no_extreme_day() -> None:
    """A value is unknown on a day on which it has no rows. The drift is that of the other days."""
    random = np.random.default_rng(4)
    noise = np.full(20, 0.05)
    logit = random.normal(0, noise)
    logit[12] = np.nan
    logit[19] -= np.log(3)
    judged = deviation(calendar(20, newest=19), logit, noise, CTR_FLOOR)
    assert judged.beyond(EXTREME_ODDS, EXTREME_CTR_SCORE)[19]


def test_a_day_that_ends_early_is_not_a_turned_clock() -> None:
    """Only the hours until noon, with their usual rows, are part of a day; with a whole day's rows they are a shift."""
    morning = np.where(np.arange(24) < 12, HOURS, 0)
    assert shifted(1000 * morning, HOURS, 1000) == (pytest.approx(0, abs=1e-9), None)
    assert shifted(1000 * shares(morning), HOURS, 1000)[0] > 0.3


def test_those_who_click_everything_are_beta_binomial() -> None:
    """Simulated users click everything about as often as estimated; for equal users, the chance is CTRⁿ."""
    random = np.random.default_rng(3)
    rows = np.full(50_000, 15.0)
    clicks = random.binomial(15, random.beta(2, 3, len(rows))).astype(float)
    assert who_click_everything(rows, rows, clicks) == pytest.approx((clicks == 15).sum(), rel=0.25)
    alike = random.binomial(15, 0.4, len(rows)).astype(float)
    assert who_click_everything(np.array([15.0]), rows, alike) == pytest.approx(0.4**15, rel=0.5)


@given(st.lists(st.lists(st.integers(0, 9), min_size=24, max_size=24), min_size=7, max_size=9))
def test_what_a_day_lacks(days: list[list[int]]) -> None:
    """The twin walks from both ends of the day to the first covered hour."""
    hours = np.array(days, float)
    calendar = TrailingDays(MONDAY + np.arange(len(days)), len(days) - 1)
    found = lacking(calendar, hours)
    assert np.isnan(found[:5]).all()
    profiles = [day / day.sum() if day.sum() else day for day in hours]
    median = np.median(profiles[:-1], axis=0)
    if not median.sum():
        return
    usual = median / median.sum()
    earlier = sorted(outside(profile, usual) for profile in profiles[:-1])
    most = earlier[int(np.ceil(0.75 * (len(earlier) - 1)))]
    lacks = outside(profiles[-1], usual)
    if len(days) > 7 and profiles[-8].sum():
        lacks = min(lacks, outside(profiles[-1], profiles[-8]))
    assume(abs(lacks - 2 * most) > 1e-9)  # rounding decides whether equal sums in another order are equal
    assert found[-1] == pytest.approx(lacks if lacks >= 2 * most else 0)


def outside(profile: np.ndarray, usual: np.ndarray) -> float:
    """Return the usual share of the hours before the first and after the last covered hour."""
    covered = [hour for hour in range(24) if profile[hour] > 0 and profile[hour] >= 0.2 * usual[hour]]
    if not covered:
        return 1.0
    return float(sum(usual[hour] for hour in range(24) if not covered[0] <= hour <= covered[-1]))
