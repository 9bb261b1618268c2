"""Metrics with the influence of each user, from which standard errors and intervals follow.

    metric ≈ truth + Σ_u ψ_u        ψ_u: the influence of user u, the metric's derivative by the weight of u's rows

Rows of one user are correlated, so the sampling unit is the user. Influences are linear: the difference of two models
on the same rows has the difference of their influences, and a mean over days has the mean of the days' influences. The
standard error is the root of the sum of squares over users. For AUC this is DeLong's variance for clustered rows
(Obuchowski, Biometrics 53, 1997). GAUC, log loss and the calibration ratio are ratios of sums over users (delta
method).

Bounds use Student's t. If all users vary alike, it has U − 1 degrees of freedom. Usually a few users have most of the
rows, or most users tell nothing, and the standard error is itself uncertain. The degrees of freedom follow from how
much the squared influences vary (Satterthwaite, Biometrics Bulletin 2, 1946).

The calibration ratio is skewed where clicks are few, so its bounds are those of its logarithm. With 30 clicks, a
p-value of 0.001 for too many clicks comes up 1.9 times as often as it should; without the logarithm, seven times. In
the other direction both come up too rarely. With 200 clicks, the logarithm is right within a fifth both ways.

This costs one sort of the rows and a few sums, and equal rows give equal bits. It does not correct for bias.

Shapes: B rows, U distinct users.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from din.metrics.calibration import log_losses
from din.metrics.ranking import count_below, user_auc

Metric = Literal["auc", "gauc", "calibration_ratio", "log_loss"]

MIN_USERS = 20
"""The smallest `Estimate.informative` for which an interval has bounds; with fewer users they are NaN.

With fewer users, bounds have not been shown to have their nominal error rate.
"""


@dataclass(frozen=True)
class Interval:
    """A metric and its bounds, each of which holds with the stated confidence; undefined bounds are NaN."""

    point: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of two, and the contribution of each user to its error.

    Attributes:
        value: the metric; NaN where it is undefined.
        users: the distinct users [U], sorted.
        influence: ψ of each user [U]; they sum to 0.
        tells: which users carry information about clicks, and which about non-clicks, [2, U].
        by_logarithm: whether bounds are those of the logarithm of the metric, which is positive.
    """

    value: float
    users: NDArray[Any]
    influence: NDArray[np.float64]
    tells: NDArray[np.bool_]
    by_logarithm: bool = False

    def __sub__(self, other: "Estimate") -> "Estimate":
        """Return the difference of two estimates from the same rows."""
        return Estimate(self.value - other.value, self.users, self.influence - other.influence, self.tells)

    @property
    def informative(self) -> int:
        """The number of users who carry information about clicks, or about non-clicks, whichever is smaller."""
        return int(self.tells.sum(axis=1).min())

    @property
    def effective_users(self) -> float:
        """The number of equally varying users whose standard error would be as certain as this one, at most U.

        The mean fourth power of normal influences is three times the square of their variance, so n such users have
        (Σψ²)² / Σψ⁴ = n / 3.
        """
        squares = self.influence**2
        fourth = (squares**2).sum()
        users = len(self.users)
        return min(3 * squares.sum() ** 2 / fourth, users) if fourth > 0 else users

    @property
    def standard_error(self) -> float:
        """The standard error of `value`; NaN with fewer than `MIN_USERS` informative users."""
        if self.informative < MIN_USERS:
            return float("nan")
        count = self.effective_users
        return float(np.sqrt(count / (count - 1) * (self.influence**2).sum()))

    def width(self, probability: float) -> float:
        """Return the error of `value`, in one direction, that is exceeded with probability 1 − `probability`."""
        return float(stdtrit(self.effective_users - 1, probability)) * self.standard_error

    def interval(self, confidence: float) -> Interval:
        """Return the bounds, each of which holds with this confidence, e.g. 0.95."""
        width = self.width(confidence)
        if self.by_logarithm and self.value > 0:
            with np.errstate(over="ignore"):
                factor = float(np.exp(width / self.value))
            return Interval(self.value, self.value / factor, self.value * factor)
        return Interval(self.value, self.value - width, self.value + width)

    def p_outside(self, low: float, high: float = float("inf")) -> float:
        """Return the p-value of the hypothesis that the truth is in [low, high]; a small one means it is outside."""
        value = self.value
        error = self.standard_error
        if self.by_logarithm and value > 0:
            error /= value
            with np.errstate(divide="ignore"):
                value, low, high = np.log([value, low, high])
        beyond = min(value - low, high - value)
        if error == 0:
            return float(beyond >= 0)
        return float(stdtr(self.effective_users - 1, beyond / error))


def estimate(metric: Metric, labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> Estimate:
    """Return a metric with its influences.

    Args:
        metric: auc | gauc | calibration_ratio | log_loss.
        labels: 0/1 [B].
        scores: [B]; probabilities for calibration and log loss.
        users: ids of any type, [B].
    """
    distinct, user = np.unique(np.asarray(users), return_inverse=True)
    clicked = np.asarray(labels) != 0
    score = np.asarray(scores, np.float64)
    impressions = np.bincount(user)
    clicks = np.bincount(user, clicked, len(impressions))
    anyone = np.ones(len(distinct), bool)
    if metric == "auc":
        return _auc(clicked, score, user, distinct, np.stack((clicks > 0, clicks < impressions)))
    if metric == "gauc":
        of_user = user_auc(clicked, score, user)
        defined = of_user.known
        weight = np.where(defined, impressions, 0)
        earned = np.where(defined, weight * of_user.auc, 0)
        return _ratio(earned, weight, distinct, np.stack((defined, defined)))
    if metric == "log_loss":
        losses = np.bincount(user, log_losses(clicked, score))
        return _ratio(losses, impressions, distinct, np.stack((anyone, anyone)))
    if metric == "calibration_ratio":
        ratio = _ratio(np.bincount(user, score), clicks, distinct, np.stack((clicks > 0, anyone)))
        return replace(ratio, by_logarithm=True)
    assert_never(metric)


def difference(
    metric: Metric, labels: ArrayLike, candidate: ArrayLike, champion: ArrayLike, users: ArrayLike
) -> Estimate:
    """Return metric(candidate) − metric(champion) on the same rows; arguments as in `estimate`."""
    return estimate(metric, labels, candidate, users) - estimate(metric, labels, champion, users)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates of the same quantity, e.g. of several days, weighted by their numbers of users.

    A user may appear in any number of them.
    """
    users = np.unique(np.concatenate([term.users for term in estimates]))
    weights = np.array([len(term.users) for term in estimates], np.float64)
    shares = weights / weights.sum()
    influence = np.zeros(len(users))
    tells = np.zeros((2, len(users)), bool)
    for term, share in zip(estimates, shares, strict=True):
        place = np.searchsorted(users, term.users)
        influence[place] += share * term.influence
        tells[:, place] |= term.tells
    values = np.array([term.value for term in estimates])
    return Estimate(float(shares @ values), users, influence, tells)


def _auc(
    clicked: NDArray[np.bool_],
    score: NDArray[np.float64],
    user: NDArray[np.int64],
    distinct: NDArray[Any],
    tells: NDArray[np.bool_],
) -> Estimate:
    """Return the AUC.

    A user's influence is the sum over their rows of (share of pairs won − AUC) / (rows of the row's class).
    """
    positives = np.sort(score[clicked])
    negatives = np.sort(score[~clicked])
    if not len(positives) or not len(negatives) or np.isnan(score).any():
        return _undefined(distinct, tells)
    won = np.empty(len(score))
    won[clicked] = count_below(negatives, score[clicked]) / len(negatives)
    won[~clicked] = 1 - count_below(positives, score[~clicked]) / len(positives)
    value = float(won[clicked].mean())
    of_class = np.where(clicked, len(positives), len(negatives))
    influence = np.bincount(user, (won - value) / of_class).astype(np.float64)
    return Estimate(value, distinct, influence, tells)


def _ratio(
    numerator: NDArray[Any], denominator: NDArray[Any], distinct: NDArray[Any], tells: NDArray[np.bool_]
) -> Estimate:
    total = float(denominator.sum())
    if not total:
        return _undefined(distinct, tells)
    value = float(numerator.sum()) / total
    return Estimate(value, distinct, (numerator - value * denominator) / total, tells)


def _undefined(distinct: NDArray[Any], tells: NDArray[np.bool_]) -> Estimate:
    return Estimate(float("nan"), distinct, np.full(len(distinct), np.nan), tells)
