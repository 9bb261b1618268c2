"""The metrics block of evaluation.json: one split, one set of probabilities."""

import math

import numpy as np
from numpy.typing import ArrayLike

from din.contracts.facts import Metrics
from din.metrics.calibration import calibration_ratio, ece, log_loss, normalized_entropy
from din.metrics.ranking import auc, gauc


def summary(labels: ArrayLike, probabilities: ArrayLike, users: ArrayLike) -> Metrics:
    """Return all metrics of one split; an undefined metric is None, never NaN.

    Args:
        labels: 0/1, shape [B].
        probabilities: shape [B].
        users: ids of any type, shape [B].
    """
    clicked = np.asarray(labels) != 0
    grouped = gauc(labels, probabilities, users)
    figures = {
        "ctr": float(clicked.mean()) if len(clicked) else float("nan"),
        "auc": auc(labels, probabilities),
        "gauc": grouped.value,
        "log_loss": log_loss(labels, probabilities),
        "normalized_entropy": normalized_entropy(labels, probabilities),
        "calibration_ratio": calibration_ratio(labels, probabilities),
        "ece": ece(labels, probabilities),
    }
    return Metrics(
        rows=len(clicked),
        users=grouped.users,
        one_class_users=grouped.one_class_users,
        **{name: float(value) if math.isfinite(value) else None for name, value in figures.items()},
    )
