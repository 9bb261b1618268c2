"""Slow twins of the metrics: loops over all pairs of rows and over users, with a weight for each user."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from din.metrics.calibration import log_losses


def pairs_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the AUC from all pairs of a click and a non-click, with ties as half, or NaN without pairs."""
    clicked, score = np.asarray(labels, bool), np.asarray(scores, np.float64)
    weight = np.ones(len(score)) if weights is None else np.asarray(weights)
    higher = np.subtract.outer(score[clicked], score[~clicked])
    pairs = np.multiply.outer(weight[clicked], weight[~clicked])
    return float(((np.sign(higher) + 1) / 2 * pairs).sum() / pairs.sum()) if pairs.sum() else math.nan


def weighted(
    metric: str, labels: ArrayLike, scores: ArrayLike, users: ArrayLike, weights: NDArray[np.float64]
) -> float:
    """Return a metric of a log in which each user's rows count as often as the user's weight, in the order of ids."""
    clicked, score = np.asarray(labels, bool), np.asarray(scores, np.float64)
    ids, user = np.unique(users, return_inverse=True)
    weight = weights[user]
    if metric == "auc":
        return pairs_auc(clicked, score, weight)
    if metric == "log_loss":
        return float(np.average(log_losses(clicked, score), weights=weight))
    if metric == "calibration_ratio":
        return float(weight @ score / (weight @ clicked)) if clicked.any() else math.nan
    values = np.array([pairs_auc(clicked[user == own], score[user == own]) for own in range(len(ids))])
    shares = np.where(np.isnan(values), 0, weights * np.bincount(user))
    return float(shares @ np.nan_to_num(values) / shares.sum()) if shares.any() else math.nan
