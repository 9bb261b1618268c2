"""Compare each day with the days before it: robust, and aware of how little a small day can tell.

A day's reference is the `WINDOW` days with events before it. The newest days, on which a temporal model is validated
and tested, all have the days before the first of them, so that a fault of several days is no reference for itself:

    days        0 1 2 3 4 5 6 7 8 9 | 10 11 12        calendar.newest = 10
    day 8       └── reference ──┘
    day 12      └──── reference ────┘

The level is the median, the spread the median absolute deviation; both ignore a few faulty days. Growth widens the
spread, and a day that resembles the same weekday a week earlier is not strange. With fewer than `LEAST` days in the
reference nothing is judged. Does not support series of part days; a day without events is not a day here.

Shapes: D days, W = WINDOW, K bins of a profile.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

WINDOW = 14
LEAST = 5
_NORMAL = 1.4826  # the standard deviation of a normal variable is this many times its median absolute deviation
_PROFILE_TIMES = 2.0  # a strange profile is this many times as far off as most days' are
_SHORT = 4.0  # a reference of n days understates the spread: its scale grows by 1 + _SHORT / n


@dataclass(frozen=True)
class Calendar:
    """The days with events.

    Attributes:
        days: [D] datetime64[D], ascending.
        newest: the first row of `days` that is validated or tested; D where the split does not go by days.
    """

    days: np.ndarray
    newest: int

    @cached_property
    def reference(self) -> np.ndarray:
        """[D, W] rows of `days` that each day is compared with; -1 where there are fewer."""
        end = np.minimum(np.arange(len(self.days)), self.newest)
        rows = end[:, None] - np.arange(1, WINDOW + 1)
        return np.maximum(rows, -1)

    @cached_property
    def judged(self) -> np.ndarray:
        """[D] whether a day has a reference of at least `LEAST` days."""
        return (self.reference >= 0).sum(axis=1) >= LEAST

    @cached_property
    def week_before(self) -> np.ndarray:
        """[D] the row of the same weekday a week earlier; -1 where it has no events or is one of the newest days."""
        wanted = self.days - np.timedelta64(7, "D")
        row = np.searchsorted(self.days, wanted)
        found = (self.days[np.minimum(row, len(self.days) - 1)] == wanted) & (row < self.newest)
        return np.where(found, row, -1)

    def of_reference(self, value: np.ndarray) -> np.ndarray:
        """[D, W, ...] the reference days' values; NaN where there is no such day."""
        taken = value[self.reference].astype(float)
        taken[self.reference < 0] = np.nan
        return taken

    def of_week_before(self, value: np.ndarray) -> np.ndarray:
        """[D, ...] the values of a week earlier; NaN where there is no such day."""
        taken = value[self.week_before].astype(float)
        taken[self.week_before < 0] = np.nan
        return taken

    def usual(self, value: np.ndarray) -> np.ndarray:
        """[D] the median of each day's reference; NaN where a day is not judged."""
        return np.where(self.judged, _median(self.of_reference(value)), np.nan)

    def highest(self, reference: np.ndarray, share: float) -> np.ndarray:
        """[D] the value that this share of the reference's values [D, W] does not exceed; NaN where not judged."""
        ordered = np.sort(reference, axis=1)  # NaN last
        count = (~np.isnan(ordered)).sum(axis=1)
        at = np.maximum(np.ceil(share * (count - 1)).astype(int), 0)
        found = np.take_along_axis(ordered, at[:, None], axis=1)[:, 0]
        return np.where(self.judged, found, np.nan)


@dataclass(frozen=True)
class Deviation:
    """How far each day lies from its reference.

    Attributes:
        usual: [D] the level it is compared with: the median of its reference, or a week earlier where that is nearer.
        difference: [D] value - usual; NaN where not judged.
        score: [D] difference over what days differ by anyway and what chance adds.
    """

    usual: np.ndarray
    difference: np.ndarray
    score: np.ndarray

    def beyond(self, difference: float, score: float) -> np.ndarray:
        """[D] whether a day differs by at least so much, and by far more than days do."""
        with np.errstate(invalid="ignore"):
            return (np.abs(self.difference) >= difference) & (np.abs(self.score) >= score)


def deviation(calendar: Calendar, value: np.ndarray, noise: np.ndarray, floor: float) -> Deviation:
    """Return each day's deviation from its reference.

    Args:
        calendar: the days.
        value: [D] a figure on a scale on which differences compare, such as a logarithm; NaN = unknown.
        noise: [D] the standard error that chance gives the figure of a day of its size.
        floor: the least standard deviation between days that is believed.
    """
    reference = calendar.of_reference(value)
    middle = np.where(calendar.judged, _median(reference), np.nan)
    spread = _NORMAL * _median(np.abs(reference - middle[:, None]))
    days = np.maximum((~np.isnan(reference)).sum(axis=1), 1)
    scale = (1 + _SHORT / days) * np.hypot(np.maximum(spread, floor), noise)
    week = calendar.of_week_before(value)
    nearer = np.abs(value - week) < np.abs(value - middle)
    usual = np.where(nearer & ~np.isnan(middle), week, middle)
    difference = np.where(days >= LEAST, value - usual, np.nan)
    return Deviation(usual, difference, difference / scale)


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The total variation distance of profiles [..., K] that sum to 1: the share of rows that would have to move."""
    return np.abs(one - other).sum(axis=-1) / 2


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts [..., K] as shares of their sum; all zero where there are none."""
    total = counts.sum(axis=-1, keepdims=True)
    return counts / np.where(total > 0, total, 1)


@dataclass(frozen=True)
class Profiles:
    """Each day's profile against the usual one.

    Attributes:
        usual: [D, K] the median profile of each day's reference.
        distance: [D] from the usual profile, or from a week earlier where that is nearer; NaN where not judged.
        between: [D] the distance from the usual profile that most reference days keep within.
        noise: [D] the distance that chance alone gives a day of its size.
    """

    usual: np.ndarray
    distance: np.ndarray
    between: np.ndarray
    noise: np.ndarray

    def beyond(self, distance: float) -> np.ndarray:
        """[D] whether a day's profile is at least this far off, and well beyond the usual spread between days."""
        with np.errstate(invalid="ignore"):
            usual = np.maximum(self.between, self.noise)
            return (self.distance >= distance) & (self.distance >= _PROFILE_TIMES * usual)


def profiles(calendar: Calendar, counts: np.ndarray, size: np.ndarray) -> Profiles:
    """Compare each day's profile with the median profile of its reference.

    Args:
        calendar: the days.
        counts: [D, K] rows by bin.
        size: [D] the number of independent rows of each day: rows of one user are alike.
    """
    profile = shares(counts)
    reference = calendar.of_reference(profile)
    usual = shares(np.nan_to_num(_median(reference)))
    between = calendar.highest(distance(reference, usual[:, None]), 0.8)
    away = distance(profile, usual)
    week = distance(profile, calendar.of_week_before(profile))
    away = np.where(calendar.judged & (counts.sum(axis=1) > 0), np.fmin(away, week), np.nan)
    chance = np.sqrt(usual * (1 - usual) / np.maximum(size, 1)[:, None])
    return Profiles(usual, away, between, np.sqrt(2 / np.pi) * chance.sum(axis=1) / 2)


def _median(values: np.ndarray) -> np.ndarray:
    """The median over axis 1, NaN left out; NaN where all are."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(values)).sum(axis=1, keepdims=True)
    lower = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=1)
    upper = np.take_along_axis(ordered, count // 2, axis=1)
    return (lower + upper)[:, 0] / 2
