"""The penalty on each row of the embedding table (`train.learning.regularizer`)."""

import numpy as np
import torch
from torch import Tensor

from din.features.reader import Features
from din.field_forms import UNKNOWN
from din.params import LearningParams
from din.schema import ITEM_ID, Group


def row_decay(features: Features, params: LearningParams) -> Tensor:
    """Return λ_j for each row of the joint table, [R]: λ/n_j (Eq. 6 of arXiv 1706.06978), λ, or 0.

    n_j is the number of training impressions that hold value j, at least 1. For the unknown value, it includes the
    impressions that are expected to hold it because `unknown_rate` replaces one of their values.
    """
    rows = sum(features.rows.values())
    if params.regularizer in ("none", "dropout"):
        return torch.zeros(rows)
    if params.regularizer in ("l2_batch", "l2_full"):
        return torch.full((rows,), params.regularization)
    seen = []
    for field in features.fields:
        impressions = features.vocabulary(field.name)["impressions"].to_numpy().astype(float)
        kept = (1 - params.unknown_rate) ** _draws(features, field.group)
        impressions[UNKNOWN] += (1 - kept) * features.manifest.impressions
        seen.append(impressions)
    return torch.from_numpy(params.regularization / np.maximum(np.concatenate(seen), 1)).float()


def _draws(features: Features, group: Group) -> float:
    """Return how many values of a field an average training impression has. `unknown_rate` may replace each of them."""
    if group in (Group.USER, Group.CONTEXT):
        return 1
    vocabulary = features.vocabulary(ITEM_ID)
    of_training = vocabulary.filter(vocabulary["known_since"].is_null())
    distinct = of_training["impressions"].to_numpy().sum() / features.manifest.impressions
    return distinct if group is Group.ITEM else distinct - 1  # without the candidate, behaviours are left
