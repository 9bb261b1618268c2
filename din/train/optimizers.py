"""Updates of the embedding table. A step touches only the rows of the batch, except under `l2_full`.

Mini-batch aware regularisation (Eq. 6 of arXiv 1706.06978) divides the penalty λ by n_j, the number of training
impressions that hold value j. Under SGD (Eq. 7), a row in the batch shrinks by the factor 1 − η·λ/n_j, once per step.
Adaptive optimizers divide the gradient by its own size, so the place of the penalty matters. `coupled`, the default of
`train.learning.penalty`, adds it to the gradient (see docs/adr/0009-coupled-penalty.md). `decoupled` shrinks the row
separately from the optimizer's step.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from din.features.reader import Features
from din.kinds import UNKNOWN
from din.ops.row_update import RowUpdate, adam, sgd
from din.params.train import LearningParams
from din.schema import ITEM_ID, Group
from din.train.compute import in_large_pages

_STATES: dict[str, Callable[[Tensor], dict[str, Tensor]]] = {
    "sgd": lambda table: {},
    "adam": lambda table: {
        "steps": torch.zeros((), dtype=torch.int64),
        "first": in_large_pages(torch.zeros_like(table)),
        "second": in_large_pages(torch.zeros_like(table)),
    },
}
"""The initial state of each optimizer, by name."""


class TableOptimizer:
    """An optimizer of a table [R, W], which it updates in place. `din.ops.row_update` has the equations.

    Under `l2_full` every step updates all rows, with a gradient of 0 for rows outside the batch. This is L2 as in
    libraries with dense tables. Each step takes time and memory for the whole table.

    Args:
        params: the optimizer, and its penalty.
        table: [R, W].
        decay: [R], λ_j of each row, 0 for no regularisation.
        linear: the first `linear` columns are linear weights, which no penalty shrinks. If all columns are linear, as
            in LR, they are treated like any others.

    Attributes:
        state: the tensors to save in a checkpoint. Loading a checkpoint copies into them. A tensor without dimensions
            is about the whole table. Any other has one entry, or one row, for each row.
    """

    def __init__(self, params: LearningParams, table: Tensor, decay: Tensor, linear: int) -> None:
        if linear == table.shape[1]:
            linear = 0
        self.table = table
        self.state = _STATES[params.optimizer](table)
        self.coupled = params.penalty == "coupled"
        self.whole_table = params.regularizer == "l2_full"
        self.penalised = table.new_ones(table.shape[1])
        self.penalised[:linear] = 0
        self._name = params.optimizer
        self._decay = decay

    def step(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Update distinct rows [N] from the gradient of the mean loss [N, W], at learning rate `rate`."""
        if self.whole_table:
            gradient = torch.zeros_like(self.table).index_copy_(0, rows, gradient)
            rows = torch.arange(len(self.table), device=self.table.device)
        update = RowUpdate(self.table, rows, gradient, rate, self._decay, self.coupled, self.penalised)
        if self._name == "adam":
            self.state["steps"] += 1
            adam(update, self.state["first"], self.state["second"], int(self.state["steps"]))
        else:
            sgd(update)


def row_decay(features: Features, params: LearningParams) -> Tensor:
    """Return λ_j for each row of the joint table, [R]: λ/n_j (Eq. 6 of arXiv 1706.06978), λ, or 0.

    n_j is the number of training impressions that hold value j, at least 1. For the unknown value, it includes the
    impressions that are expected to hold it because `unknown_rate` replaces one of their values. It replaces no number.
    """
    rows = sum(features.rows.values())
    if params.regularizer in ("none", "dropout"):
        return torch.zeros(rows)
    if params.regularizer in ("l2_batch", "l2_full"):
        return torch.full((rows,), params.regularization)
    seen = []
    for field in features.fields:
        impressions = features.vocabulary(field.name)["impressions"].to_numpy().astype(float)
        if field.form.replaced:
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
    return distinct if group is Group.ITEM else distinct - 1  # the items of behaviours, without the candidate
