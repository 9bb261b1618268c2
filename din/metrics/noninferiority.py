"""Is a candidate worse than the champion by more than a margin? A one-sided test that may be repeated day after day.

    open          the loss is certainly smaller than the margin: lower bound of the difference > −margin
    closed        the loss is certainly larger: upper bound < −margin, over all pooled days or today alone; also if the
                  difference itself is undefined
    borderline    undecided: neither is certain, or too few users give bounds

**Repetition.** Each comparison with a champion spends a part of the permitted error α. Comparison k spends
α / (k(k + 1)). These parts add up to α however many comparisons follow. By the union bound this holds for any
dependence between them: more days, another seed on the same day, other parameters. Half of α goes to the first
comparison, and most candidates need no other.

**Pooled days.** Each day judges another candidate, so the mean over days describes the pipeline, not today's candidate.
Today's rows alone must therefore rule out a loss of two margins. Without this rule a run of good days would let one bad
candidate through. The first comparison on a day may err with probability α, and its nth retry, with another seed or
other parameters, with α / (n(n + 1)). All candidates of a day together err with at most 2α, however often it is
retried.

**Power.** With probability `POWER`, a comparison of an equal candidate excludes a loss of (t_α + t_power) · SE. With
enough users, this loss is no larger than the margin, and the comparison opens the gate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from din.contracts.verdicts import Verdict
from din.metrics.estimates import Estimate, Interval, mean

POWER = 0.8
"""The probability with which an equal candidate should open the gate on its first comparison."""
WORST = 2
"""The loss, in margins, that today's rows alone must rule out."""


@dataclass(frozen=True)
class ComparisonResult:
    """The outcome of one comparison.

    Attributes:
        number: the number of this comparison with the champion, from 1.
        verdict: open, closed, or borderline for undecided.
        interval: candidate − champion over the pooled days; each bound holds at this comparison's level.
        today: candidate − champion on today's rows alone; each bound holds at the level that it is judged at.
        users: the number of pooled users.
        excludes: the smallest loss that a comparison like this one excludes with power `POWER`.
        users_needed: the number of users that would exclude the margin with this power. None if the comparison
            is decided, or has as many users already.
    """

    number: int
    verdict: Verdict
    interval: Interval
    today: Interval
    users: int
    excludes: float
    users_needed: int | None


def level_of(number: int, level: float) -> float:
    """Return the error that a comparison may spend of `level`, given its number, from 1."""
    return level / (number * (number + 1))


def excludable_loss(estimate: Estimate, level: float, power: float = POWER) -> float:
    """Return the smallest loss that a test at a one-sided level excludes with a given power; NaN with too few users."""
    return estimate.width(1 - level) + estimate.width(power)


def judge(days: Sequence[Estimate], margin: float, number: int, level: float, retries: int = 0) -> ComparisonResult:
    """Test the mean difference over some days against a margin.

    Args:
        days: candidate − champion of each undecided day and of today, which is the last.
        margin: the permitted loss, above 0.
        number: the number of this comparison with the champion, from 1.
        level: the permitted error of all comparisons together, one-sided, e.g. 0.05.
        retries: the number of earlier comparisons on today's rows.
    """
    pooled = mean(days)
    spent = level_of(number, level)
    spent_today = level_of(retries, level) if retries else level
    interval = pooled.interval(1 - spent)
    upper = days[-1].interval(1 - spent).upper
    today = replace(days[-1].interval(1 - spent_today), upper=upper)
    harmful = interval.upper < -margin or today.upper < -margin or math.isnan(pooled.value)
    harmless = interval.lower > -margin and today.lower > -WORST * margin
    verdict: Verdict = "borderline"  # also if bounds are NaN
    if harmful or harmless:
        verdict = "closed" if harmful else "open"
    users = len(pooled.users)
    excludes = excludable_loss(pooled, spent)
    needed = math.ceil(users * (excludes / margin) ** 2) if verdict == "borderline" and excludes > margin else None
    return ComparisonResult(number, verdict, interval, today, users, excludes, needed)
