"""Compare each day with the days before it, robustly and allowing for the noise of small days.

A day's reference is the `WINDOW` days with events before it. The newest days, on which a temporal model is validated
and tested, all use the days before the first of them, so that a fault of several days can't become its own reference:

    days        0 1 2 3 4 5 6 7 8 9 | 10 11 12        calendar.newest = 10
    day 8       └── reference ──┘
    day 12      └──── reference ────┘

The level is the median, and the spread is the median absolute deviation; both ignore a few faulty days. A growing log
has a wider spread. The more rows a log has, the smaller is the noise of its days, but not what fashion does to them: a
CTR that wanders leaves the median of its reference behind. So the scale of a deviation is at least the *drift*, the
usual deviation of earlier days from their own references, over all values of a column. A day that resembles the same
weekday a week earlier is not strange. A day with fewer than `LEAST_DAYS` days in its reference is not judged. Days
without events don't count, and neither do the few small days with which many logs begin (`begun`). Parts of days are
not supported.

Shapes: D days, W = WINDOW, K bins of a profile.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from validation.detector_limits import BEGUN, EXTREME_VOLUME, LEAST_DAYS, NORMAL, SHORT, WINDOW


@dataclass(frozen=True)
class TrailingDays:
    """The days with events.

    Attributes:
        days: [D] datetime64[D], ascending.
        newest: the index of the first validation or test day, or D if the split is not by day.
        first: the index of the first day that counts.
    """

    days: np.ndarray
    newest: int
    first: int = 0

    @cached_property
    def reference(self) -> np.ndarray:
        """The indices of the days that each day is compared with, [D, W], padded with -1."""
        end = np.minimum(np.arange(len(self.days)), self.newest)
        rows = end[:, None] - np.arange(1, WINDOW + 1)
        return np.where(rows >= self.first, rows, -1)

    @cached_property
    def judged(self) -> np.ndarray:
        """Whether the reference of each day has at least `LEAST_DAYS` days: bool [D]."""
        return (self.reference >= 0).sum(axis=1) >= LEAST_DAYS

    @cached_property
    def week_before(self) -> np.ndarray:
        """The index of the day a week earlier, [D]; -1 if it has no events or is one of the newest days."""
        wanted = self.days - np.timedelta64(7, "D")
        row = np.searchsorted(self.days, wanted)
        exists = (self.days[np.minimum(row, len(self.days) - 1)] == wanted) & (row >= self.first) & (row < self.newest)
        return np.where(exists, row, -1)

    def of_reference(self, value: np.ndarray) -> np.ndarray:
        """Return the values [D, W, ...] on the reference days, with NaN for a missing day."""
        values = value[self.reference].astype(float)
        values[self.reference < 0] = np.nan
        return values

    def of_week_before(self, value: np.ndarray) -> np.ndarray:
        """Return the values [D, ...] a week earlier, with NaN for a missing day."""
        values = value[self.week_before].astype(float)
        values[self.week_before < 0] = np.nan
        return values

    def usual(self, value: np.ndarray) -> np.ndarray:
        """Return the median of each day's reference, [D, ...]; NaN if the day is not judged."""
        usual = _median(self.of_reference(value))
        usual[~self.judged] = np.nan
        return usual

    def highest(self, reference: np.ndarray, share: float) -> np.ndarray:
        """Return the quantile `share` [D] of each day's reference values [D, W]; NaN if the day is not judged."""
        ordered = np.sort(reference, axis=1)  # NaN last
        count = (~np.isnan(ordered)).sum(axis=1)
        at = np.maximum(np.ceil(share * (count - 1)).astype(int), 0)
        quantile = np.take_along_axis(ordered, at[:, None], axis=1)[:, 0]
        return np.where(self.judged, quantile, np.nan)


def begun(rows: np.ndarray, newest: int) -> int:
    """Return the index of the day from which a log has its usual size, or 0.

    No day before it has more than a fifth of a usual day since. The older of these days, of which there are at least
    `BEGUN`, and the newest ones must both show the usual size; what the newest days alone show may be a fault.

    Args:
        rows: [D] the rows of each day.
        newest: the index of the first of the newest days.
    """
    for first in range(newest - BEGUN, 0, -1):
        parts = [part for part in (rows[first:newest], rows[newest:]) if len(part)]
        usual = min(np.quantile(part, 0.5, method="lower") for part in parts)
        if np.log(usual / rows[:first].max()) >= EXTREME_VOLUME:
            return first
    return 0


@dataclass(frozen=True)
class Deviation:
    """The deviation of each day from its reference. Arrays are [D], or [D, K] for K values.

    Attributes:
        usual: the reference level: the median of the reference, or the value a week earlier if that is nearer.
        difference: value - usual, or NaN if the day is not judged.
        score: the difference in standard deviations, from the spread between days, the drift and the noise of the day.
    """

    usual: np.ndarray
    difference: np.ndarray
    score: np.ndarray

    def beyond(self, difference: float, score: float) -> np.ndarray:
        """Return whether both the difference and the score are at least this large, in either direction."""
        with np.errstate(invalid="ignore"):
            return (np.abs(self.difference) >= difference) & (np.abs(self.score) >= score)


def deviation(calendar: TrailingDays, value: np.ndarray, noise: np.ndarray, floor: float) -> Deviation:
    """Return each day's deviation from its reference.

    Args:
        value: [D] or [D, K] a figure on a scale where differences are comparable, e.g. a logarithm; NaN if unknown.
        noise: the standard error of the figure on a day of this size, in the same shape.
        floor: the smallest plausible standard deviation between days.
    """
    reference = calendar.of_reference(value)
    middle = calendar.usual(value)
    spread = NORMAL * _median(np.abs(reference - middle[:, None]))
    days = np.maximum((~np.isnan(reference)).sum(axis=1), 1)
    week = calendar.of_week_before(value)
    nearer = np.abs(value - week) < np.abs(value - middle)
    usual = np.where(nearer & ~np.isnan(middle), week, middle)
    difference = np.where(days >= LEAST_DAYS, value - usual, np.nan)
    scale = (1 + SHORT / days) * np.hypot(np.maximum(spread, floor), noise)
    scale = np.maximum(scale, np.hypot(_drift(calendar, difference, noise), noise))
    return Deviation(usual, difference, difference / scale)


def _drift(calendar: TrailingDays, difference: np.ndarray, noise: np.ndarray) -> float:
    """Return the standard deviation of the differences [D] or [D, K] of older days that their noise doesn't explain.

    It is a median over days and values, so neither a faulty day nor a faulty value changes it much. It is 0 if fewer
    than `LEAST_DAYS` older days are judged.
    """
    older = calendar.judged & (np.arange(len(difference)) < calendar.newest)
    excess = ((NORMAL * difference) ** 2 - noise**2)[older]
    finite = excess[np.isfinite(excess)]
    return math.sqrt(max(float(np.median(finite)), 0.0)) if older.sum() >= LEAST_DAYS and len(finite) else 0.0


def distance(profile: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the total variation distance [...] of profiles [..., K]: the share of rows that would have to move."""
    return np.abs(profile - other).sum(axis=-1) / 2


def shares(counts: np.ndarray) -> np.ndarray:
    """Return counts [..., K] divided by their sum, or zeros if the sum is 0."""
    total = counts.sum(axis=-1, keepdims=True)
    return counts / np.where(total > 0, total, 1)


def unlike(
    calendar: TrailingDays, profile: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], np.ndarray], most: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare each day's profile with the median profile of its reference.

    Args:
        profile: [D, K] the share of rows in each bin.
        measure: returns the distance [...] of profiles [..., K] from usual ones [..., K]; NaN if one is unknown.
        most: the share of the reference days that counts as "most".

    Returns:
        The usual profile [D, K]; the distance [D] of each day from it, or from the day a week earlier if that is
        nearer; and the distance [D] within which most days of the reference are, NaN if the day is not judged.
    """
    reference = calendar.of_reference(profile)
    usual = shares(np.nan_to_num(_median(reference)))
    away = np.fmin(measure(profile, usual), measure(profile, calendar.of_week_before(profile)))
    return usual, away, calendar.highest(measure(reference, usual[:, None]), most)


def _median(values: np.ndarray) -> np.ndarray:
    """Return the median over axis 1, ignoring NaN; NaN if all values are."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(values)).sum(axis=1, keepdims=True)
    lower = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=1)
    upper = np.take_along_axis(ordered, count // 2, axis=1)
    return (lower + upper)[:, 0] / 2
