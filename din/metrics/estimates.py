"""Metrics with the influence of each user, from which standard errors and intervals follow.

    metric ≈ truth + Σ_u ψ_u        ψ_u: the influence of user u, the metric's derivative by the weight of u's rows

Rows of one user depend on each other, so users are the units that vary. Influences add up: the difference of two models
on the same rows has the difference of their influences. The standard error is the root of the sum of squares over
users. For AUC this is DeLong's variance for clustered rows (Obuchowski, Biometrics 53, 1997). GAUC, log loss and the
calibration ratio are ratios of sums over users (delta method). Bounds take Student's t with users − 1 degrees.

This costs one sort of the rows and a few sums, and equal rows give equal bits. It does not correct for bias. The
log (docs/log.md) has the share of wrong bounds by the number of users.

Shapes: B rows, U distinct users.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from din.metrics.calibration import log_losses
from din.metrics.ranking import one_class, user_auc

Metric = Literal["auc", "gauc", "calibration_ratio", "log_loss"]

MIN_USERS = 20
"""Users with a click, and users without one, that an interval needs; with fewer its bounds are NaN."""


@dataclass(frozen=True)
class Interval:
    """A metric and its bounds, each of which holds with the stated confidence; undefined bounds are NaN."""

    point: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of two, and what each user contributes to its error.

    Attributes:
        value: the metric; NaN where it is undefined.
        influence: ψ of each user [U]; they sum to 0.
        informative: the smaller of the numbers of users who tell about clicks and about their absence.
    """

    value: float
    influence: NDArray[np.float64]
    informative: int

    @property
    def standard_error(self) -> float:
        """The standard error of `value`; NaN with fewer than two users."""
        count = len(self.influence)
        if count < 2:
            return float("nan")
        return float(np.sqrt(count / (count - 1) * (self.influence**2).sum()))

    def interval(self, confidence: float) -> Interval:
        """Return the bounds, each of which is on the right side of the truth with this confidence, e.g. 0.95.

        Bounds are NaN if fewer than `MIN_USERS` users tell about either class.
        """
        if self.informative < MIN_USERS:
            return Interval(self.value, float("nan"), float("nan"))
        width = float(stdtrit(len(self.influence) - 1, confidence)) * self.standard_error
        return Interval(self.value, self.value - width, self.value + width)


def estimate(metric: Metric, labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> Estimate:
    """Return a metric with its influences.

    Args:
        metric: auc | gauc | calibration_ratio | log_loss.
        labels: 0/1 [B].
        scores: of the rows [B]; probabilities for calibration and log loss.
        users: any id [B].
    """
    _, user = np.unique(np.asarray(users), return_inverse=True)
    clicked = np.asarray(labels) != 0
    score = np.asarray(scores, np.float64)
    impressions = np.bincount(user)
    clicks = np.bincount(user, clicked, len(impressions))
    if metric == "auc":
        informative = min((clicks > 0).sum(), (clicks < impressions).sum())
        return _auc(clicked, score, user, int(informative))
    if metric == "gauc":
        per_user = user_auc(clicked, score, user)
        known = ~one_class(per_user, clicked)
        weight = np.where(known, impressions, 0)
        return _ratio(np.where(known, weight * per_user.auc, 0), weight, int(known.sum()))
    if metric == "log_loss":
        return _ratio(np.bincount(user, log_losses(clicked, score)), impressions, len(impressions))
    return _ratio(np.bincount(user, score), clicks, int((clicks > 0).sum()))


def difference(
    metric: Metric, labels: ArrayLike, candidate: ArrayLike, champion: ArrayLike, users: ArrayLike
) -> Estimate:
    """Return metric(candidate) − metric(champion) on the same rows; arguments as in `estimate`."""
    ours = estimate(metric, labels, candidate, users)
    theirs = estimate(metric, labels, champion, users)
    return Estimate(ours.value - theirs.value, ours.influence - theirs.influence, ours.informative)


def _auc(clicked: NDArray[np.bool_], score: NDArray[np.float64], user: NDArray[Any], informative: int) -> Estimate:
    """Return the AUC; a user's influence is the sum over their rows of the share of pairs won, less the mean."""
    positives = np.sort(score[clicked])
    negatives = np.sort(score[~clicked])
    if not len(positives) or not len(negatives) or np.isnan(score).any():
        return _undefined(user.max(initial=-1) + 1)
    won = np.empty(len(score))
    won[clicked] = _share_below(negatives, score[clicked])
    won[~clicked] = 1 - _share_below(positives, score[~clicked])
    value = float(won[clicked].mean())
    of_class = np.where(clicked, len(positives), len(negatives))
    influence = np.bincount(user, (won - value) / of_class).astype(np.float64)
    return Estimate(value, influence, informative)


def _share_below(ordered: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of sorted values below each score; ties count half."""
    below = np.searchsorted(ordered, score, "left")
    not_above = np.searchsorted(ordered, score, "right")
    return (below + not_above) / 2 / len(ordered)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any], informative: int) -> Estimate:
    total = float(denominator.sum())
    if not total:
        return _undefined(len(denominator))
    value = float(numerator.sum()) / total
    return Estimate(value, (numerator - value * denominator) / total, informative)


def _undefined(users: int) -> Estimate:
    return Estimate(float("nan"), np.full(users, np.nan), 0)
