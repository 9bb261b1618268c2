"""Updates of the embedding table: only the rows of the batch, so a step is flat in vocabulary size.

Mini-batch aware regularisation (Eq. 6–7 of arXiv 1706.06978): a row in the batch shrinks by η·λ/n_j, once per step,
n_j the training impressions that hold value j. Under SGD that is Eq. 7 to the letter; under Adam the penalty is
decoupled, since the adaptive scale would cancel λ.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class TableOptimizer(ABC):
    """Owns the optimizer's state beside a table [R, W].

    Args:
        table: updated in place.
        decay: [R], λ/n_j per row; zeros for no regularisation.
    """

    def __init__(self, table: Tensor, decay: Tensor) -> None:
        self.table, self.decay = table, decay

    def step(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Update distinct rows [N] from the gradient of the mean loss [N, W] at learning rate η."""
        values = self.table.index_select(0, rows)
        values.mul_(1 - rate * self.decay.index_select(0, rows).unsqueeze(1))
        self.table.index_copy_(0, rows, values.sub_(self.direction(rows, gradient), alpha=rate))

    @abstractmethod
    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        """What to subtract per unit of learning rate, [N, W]; updates the state."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors to checkpoint; loading copies into them."""


class TableSGD(TableOptimizer):
    """Plain SGD."""

    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        return gradient

    def state(self) -> dict[str, Tensor]:
        return {}


class TableAdam(TableOptimizer):
    """Lazy Adam, as torch.optim.SparseAdam: only rows in the batch move; bias correction by global step."""

    def __init__(self, table: Tensor, decay: Tensor) -> None:
        super().__init__(table, decay)
        self.steps = torch.zeros(1, dtype=torch.int64)
        self.first, self.second = torch.zeros_like(table), torch.zeros_like(table)

    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        self.steps += 1
        steps = int(self.steps)
        first = self.first.index_select(0, rows).lerp_(gradient, 1 - BETA_1)
        second = self.second.index_select(0, rows).mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        self.first.index_copy_(0, rows, first)
        self.second.index_copy_(0, rows, second)
        scale = (1 - BETA_2**steps) ** 0.5
        return first.mul_(scale / (1 - BETA_1**steps)).div_(second.sqrt_().add_(EPSILON * scale))

    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps, "first": self.first, "second": self.second}


TABLE_OPTIMIZERS: dict[str, type[TableOptimizer]] = {"adam": TableAdam, "sgd": TableSGD}


def dense_optimizer(name: str, parameters: list[torch.nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """The optimizer of the dense weights; no weight decay there, as in the paper."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=(BETA_1, BETA_2), eps=EPSILON)
    return torch.optim.SGD(parameters, lr=rate)
