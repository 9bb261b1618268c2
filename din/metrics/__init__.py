"""Metrics of click models on numpy columns, without torch.

`summary` is the block of evaluation.json for one split. `slices` also reads the feature shards.
"""

from din.metrics.calibration import calibration_ratio, ece, log_loss, normalized_entropy
from din.metrics.drift import population_stability_index
from din.metrics.ranking import Gauc, auc, gauc, relative_improvement
from din.metrics.summary import summary

__all__ = [
    "Gauc",
    "auc",
    "calibration_ratio",
    "ece",
    "gauc",
    "log_loss",
    "normalized_entropy",
    "population_stability_index",
    "relative_improvement",
    "summary",
]
