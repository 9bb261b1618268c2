"""The newest day must cover the hours that earlier days cover."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from planting import failed, judge, limits
from weeks import DAY, DAYS, FIRST, LAST, Weeks, sound

from din.params import Params
from validation.hours import lacking
from validation.trailing import Calendar

HOUR = np.timedelta64(1, "h")
MONDAY = np.datetime64("2024-03-04", "D")


@pytest.fixture(autouse=True)
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def only(log: Weeks, hours: Callable[[pd.Series], pd.Series], days: Callable[[pd.Series], pd.Series]) -> None:
    """Keep those rows of some days that lie in some hours."""
    since = log.events["timestamp"] - FIRST
    log.events = log.events[~days(since // DAY) | hours(since % DAY // HOUR)]


def closed(log: Weeks, params: Params) -> bool:
    """Write the log, and return whether the expectation on its newest days fails and is critical."""
    log.write()
    return "covered_hours_newest_days" in failed(judge("raw", params))


@pytest.mark.parametrize(("first", "end"), [(0, 6), (0, 12), (0, 20), (9, 24)])
def test_a_part_of_the_last_day_is_refused(first: int, end: int, params: Params) -> None:
    """A day that ends hours before midnight, or begins hours after it, closes the gate."""
    log = sound()
    only(log, lambda hour: (hour >= first) & (hour < end), lambda day: day == DAYS - 1)
    assert closed(log, params)


@pytest.mark.parametrize(("first", "end"), [(0, 12), (0, 18), (12, 24)])
def test_half_a_day_of_a_small_log_is_refused(first: int, end: int, params: Params) -> None:
    """Sixty rows a day are enough to miss half of them."""
    log = sound(rows=60)
    only(log, lambda hour: (hour >= first) & (hour < end), lambda day: day == DAYS - 1)
    assert closed(log, params)


def test_late_rows_do_not_hide_a_gap(params: Params) -> None:
    """Two rows of the last hour, as from clocks that are wrong, don't make half a day whole."""
    log = sound()
    evening = log.day(DAYS - 1).tail(2)
    only(log, lambda hour: hour < 12, lambda day: day == DAYS - 1)
    log.add(evening)
    assert closed(log, params)


def test_the_sample_names_the_day_and_what_it_lacks(params: Params) -> None:
    """About 0.7 of a usual day's rows come after noon."""
    log = sound()
    only(log, lambda hour: hour < 12, lambda day: day == DAYS - 1)
    log.write()
    (row,) = failed(judge("raw", params))["covered_hours_newest_days"]["sample"]
    assert (row["date"], row["rows"]) == (LAST, int(log.last.sum()))
    assert row["lacks"] == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("share", [0.6, 0.3])
def test_a_holiday_is_whole(share: float, params: Params) -> None:
    """A day with far fewer rows in all of its hours is open."""
    log = sound()
    kept = np.random.default_rng(1).random(len(log.events)) < share
    log.events = log.events[~log.last | kept]
    assert not closed(log, params)


def test_a_weekday_may_end_early_each_week(params: Params) -> None:
    """Sundays that end at 16 o'clock are open, and a Sunday that ends before the last one did is not."""
    log = sound()
    log.events = log.events[log.events["timestamp"] < FIRST + 14 * DAY]  # until Sunday
    only(log, lambda hour: hour < 16, lambda day: day % 7 == 6)
    assert not closed(log, params)
    only(log, lambda hour: hour < 12, lambda day: day == 13)
    assert closed(log, params)


def test_days_may_end_at_any_hour(params: Params) -> None:
    """If every third day ends in the evening, a day that does so too is open, and half a day is not."""
    log = sound()
    only(log, lambda hour: hour < 20, lambda day: day % 3 == 0)  # the last day among them
    assert not closed(log, params)
    only(log, lambda hour: hour < 8, lambda day: day == DAYS - 1)
    assert closed(log, params)


@pytest.mark.parametrize(
    ("mode", "daily", "severity"),
    [("critical", True, "critical"), ("critical", False, "warning"), ("warning", True, "warning"), ("off", True, None)],
)
def test_the_severity(mode: str, daily: bool, severity: str | None, params: Params) -> None:
    """Half a day is critical only if the source delivers whole days; `missing_days` lets it pass."""
    log = sound()
    log.daily = daily
    only(log, lambda hour: hour < 12, lambda day: day == DAYS - 1)
    log.write()
    report = judge("raw", limits(params, "validate_raw", missing_days=mode, strange_days="off"))
    found = failed(report) | failed(report, "warning")
    assert {name: entry["severity"] for name, entry in found.items()} == (
        {"covered_hours_newest_days": severity} if severity else {}
    )


def test_a_log_may_begin_in_the_middle_of_a_day(params: Params) -> None:
    """The first day of a young log does not excuse half a day."""
    log = sound()
    log.events = log.events[log.events["timestamp"] < FIRST + 8 * DAY]
    only(log, lambda hour: hour >= 18, lambda day: day == 0)
    assert not closed(log, params)
    only(log, lambda hour: hour < 12, lambda day: day == 7)
    assert closed(log, params)


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
