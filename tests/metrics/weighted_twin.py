"""Metrics as functions of the weights of users: the slow twin of `din.metrics.estimates`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from din.metrics.calibration import log_losses
from din.metrics.estimates import Metric
from din.metrics.ranking import one_class, user_auc

Weighted = Callable[[NDArray[np.float64]], float]


def weighted_auc(labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> Weighted:
    """Sort once, and return the AUC as a function of the weights of users, in the order of their ids.

    The AUC equals that of rows repeated `weight` times. It is NaN if a class has no weight or a score is NaN.
    """
    score = np.asarray(scores, np.float64)
    _, user = np.unique(np.asarray(users), return_inverse=True)
    order = np.argsort(score, kind="stable")
    clicked = (np.asarray(labels) != 0)[order]
    negatives = user[order[~clicked]]
    positives = user[order[clicked]]
    sorted_negatives = score[order[~clicked]]
    sorted_positives = score[order[clicked]]
    first = np.searchsorted(sorted_negatives, sorted_positives, "left")
    last = np.searchsorted(sorted_negatives, sorted_positives, "right")
    cumulative = np.zeros(len(negatives) + 1)
    undefined = bool(np.isnan(score).any())

    def value(weights: NDArray[np.float64]) -> float:
        np.cumsum(weights[negatives], out=cumulative[1:])
        positive = weights[positives]
        pairs = positive.sum() * cumulative[-1]
        if undefined or not pairs:
            return float("nan")
        return float(positive @ (cumulative[first] + cumulative[last]) / 2 / pairs)

    return value


def weighted(metric: Metric, labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> Weighted:
    """Return a metric as a function of the weights of users, in the order of their ids."""
    if metric == "auc":
        return weighted_auc(labels, scores, users)
    if metric == "gauc":
        per_user = user_auc(labels, scores, users)
        excluded = one_class(per_user, labels)
        weight = np.where(excluded, 0, per_user.impressions)
        return _ratio(np.where(excluded, 0, weight * per_user.auc), weight)
    _, user = np.unique(np.asarray(users), return_inverse=True)
    if metric == "log_loss":
        return _ratio(np.bincount(user, log_losses(labels, scores)), np.bincount(user))
    return _ratio(np.bincount(user, np.asarray(scores, np.float64)), np.bincount(user, np.asarray(labels) != 0))


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Weighted:
    numerator = numerator.astype(np.float64)
    denominator = denominator.astype(np.float64)

    def value(weights: NDArray[np.float64]) -> float:
        total = weights @ denominator
        return float(weights @ numerator / total) if total else float("nan")

    return value
