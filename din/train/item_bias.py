"""Initialise the item bias with the logit of each item's smoothed CTR in training, less the logit of the mean CTR.

    b_j = logit((c_j + K·p) / (n_j + K)) − logit(p)

    n_j, c_j  training impressions of item id j, and the clicks on them
    N, p      all training impressions, and their CTR
    J         item ids with training impressions
    K         1/ρ − 1, the number of pseudo-impressions at the mean CTR that each id is given
    ρ         the share of a label's variance that is between ids

    ρ = (Σ n_j·(c_j/n_j − p)² / (p·(1 − p)) − (J − 1)) / (N − Σ n_j²/N − (J − 1))

The less the ids differ, the larger K is. If they differ by no more than chance, all start at 0. An id without training
impressions, such as a late id, also starts at 0. Items without an id of their own share the start of the unknown id.
Counting reads three columns of the training rows, once.

Reference: ρ is the moment estimator of Kleinman, JASA 68 (1973), with weights n_j.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from din.features.packing import TableLayout
from din.features.reader import Features
from din.schema import ITEM_ID

_MOST = 0.5  # the largest ρ: each id is given at least one pseudo-impression, so that no CTR is 0 or 1


def start_at_ctr(features: Features, layout: TableLayout, table_RW: Tensor) -> None:
    """Set the item bias of each item id, which is in column 0 of the embedding table."""
    start = layout.offsets[ITEM_ID]
    bias = torch.from_numpy(biases(features).astype(np.float32))
    table_RW[start : start + len(bias), 0] = bias


def biases(features: Features) -> NDArray[np.float64]:
    """Return the initial item bias by id, [ids]."""
    counts = features.training_counts()
    ids = features.items[ITEM_ID].values
    rows = features.rows[ITEM_ID]
    shown = np.bincount(ids, counts.impressions, rows)
    clicks = np.bincount(ids, counts.clicks, rows)
    between = share_between(shown, clicks)
    if between <= 0:
        return np.zeros(rows)
    prior = 1 / between - 1
    mean = clicks.sum() / shown.sum()
    return _logit((clicks + prior * mean) / (shown + prior)) - _logit(mean)


def share_between(shown: NDArray[Any], clicks: NDArray[Any]) -> float:
    """Estimate ρ, from 0 to 1/2. It is 0 if the ids' CTRs vary by no more than chance, or if rows are too few.

    Args:
        shown: n_j, [ids].
        clicks: c_j, [ids].
    """
    seen = shown > 0
    n, c = shown[seen], clicks[seen]
    total = n.sum()
    mean = c.sum() / max(total, 1)
    freedom = len(n) - 1
    scale = total - (n**2).sum() / max(total, 1) - freedom
    if not 0 < mean < 1 or scale <= 0:
        return 0.0
    spread = (n * (c / n - mean) ** 2).sum() / (mean * (1 - mean))
    return float(np.clip((spread - freedom) / scale, 0, _MOST))


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(p) - np.log1p(-p)
