"""The newest day must cover the hours that earlier days cover."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.faults import plants as p
from tests.faults.drive import drive, start
from tests.faults.log import Size, draw
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


def test_late_rows_do_not_hide_a_gap() -> None:
    """A row of the last hour, as from a clock that is wrong, does not make half a day whole."""
    half = only(days(), lambda hour: hour < 12, -1)
    half[-1, 23] = 1
    assert closed(half)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.3])
def test_a_holiday_is_whole(share: float) -> None:
    """A day with far fewer rows in all of its hours is open."""
    hours = days()
    hours[-1] = np.floor(share * hours[-1])
    assert not closed(hours)


def test_a_weekday_may_end_early_each_week() -> None:
    """Sundays that end at 16 o'clock are open, and a Sunday that ends before the last one did is not."""
    early = only(days(), lambda hour: hour < 16, 6, 13)
    assert not closed(early)
    assert closed(only(early, lambda hour: hour < 12, 13))


def test_days_may_end_at_any_hour() -> None:
    """If every third day ends in the evening, a day that does so too is open, and half a day is not."""
    early = only(days(16), lambda hour: hour < 20, *range(0, 16, 3))
    assert not closed(early)
    assert closed(only(early, lambda hour: hour < 8, 15))


def test_a_log_may_begin_in_the_middle_of_a_day() -> None:
    """The first day of a young log does not excuse half a day."""
    young = only(days(8), lambda hour: hour >= 18, 0)
    assert not closed(young)
    assert closed(only(young, lambda hour: hour < 12, 7))


@pytest.mark.parametrize(
    ("mode", "daily", "severity"),
    [("critical", True, "critical"), ("critical", False, "warning"), ("warning", True, "warning"), ("off", True, None)],
)
def test_the_severity(mode: str, daily: bool, severity: str | None, tmp_path: Path) -> None:
    """Half a day of a small log is critical only if the source delivers whole days; `missing_days` lets it pass."""
    half = p.last_day(p.until_hour(12))(draw(0, Size(a_day=90)))
    settings = {"missing_days": mode, "strange_days": "off", "min_rows": 1}
    given = {f"validate_raw__{name}": value for name, value in settings.items()}
    root = tmp_path / "workspace"
    outcome = drive(root, start(half, root, fetch__table__daily=daily, **given), last="validate_raw")
    name = "validate_raw.covered_hours_newest_days"
    assert (name in outcome.closed, name in outcome.warned) == (severity == "critical", severity == "warning")


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
