"""The newest day must cover the hours that earlier days cover."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from validation.constants import EXTREME_LACKS
from validation.hours import lacking
from validation.trailing import Calendar

MONDAY = np.datetime64("2024-03-04", "D")
USUAL = np.array([4, 2, 1, 1, 1, 2, 4, 7, 9, 9, 8, 9, 11, 9, 8, 8, 9, 11, 14, 17, 19, 18, 13, 8])
DAYS = 14  # the last one is a Sunday
HOUR = np.arange(24)

Hours = NDArray[Any]


def days(count: int = DAYS) -> Hours:
    """Return the rows of each hour of some days, [D, 24]."""
    random = np.random.default_rng(0)
    return np.stack([random.multinomial(900, USUAL / USUAL.sum()) for _ in range(count)]).astype(float)


def closed(hours: Hours, newest: int = 1) -> bool:
    """Return whether the last day lacks too much."""
    calendar = Calendar(MONDAY + np.arange(len(hours)), len(hours) - newest)
    return bool(lacking(calendar, hours)[-1] >= EXTREME_LACKS)


def only(hours: Hours, kept: Callable[[np.ndarray], np.ndarray], *days: int) -> Hours:
    """Keep some hours of some days."""
    changed = hours.copy()
    changed[np.ix_(days, np.flatnonzero(~kept(HOUR)))] = 0
    return changed


@pytest.mark.parametrize(("first", "end"), [(0, 6), (0, 12), (0, 20), (9, 24)])
def test_a_part_of_the_last_day_is_refused(first: int, end: int) -> None:
    """A day that ends hours before midnight, or begins hours after it, closes the gate."""
    assert closed(only(days(), lambda hour: (hour >= first) & (hour < end), -1))


def test_a_weekday_may_end_early_each_week() -> None:
    """Sundays that end at 16 o'clock are open, and a Sunday that ends before the last one did is not."""
    early = only(days(), lambda hour: hour < 16, 6, 13)
    assert not closed(early)
    assert closed(only(early, lambda hour: hour < 12, 13))


@given(st.lists(st.lists(st.integers(0, 9), min_size=24, max_size=24), min_size=7, max_size=9))
def test_what_a_day_lacks(days: list[list[int]]) -> None:
    """The twin walks from both ends of the day to the first covered hour."""
    hours = np.array(days, float)
    calendar = Calendar(MONDAY + np.arange(len(days)), len(days) - 1)
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
