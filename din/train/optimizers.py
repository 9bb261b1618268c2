"""Updates of the embedding table: only the rows of the batch, so a step is flat in vocabulary size.

Mini-batch aware regularisation (Eq. 6–7 of arXiv 1706.06978): a row in the batch shrinks by η·λ/n_j, once per step,
n_j the training impressions that hold value j. Under SGD that is Eq. 7 to the letter. Adaptive optimizers divide the
gradient by its own size, so there it matters where the penalty is: `coupled` (the default of `train.learning.penalty`,
see docs/adr/0009-coupled-penalty.md) adds it to the gradient, else it shrinks the row beside the step.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from din.ops.row_update import RowUpdate, adam, rowwise_adagrad, sgd
from din.ops.rows import take_rows
from din.params import LearningParams


class TableOptimizer(ABC):
    """Owns the optimizer's state beside a table [R, W]; `din.ops.row_update` has the equations.

    Args:
        table: updated in place.
        decay: [R], λ_j per row; zeros for no regularisation.
        coupled: the penalty is part of the gradient.
        whole_table: every step updates all rows, those not in the batch with a gradient of 0: L2 as libraries with
            dense tables have it. Costs time and memory of the whole table, every step.
        linear: how many leading columns are linear weights beside embeddings: no penalty touches them.
        linear_rate: a factor on their learning rate.
    """

    def __init__(
        self,
        table: Tensor,
        decay: Tensor,
        coupled: bool = False,
        whole_table: bool = False,
        linear: int = 0,
        linear_rate: float = 1.0,
    ) -> None:
        self.table, self.decay, self.coupled, self.whole_table = table, decay, coupled, whole_table
        self.penalised, self.pace = table.new_ones(2, table.shape[1])
        self.penalised[:linear], self.pace[:linear] = 0, linear_rate
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Make the state."""

    def rows(self, rows: Tensor) -> Tensor:
        """A copy of rows [N] of the table, [N, W]."""
        return take_rows(self.table, rows)

    def step(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Update distinct rows [N] from the gradient of the mean loss [N, W] at learning rate η."""
        if self.whole_table:
            gradient = torch.zeros_like(self.table).index_copy_(0, rows, gradient)
            rows = torch.arange(len(self.table), device=self.table.device)
        self.update(RowUpdate(self.table, rows, gradient, rate, self.decay, self.coupled, self.penalised, self.pace))

    @abstractmethod
    def update(self, update: RowUpdate) -> None:
        """Update rows and state."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors to checkpoint; loading copies into them."""


class TableSGD(TableOptimizer):
    """Plain SGD."""

    def start(self) -> None:
        pass

    def update(self, update: RowUpdate) -> None:
        sgd(update)

    def state(self) -> dict[str, Tensor]:
        return {}


class TableAdam(TableOptimizer):
    """Lazy Adam, as torch.optim.SparseAdam."""

    def start(self) -> None:
        self.steps = torch.zeros(1, dtype=torch.int64)
        self.first, self.second = torch.zeros_like(self.table), torch.zeros_like(self.table)

    def update(self, update: RowUpdate) -> None:
        self.steps += 1
        adam(update, self.first, self.second, int(self.steps))

    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps, "first": self.first, "second": self.second}


class TableRowwiseAdagrad(TableOptimizer):
    """Adagrad with one accumulator per row: 1/W of the state, and none of Adam's moments to keep."""

    def start(self) -> None:
        self.squares = self.table.new_zeros(len(self.table))

    def update(self, update: RowUpdate) -> None:
        rowwise_adagrad(update, self.squares)

    def state(self) -> dict[str, Tensor]:
        return {"squares": self.squares}


TABLE_OPTIMIZERS: dict[str, type[TableOptimizer]] = {
    "adam": TableAdam,
    "sgd": TableSGD,
    "rowwise_adagrad": TableRowwiseAdagrad,
}


def table_optimizer(params: LearningParams, table: Tensor, decay: Tensor, linear: int) -> TableOptimizer:
    """The optimizer of the embedding table, whose first `linear` columns are linear weights."""
    if linear == table.shape[1]:  # LR: there is nothing else to penalise
        linear = 0
    return TABLE_OPTIMIZERS[params.optimizer](
        table,
        decay,
        coupled=params.penalty == "coupled",
        whole_table=params.regularizer == "l2_full",
        linear=linear,
        linear_rate=params.linear_rate,
    )


def learning_rate(params: LearningParams, epoch: int, step: int) -> float:
    """η of the step with this number over all epochs: × `decay` after every epoch, or every `decay_steps` steps."""
    return params.learning_rate * params.decay ** (step // params.decay_steps if params.decay_steps else epoch)
