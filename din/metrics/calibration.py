"""Metrics of calibrated probabilities: log loss, normalised entropy, calibration ratio, and calibration error.

Each function takes labels 0/1 [B] and probabilities [B]. A metric is NaN without rows, and in the other cases that its
docstring names.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_EPSILON = np.finfo(np.float64).eps


def log_losses(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return −ln p(label) of each row in nats, [B].

    Probabilities are clipped to [ε, 1−ε] of float64, as in scikit-learn.
    """
    clicked = np.asarray(labels) != 0
    p = np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1 - _EPSILON)
    return -np.log(np.where(clicked, p, 1 - p))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean of `log_losses`."""
    losses = log_losses(labels, probabilities)
    return float(losses.mean()) if len(losses) else float("nan")


def normalized_entropy(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the log loss divided by the log loss of the constant mean CTR (He et al., ADKDD 2014).

    A value below 1 is better than predicting the mean. NaN if all labels are equal.
    """
    clicked = np.asarray(labels) != 0
    ctr = clicked.mean() if len(clicked) else 0.0
    if ctr in (0.0, 1.0):
        return float("nan")
    return log_loss(clicked, probabilities) / log_loss(clicked, np.full(len(clicked), ctr))


def calibration_ratio(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean predicted CTR divided by the observed CTR.

    1 means calibrated, and more means over-prediction. NaN without clicks.
    """
    clicks = np.count_nonzero(np.asarray(labels))
    return float(np.asarray(probabilities, np.float64).sum() / clicks) if clicks else float("nan")


def bin_of_rows(probabilities: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Return the number of the bin of each row, [B], for bins of equal mass.

    Equal predictions share the bin of their lowest rank, so a bin does not depend on the order of the rows.
    """
    p = np.asarray(probabilities, np.float64)
    return np.searchsorted(np.sort(p), p, "left") * bins // max(len(p), 1)


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error over the bins of `bin_of_rows`: Σ_b (rows_b / rows) · |mean p_b − CTR_b|.

    NaN if a probability is NaN.
    """
    p = np.asarray(probabilities, np.float64)
    if not len(p) or np.isnan(p).any():
        return float("nan")
    gap = np.bincount(bin_of_rows(p, bins), p - (np.asarray(labels) != 0), bins)
    return float(np.abs(gap).sum() / len(p))
