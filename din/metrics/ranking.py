"""Ranking metrics: AUC, and GAUC (Eq. 10) and RelaImpr (Eq. 11) of arXiv 1706.06978.

Ties count half, so a constant score has AUC 0.5 and row order never matters. Each metric takes one sort and no loop
over users. A NaN score makes its metric NaN, because an undefined metric closes a gate and an invented rank would not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Gauc:
    """GAUC with its coverage: the number of all users, and of users with one class, who have no AUC."""

    value: float
    users: int
    one_class_users: int


@dataclass(frozen=True)
class UserAuc:
    """Tie-aware AUC of each distinct user.

    Attributes:
        auc: NaN if all impressions of the user have one class, or if one has a NaN score.
        impressions: the number of the user's impressions.
        known: whether they have both classes.
    """

    auc: NDArray[np.float64]
    impressions: NDArray[np.int64]
    known: NDArray[np.bool_]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that a random click scores above a random non-click (Mann–Whitney U / (P·N)).

    A tie counts half.

    Args:
        labels: 0/1, shape [B].
        scores: on any real scale, shape [B].

    Returns:
        AUC in [0, 1], or NaN if a class is missing or a score is NaN.
    """
    clicked = np.asarray(labels) != 0
    score = np.asarray(scores, np.float64)
    positives = np.sort(score[clicked])
    negatives = np.sort(score[~clicked])
    if not len(positives) or not len(negatives) or np.isnan(score).any():
        return float("nan")
    return float(count_below(negatives, positives).sum() / (len(positives) * len(negatives)))


def count_below(ordered: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many of the sorted values are below each score; ties count half."""
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2


def gauc(labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> Gauc:
    """Return GAUC, Eq. 10: Σ_i #impressions_i × AUC_i / Σ_i #impressions_i over users i.

    Weights are impressions, not clicks. Users with one class have no AUC: they are left out of both sums and counted in
    `one_class_users`.

    Args:
        labels: 0/1, shape [B].
        scores: shape [B].
        users: ids of any type, shape [B].

    Returns:
        GAUC and the numbers of users. GAUC is NaN if no user has both classes, or if such a user has a NaN score.
    """
    per_user = user_auc(labels, scores, users)
    defined = per_user.known
    weight = np.where(defined, per_user.impressions, 0)
    value = float((weight[defined] * per_user.auc[defined]).sum() / weight.sum()) if defined.any() else float("nan")
    return Gauc(value, len(defined), int((~defined).sum()))


def relative_improvement(auc: float, base: float) -> float:
    """Return RelaImpr, Eq. 11, in percent: ((auc − 0.5) / (base − 0.5) − 1) × 100; NaN if the base is at most 0.5."""
    return ((auc - 0.5) / (base - 0.5) - 1) * 100 if base > 0.5 else float("nan")


def user_auc(labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> UserAuc:
    """Return each user's tie-aware AUC: sort by (user, score), then add up runs of equal scores.

    A run with P clicks and N non-clicks that follows `before` non-clicks of its user wins P·(before + N/2) pairs.
    """
    clicked = (np.asarray(labels) != 0).astype(np.int64)
    score = np.asarray(scores, np.float64)
    _, user = np.unique(np.asarray(users), return_inverse=True)
    impressions = np.bincount(user)
    clicks = np.bincount(user, clicked, len(impressions)).astype(np.int64)
    misses = impressions - clicks
    defined = (clicks > 0) & (misses > 0)
    if not len(user):
        return UserAuc(np.empty(0), impressions, defined)
    order = np.lexsort((score, user))
    u, s, y = user[order], score[order], clicked[order]
    starts = np.flatnonzero(np.r_[True, (u[1:] != u[:-1]) | (s[1:] != s[:-1])])
    p = np.add.reduceat(y, starts)
    n = np.add.reduceat(1 - y, starts)
    before = np.cumsum(n) - n - (np.cumsum(misses) - misses)[u[starts]]
    wins = np.bincount(u[starts], p * (before + n / 2), len(impressions))
    wins[user[np.isnan(score)]] = np.nan
    with np.errstate(invalid="ignore"):
        return UserAuc(wins / (clicks * misses), impressions, defined)
