"""Whether a figure of the newest day is like those of the days before, by the log's own spread from day to day.

    base    the mean of the figure over the last 7 usual days before a day, or its value on the last usual day of the
            same weekday, if weekdays differ
    shift   figure of the day − base, of the newest day and of each earlier one
    p       Student's t of the newest shift among the k earlier ones, with k − 1 degrees of freedom

The newest shift may vary as much as the earlier ones did. Sampling errors are clustered by user. If the newest day has
a larger one than the earlier days, e.g. because it has fewer users, it may vary by that much more. Usual days are
those that did not alarm. So a fault that lasts goes on to alarm, until its days have left fewer than 7 earlier shifts.
Over all figures of a day, the rule of Benjamini and Hochberg bounds the share of false alarms (J. R. Stat. Soc. B 57,
1995).

Shapes: D consecutive days, oldest first.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from din.metrics.estimates import MIN_USERS

WEEK = 7
LEAST = 7
"""The smallest number of earlier shifts that show how far a figure moves from day to day."""
FEW_DAYS = "too few days to tell"
"""The problem of a figure with fewer."""
FALSE_ALARMS = 0.002
"""The expected share of false alarms among the alarms of a day, and the risk of any on a day like all others."""
MOST_VALUES = 99
"""The commonest values of a distribution that are counted apart; all others count as one."""
BINS = 10

Worse = Literal["lower", "higher", "either"]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A figure on D consecutive days, the last of which is judged.

    Attributes:
        values: [D]; NaN on days that have none.
        bases: what each value is compared with [D]; NaN on days without earlier ones.
        errors: the standard errors of values − bases [D].
        usual: the days on which the figure did not alarm, from which its usual values are estimated [D].
        users: the users of the last day.
        worse: the direction of a bad shift.
        is_log: whether the values are logarithms.
    """

    values: Vector
    bases: Vector
    errors: Vector
    usual: NDArray[np.bool_]
    users: int
    worse: Worse = "either"
    is_log: bool = False

    @classmethod
    def level(
        cls,
        values: ArrayLike,
        errors: ArrayLike,
        users: int,
        worse: Worse = "either",
        is_log: bool = False,
        usual: NDArray[np.bool_] | None = None,
    ) -> "Figure":
        """Return a figure whose base is its mean over a week, or its value of the same weekday, if weekdays differ.

        Of the two, it is the one from which earlier days varied less.
        """
        level = np.asarray(values, np.float64)
        squares = np.asarray(errors, np.float64) ** 2
        usual_mask = np.ones(len(level), bool) if usual is None else usual
        figures = []
        for every in (1, WEEK):
            means = _means(level, usual_mask, every)
            error = np.sqrt(squares + _means(squares, usual_mask, every) * every / WEEK)
            figures.append(cls(level, means, error, usual_mask, users, worse, is_log))
        return min(figures, key=lambda figure: (np.isnan(figure.shifts[-1]), _variance(figure.earlier)))

    @classmethod
    def distribution(
        cls, days: Sequence[Counter[str]], users: Sequence[int], usual: NDArray[np.bool_] | None = None
    ) -> "Figure":
        """Return how far the distribution of each day is from that of the last 7 usual days before it.

        The figure is log(U · J + 1), where J is the Jensen–Shannon divergence. Equal distributions have a divergence
        too, from chance, which is in inverse proportion to U; the earlier days show how large it is. One user may add
        about 1 to U · J.

        Args:
            days: how often each value occurs.
            users: U of each day.
        """
        counts = _counts(days)
        usual_mask = np.ones(len(days), bool) if usual is None else usual
        divergences = np.full(len(days), np.nan)
        for at in range(WEEK, len(days)):
            before = counts[_usual_week(usual_mask, at)].sum(axis=0)
            if before.sum() and counts[at].sum():
                divergences[at] = _divergence(before, counts[at])
        reached = divergences * np.asarray(users) + 1
        return cls(np.log(reached), np.zeros(len(days)), 1 / reached, usual_mask, users[-1], "higher", is_log=True)

    @property
    def shifts(self) -> Vector:
        """The values, relative to their bases [D]; NaN where one of them or the error is missing."""
        return np.where(np.isfinite(self.errors), self.values - self.bases, np.nan)

    @property
    def earlier(self) -> Vector:
        """The finite shifts of the usual days before the last one [k]."""
        return self.shifts[self._is_earlier]

    @property
    def earlier_errors(self) -> Vector:
        """The errors of these shifts [k]."""
        return self.errors[self._is_earlier]

    @property
    def _is_earlier(self) -> NDArray[np.bool_]:
        return np.isfinite(self.shifts) & self.usual & (np.arange(len(self.values)) < len(self.values) - 1)

    def shown(self, value: float) -> float | None:
        """Return a value as people read it: not its logarithm, and None for NaN."""
        if not np.isfinite(value):
            return None
        return float(np.exp(value)) if self.is_log else float(value)


@dataclass(frozen=True)
class Check:
    """A figure of the newest day, judged.

    Attributes:
        figure: its name.
        observed: its value. None if there is none.
        low, high: a value outside would alarm if this were the only figure. None where there is no such bound.
        p: the probability of such a shift on a day like the ones before. None if it can't be computed.
        problem: why it can't be computed.
        value: the value of a field that it is about; None if it is about no single one.
    """

    figure: str
    observed: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    problem: str | None = None
    value: str | None = None

    @property
    def is_outside(self) -> bool:
        """Whether the value is outside of its bounds."""
        value = self.observed
        above = value is not None and self.high is not None and value > self.high
        return above or (value is not None and self.low is not None and value < self.low)


def usual_days(days: Sequence[date], figure: str, alarms: Collection[tuple[date, str]]) -> NDArray[np.bool_]:
    """Return on which days a figure did not alarm [D], given the days and figures that did."""
    return np.array([(day, figure) not in alarms for day in days])


def few_users(count: int) -> str:
    """Return the problem of a figure about fewer than `MIN_USERS` users."""
    return f"too few users to tell: {count}, expected {MIN_USERS}"


def judge(name: str, figure: Figure) -> Check:
    """Compare a figure of the newest day with its base; see the module's docstring."""
    observed = figure.shown(figure.values[-1])
    earlier = figure.earlier
    if figure.users < MIN_USERS:
        return Check(name, observed, problem=few_users(figure.users))
    if np.isnan(figure.shifts[-1]):
        return Check(name, observed, problem="no such value today, or in the week before")
    if len(earlier) < LEAST:
        return Check(name, observed, problem=FEW_DAYS)
    count = len(earlier)
    variance = _variance(earlier)
    between = max(0.0, variance - float(np.mean(figure.earlier_errors**2)))
    spread = float(np.sqrt(max(variance, between + figure.errors[-1] ** 2) * (1 + 1 / count)))
    away = float(figure.shifts[-1] - earlier.mean())
    return compared(name, figure, float(figure.values[-1]), away, spread, count - 1)


def compared(
    name: str, figure: Figure, value: float, away: float, spread: float, freedom: int, least: float = 0.0
) -> Check:
    """Return the check of a value by Student's t.

    Args:
        away: the difference between the value and a usual one.
        spread: the standard error of the difference, known from `freedom` degrees of freedom.
        least: a smaller difference is no alarm, however certain.
    """
    risk = FALSE_ALARMS / 2 if figure.worse == "either" else FALSE_ALARMS
    reach = max(least, float(stdtrit(freedom, 1 - risk)) * spread)
    low = None if figure.worse == "higher" else figure.shown(value - away - reach)
    high = None if figure.worse == "lower" else figure.shown(value - away + reach)
    p = _p_value(away, spread, freedom, figure.worse) if abs(away) >= least else 1.0
    return Check(name, figure.shown(value), low, high, p)


def alarms_among(checks: Sequence[Check], share: float = FALSE_ALARMS) -> list[Check]:
    """Return the checks up to the largest p-value with p_(i) ≤ share · i / m, by Benjamini and Hochberg."""
    judged = sorted((check for check in checks if check.p is not None), key=lambda check: check.p or 0.0)
    passed = [at for at, check in enumerate(judged, 1) if (check.p or 0.0) <= share * at / len(judged)]
    return judged[: max(passed, default=0)]


def ratio(numerator: ArrayLike, denominator: ArrayLike, users: NDArray[np.int64]) -> tuple[float, float]:
    """Return Σ numerator / Σ denominator over rows, and its standard error, clustered by user (delta method).

    Args:
        users: of each row, counted from 0.
    """
    top = np.bincount(users, np.asarray(numerator, np.float64))
    bottom = np.bincount(users, np.asarray(denominator, np.float64))
    total = float(bottom.sum())
    if not total:
        return float("nan"), float("nan")
    value = float(top.sum()) / total
    return value, float(np.sqrt(((top - value * bottom) ** 2).sum())) / total


def binned(days: Sequence[ArrayLike]) -> list[Counter[str]]:
    """Return the numbers of each day, counted in bins with about equal counts over all days.

    Numbers at an edge have a bin of their own, since one number, e.g. 0, may be common.
    """
    numbers = np.concatenate([np.empty(0), *map(np.asarray, days)])
    edges = np.unique(np.quantile(numbers, np.arange(1, BINS) / BINS)) if len(numbers) else numbers
    places = [np.searchsorted(edges, day, "left") + np.searchsorted(edges, day, "right") for day in days]
    return [Counter(map(str, place.tolist())) for place in places]


def _usual_week(usual: NDArray[np.bool_], at: int, every: int = 1) -> NDArray[np.intp]:
    """Return the last usual days before a day: 7 of all days, or one of every seventh; none if there are fewer."""
    days = np.arange(at % every, at, every)
    days = days[usual[days]]
    count = WEEK // every
    return days[-count:] if len(days) >= count else days[:0]


def _means(values: Vector, usual: NDArray[np.bool_], every: int) -> Vector:
    """Return the mean over the usual week before each day [D]; NaN if most of its days have no value."""
    means = np.full(len(values), np.nan)
    for at in range(WEEK, len(values)):
        week = values[_usual_week(usual, at, every)]
        finite = week[np.isfinite(week)]
        if 2 * len(finite) > len(week):
            means[at] = finite.mean()
    return means


def _variance(shifts: Vector) -> float:
    return float(shifts.var(ddof=1)) if len(shifts) >= LEAST else float("inf")


def _counts(days: Sequence[Counter[str]]) -> Vector:
    """Return how often each of the commonest values occurs, and in the last column all others, [D, values + 1]."""
    total: Counter[str] = sum(days, Counter())
    common = [value for value, _ in total.most_common(MOST_VALUES)]
    return np.array([[*(day[value] for value in common), day.total() - sum(day[v] for v in common)] for day in days])


def _p_value(away: float, spread: float, freedom: int, worse: Worse) -> float:
    if worse == "lower":
        away = -away
    elif worse == "either":
        away = abs(away)
    if not spread:
        return float(away <= 0)
    beyond = float(stdtr(freedom, -away / spread))
    return min(1.0, 2 * beyond) if worse == "either" else beyond


def _divergence(before: NDArray[np.float64], today: NDArray[np.float64]) -> float:
    """Return the Jensen–Shannon divergence of two distributions given as counts, half a row added to each."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, today))
    middle = (p + q) / 2
    return float((p * np.log(p / middle) + q * np.log(q / middle)).sum()) / 2
