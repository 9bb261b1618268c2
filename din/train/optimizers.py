"""Updates of the embedding table. They touch only the rows of the batch, so a step is as fast in a large table.

Mini-batch aware regularisation (Eq. 6–7 of arXiv 1706.06978): a row in the batch shrinks by η·λ/n_j, once per step. n_j
is the number of training impressions that hold value j. Under SGD that is exactly Eq. 7. Adaptive optimizers divide the
gradient by its own size, so the place of the penalty matters. `coupled`, the default of `train.learning.penalty`, adds
it to the gradient (see docs/adr/0009-coupled-penalty.md). `decoupled` shrinks the row beside the step.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from din.ops.row_update import RowUpdate, adam, rowwise_adagrad, sgd
from din.ops.rows import take_rows
from din.params import LearningParams


class TableOptimizer(ABC):
    """An optimizer of a table [R, W], with its state. `din.ops.row_update` has the equations.

    Args:
        table: [R, W], updated in place.
        decay: [R], λ_j of each row, 0 for no regularisation.
        coupled: the penalty is part of the gradient.
        whole_table: every step updates all rows, with a gradient of 0 for rows outside the batch. This is L2 as
            libraries with dense tables have it. Each step takes time and memory for the whole table.
        linear: the first `linear` columns are linear weights, which no penalty shrinks.
        linear_rate: a factor on the learning rate of these columns.
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
        self.table = table
        self.decay = decay
        self.coupled = coupled
        self.whole_table = whole_table
        self.penalised = table.new_ones(table.shape[1])
        self.penalised[:linear] = 0
        self.pace = table.new_ones(table.shape[1])
        self.pace[:linear] = linear_rate
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Create the state of an optimizer that has made no step."""

    def rows(self, rows: Tensor) -> Tensor:
        """Return a copy of rows [N] of the table, [N, W]."""
        return take_rows(self.table, rows)

    def step(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Update distinct rows [N] from the gradient of the mean loss [N, W], at learning rate η."""
        if self.whole_table:
            gradient = torch.zeros_like(self.table).index_copy_(0, rows, gradient)
            rows = torch.arange(len(self.table), device=self.table.device)
        self.update(RowUpdate(self.table, rows, gradient, rate, self.decay, self.coupled, self.penalised, self.pace))

    @abstractmethod
    def update(self, update: RowUpdate) -> None:
        """Update the rows and the state."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save in a checkpoint. Loading a checkpoint copies into them.

        A tensor without dimensions is about the whole table. Any other has one entry, or one row, for each row.
        """


class TableSGD(TableOptimizer):
    """Plain SGD."""

    @override
    def start(self) -> None:
        pass

    @override
    def update(self, update: RowUpdate) -> None:
        sgd(update)

    @override
    def state(self) -> dict[str, Tensor]:
        return {}


class TableAdam(TableOptimizer):
    """Lazy Adam, like torch.optim.SparseAdam."""

    @override
    def start(self) -> None:
        self.steps = torch.zeros((), dtype=torch.int64)
        self.first = torch.zeros_like(self.table)
        self.second = torch.zeros_like(self.table)

    @override
    def update(self, update: RowUpdate) -> None:
        self.steps += 1
        adam(update, self.first, self.second, int(self.steps))

    @override
    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps, "first": self.first, "second": self.second}


class TableRowwiseAdagrad(TableOptimizer):
    """Adagrad with one accumulator per row, which is 1/W of its usual state."""

    @override
    def start(self) -> None:
        self.squares = self.table.new_zeros(len(self.table))

    @override
    def update(self, update: RowUpdate) -> None:
        rowwise_adagrad(update, self.squares)

    @override
    def state(self) -> dict[str, Tensor]:
        return {"squares": self.squares}


TABLE_OPTIMIZERS: dict[str, type[TableOptimizer]] = {
    "adam": TableAdam,
    "sgd": TableSGD,
    "rowwise_adagrad": TableRowwiseAdagrad,
}


def table_optimizer(params: LearningParams, table: Tensor, decay: Tensor, linear: int) -> TableOptimizer:
    """Return the optimizer of an embedding table [R, W], whose first `linear` columns are linear weights.

    Args:
        decay: [R], λ_j of each row.
    """
    if linear == table.shape[1]:  # LR has no other columns, so here the penalty applies to these
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
    """Return η, which is multiplied by `decay` after every epoch, or every `decay_steps` steps.

    Args:
        step: number of the step over all epochs, from 0.
    """
    decays = step // params.decay_steps if params.decay_steps else epoch
    return params.learning_rate * params.decay**decays
