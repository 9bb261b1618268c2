"""Whether probabilities mean what they say: log loss, normalised entropy, calibration ratio, calibration error.

All take labels 0/1 [B] and probabilities [B]; undefined (no rows, or a constant label where noted) is NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_EPSILON = np.finfo(np.float64).eps


def log_losses(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.float64]:
    """−ln p(label) of each row, nats, [B]. Probabilities are clipped to [ε, 1−ε] of float64, as scikit-learn does."""
    clicked, p = np.asarray(labels) != 0, np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1 - _EPSILON)
    return -np.log(np.where(clicked, p, 1 - p))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of `log_losses`."""
    losses = log_losses(labels, probabilities)
    return float(losses.mean()) if len(losses) else float("nan")


def normalized_entropy(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Log loss over that of the constant mean CTR (He et al., ADKDD 2014): below 1 = better than the mean.

    NaN where all labels are alike.
    """
    clicked = np.asarray(labels) != 0
    ctr = clicked.mean() if len(clicked) else 0.0
    if ctr in (0.0, 1.0):
        return float("nan")
    return log_loss(clicked, probabilities) / log_loss(clicked, np.full(len(clicked), ctr))


def calibration_ratio(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean predicted over observed CTR: 1 is calibrated, above 1 over-predicts. NaN where nothing was clicked."""
    clicks = np.count_nonzero(np.asarray(labels))
    return float(np.asarray(probabilities, np.float64).sum() / clicks) if clicks else float("nan")


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: Σ_b (rows_b / rows) · |mean prediction_b − CTR_b| over bins of equal mass.

    Equal predictions share a bin (the one of their lowest rank), so the value does not depend on row order.
    """
    p = np.asarray(probabilities, np.float64)
    if not len(p) or np.isnan(p).any():
        return float("nan")
    bin_of_row = np.searchsorted(np.sort(p), p, "left") * bins // len(p)
    gap = np.bincount(bin_of_row, p - (np.asarray(labels) != 0), bins)
    return float(np.abs(gap).sum() / len(p))
