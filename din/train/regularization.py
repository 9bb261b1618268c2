"""What shrinks the rows of the embedding table, and how much, by row (`train.regularizer`)."""

import numpy as np
import torch
from torch import Tensor

from din.eventlog.reader import Features
from din.params import Train
from din.schema import UNKNOWN


def row_decay(features: Features, params: Train) -> Tensor:
    """λ_j [R] by row of the joint table: λ/n_j (Eq. 6), λ, or 0.

    n_j >= 1 counts training impressions that hold value j, and those whose value `unknown_rate` drops to unknown.
    """
    rows = sum(features.rows.values())
    if params.regularizer in ("none", "dropout"):
        return torch.zeros(rows)
    if params.regularizer in ("l2_batch", "l2_full"):
        return torch.full((rows,), params.regularization)
    seen = []
    for field in features.fields:
        impressions = features.vocabulary(field.name)["impressions"].to_numpy().astype(float)
        impressions[UNKNOWN] += params.unknown_rate * features.manifest["impressions"]
        seen.append(impressions)
    return torch.from_numpy(params.regularization / np.maximum(np.concatenate(seen), 1)).float()
