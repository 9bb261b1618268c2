"""The statistics of the raw suite, on arrays."""

import numpy as np
import pytest

from validation.constants import LEAST_DAYS, WINDOW
from validation.days import main_part
from validation.hours import moved, shifted
from validation.trailing import Calendar, deviation, shares
from validation.users import who_click_everything

HOURS = shares(np.array([4, 2, 1, 1, 1, 2, 4, 7, 9, 9, 8, 9, 11, 9, 8, 8, 9, 11, 14, 17, 19, 18, 13, 8], float))


def calendar(days: int, newest: int | None = None) -> Calendar:
    """Return a calendar of consecutive days."""
    return Calendar(np.datetime64("2024-03-04", "D") + np.arange(days), days if newest is None else newest)


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
    assert Calendar(days, 19).week_before[15] == -1  # day 16 and day 9
    assert calendar(20, newest=10).week_before[18] == -1  # day 11 is new


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


@pytest.mark.parametrize("share", [0.1, 10.0])
def test_a_day_of_a_tenth_is_far_beyond(share: float) -> None:
    """A day of a tenth is found even after a faulty day in the reference, and on two newest days at once."""
    count = np.full(20, 1000.0) * np.random.default_rng(1).uniform(0.9, 1.1, 20)
    count[9] *= 0.1
    count[18:] *= share
    found = deviation(calendar(20, newest=17), np.log(count), 1 / np.sqrt(count), 0.1)
    assert found.beyond(np.log(5), 8)[17:].tolist() == [False, True, True]


def test_profiles_of_sound_days_are_near_and_a_turned_one_is_far() -> None:
    """A clock turned by eight hours moves far more rows than the difference between days."""
    random = np.random.default_rng(2)
    counts = np.stack([random.multinomial(500, HOURS) for _ in range(15)]).astype(float)
    counts[-1] = np.roll(counts[-1], 8)
    _, away, least = moved(calendar(15), counts, counts.sum(axis=1))
    assert ((away >= least) & (away >= 0.15)).tolist() == [False] * 14 + [True]


@pytest.mark.parametrize("hours", [-9, -3, 3, 8, 12])
def test_a_turned_clock_is_found(hours: int) -> None:
    """The shift that was made is found."""
    assert shifted(np.roll(1000 * HOURS, hours), HOURS, 1000)[1] == hours


def test_a_day_that_ends_early_is_not_a_turned_clock() -> None:
    """Only the hours until noon, with their usual rows, are part of a day; with a whole day's rows they are a shift."""
    morning = np.where(np.arange(24) < 12, HOURS, 0)
    assert shifted(1000 * morning, HOURS, 1000) == (pytest.approx(0, abs=1e-9), None)
    assert shifted(1000 * shares(morning), HOURS, 1000)[0] > 0.3


def test_main_part_grows_over_gaps_shorter_than_itself() -> None:
    """A row in eleven years is outside, and sparse early years of a long log, or an outage, are inside."""
    assert main_part(np.array([0, 1, 2, 3, 4000]), np.array([9, 9, 9, 9, 1])) == (0, 4)
    assert main_part(np.array([-4000, 0, 1, 2, 3]), np.array([1, 9, 9, 9, 9])) == (1, 5)
    assert main_part(np.array([0, 90, 150, 400, 401, 600, 601]), np.array([1, 1, 1, 50, 50, 50, 50])) == (3, 5)
    assert main_part(np.array([0, 1, 2, 13, 14]), np.array([9, 9, 9, 9, 9])) == (0, 5)


def test_those_who_click_everything_are_beta_binomial() -> None:
    """Simulated users click everything about as often as estimated; for equal users, the chance is CTRⁿ."""
    random = np.random.default_rng(3)
    rows = np.full(50_000, 15.0)
    clicks = random.binomial(15, random.beta(2, 3, len(rows))).astype(float)
    assert who_click_everything(rows, rows, clicks) == pytest.approx((clicks == 15).sum(), rel=0.25)
    alike = random.binomial(15, 0.4, len(rows)).astype(float)
    assert who_click_everything(np.array([15.0]), rows, alike) == pytest.approx(0.4**15, rel=0.5)
