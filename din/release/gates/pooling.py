"""Pool comparisons with a champion over days until they decide.

If a day leaves a comparison undecided, the next run pools that day's rows with its own. A decision ends a pool, and the
next comparison begins a new one. A day of one class decides nothing and adds nothing. Comparisons on the same day are
not pooled; the newest one counts. Each comparison spends a part of the permitted error (`din.metrics.noninferiority`),
even if it shares days with others.

A preview can promote nothing, so it spends nothing. But it has shown how a candidate does on its days, and the next
candidate may have been chosen by that. So for candidates that are judged on one of its days, it is an earlier
comparison and a try at that day. Its rows are never pooled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa

from din.metrics.estimates import Estimate, Metric, difference
from din.metrics.noninferiority import ComparisonResult, judge
from din.release.registry.stored_comparisons import is_preview


@dataclass(frozen=True)
class Comparison:
    """A comparison by one metric.

    Attributes:
        days: the days of its rows, as days since 1970.
        difference: the metric of the candidate minus that of the champion.
        preview: whether its candidate can't be promoted.
    """

    days: frozenset[int]
    difference: Estimate
    preview: bool = False

    @classmethod
    def of(cls, stored: pa.Table, metric: Metric, tells: bool = True) -> Self:
        """Compute a metric's difference on the rows of a stored comparison (`din.release.registry.stored_comparisons`).

        Args:
            tells: whether it may speak for other candidates. If not, since its own was rolled back, it only counts.
        """
        columns = {name: stored[name].to_numpy() for name in ("label", "candidate", "champion", "user")}
        delta = difference(metric, columns["label"], columns["candidate"], columns["champion"], columns["user"])
        days = frozenset(stored["day"].cast(pa.int32()).unique().to_pylist())
        return cls(days, delta if tells else replace(delta, value=float("nan")), is_preview(stored))


def decide_pooled(
    comparisons: Sequence[Comparison], margin_of: Callable[[Estimate], float], level: float
) -> ComparisonResult:
    """Judge the newest comparison together with the undecided ones directly before it.

    Args:
        comparisons: all comparisons with the champion, oldest first.
        margin_of: returns the margin, given the newest difference of the pool.
        level: the permitted probability of error of all comparisons together.
    """

    def outcome(first: int, number: int) -> ComparisonResult:
        newest = comparisons[number - 1]
        before = [one for one in comparisons[: number - 1] if not one.preview or one.days & newest.days]
        retries = sum(one.preview or one.days == newest.days for one in before)
        pool = _pool([*(one for one in comparisons[first : number - 1] if not one.preview), newest])
        return judge(pool, margin_of(pool[-1]), len(before) + 1, level, retries)

    first = 0
    for number, comparison in enumerate(comparisons[:-1], 1):
        counts = not comparison.preview and np.isfinite(comparison.difference.value)
        if counts and outcome(first, number).verdict != "borderline":
            first = number
    return outcome(first, len(comparisons))


def _pool(comparisons: Sequence[Comparison]) -> list[Estimate]:
    """Return the differences to pool, oldest first: today's, and earlier ones whose days no newer one contains."""
    *earlier, today = comparisons
    pool = [today.difference]
    days = set(today.days)
    for comparison in reversed(earlier):
        if np.isfinite(comparison.difference.value) and days.isdisjoint(comparison.days):
            pool.append(comparison.difference)
            days |= comparison.days
    return pool[::-1]
