"""Pool comparisons with a champion over days until they decide.

If a day leaves a comparison undecided, the next run pools that day's rows with its own. A decision ends a pool, and the
next comparison begins a new one. A day of one class decides nothing and adds nothing. Comparisons on the same day are
not pooled; the newest one counts. Each comparison spends a part of the permitted error (`din.metrics.noninferiority`),
even if it shares days with others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa

from din.metrics.estimates import Estimate, Metric, difference
from din.metrics.noninferiority import ComparisonResult, judge


@dataclass(frozen=True)
class Comparison:
    """A comparison by one metric.

    Attributes:
        days: the days of its rows, as days since 1970.
        difference: the metric of the candidate minus that of the champion.
    """

    days: frozenset[int]
    difference: Estimate

    @classmethod
    def of(cls, stored: pa.Table, metric: Metric, tells: bool = True) -> Self:
        """Compute a metric's difference on the rows of a stored comparison (`din.registry.stored_comparisons`).

        Args:
            tells: whether it may speak for other candidates. If not, since its own was rolled back, it only counts.
        """
        columns = {name: stored[name].to_numpy() for name in ("label", "candidate", "champion", "user")}
        found = difference(metric, columns["label"], columns["candidate"], columns["champion"], columns["user"])
        days = frozenset(stored["day"].cast(pa.int32()).unique().to_pylist())
        return cls(days, found if tells else replace(found, value=float("nan")))


def judged(views: Sequence[Comparison], margin_of: Callable[[Estimate], float], level: float) -> ComparisonResult:
    """Judge the newest comparison together with the undecided ones directly before it.

    Args:
        views: all comparisons with the champion, oldest first.
        margin_of: returns the margin, given the newest difference of the pool.
        level: the permitted probability of error of all comparisons together.
    """

    def outcome(first: int, number: int) -> ComparisonResult:
        pool = _pool(views[first:number])
        retries = sum(view.days == views[number - 1].days for view in views[: number - 1])
        return judge(pool, margin_of(pool[-1]), number, level, retries)

    first = 0
    for number in range(1, len(views)):
        if np.isfinite(views[number - 1].difference.value) and outcome(first, number).verdict != "borderline":
            first = number
    return outcome(first, len(views))


def _pool(views: Sequence[Comparison]) -> list[Estimate]:
    """Return the differences to pool, oldest first: today's, and earlier ones whose days no newer one contains."""
    *earlier, today = views
    pool = [today.difference]
    taken = set(today.days)
    for view in reversed(earlier):
        if np.isfinite(view.difference.value) and taken.isdisjoint(view.days):
            pool.append(view.difference)
            taken |= view.days
    return pool[::-1]
