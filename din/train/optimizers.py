"""Updates of the embedding table: only the rows of the batch, so a step is flat in vocabulary size.

Mini-batch aware regularisation (Eq. 6–7 of arXiv 1706.06978): a row in the batch shrinks by η·λ/n_j, once per step,
n_j the training impressions that hold value j. Under SGD that is Eq. 7 to the letter. Adaptive optimizers divide the
gradient by its own size, so there it matters where the penalty is: `coupled` (the default of `train.penalty`, see
docs/adr/0009-coupled-penalty.md) adds it to the gradient, else it shrinks the row beside the step.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from din.native.library import Kernels
from din.params import Train

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class TableOptimizer(ABC):
    """Owns the optimizer's state beside a table [R, W]. With `kernels` a step is one pass over the rows.

    Args:
        table: updated in place.
        decay: [R], λ_j per row; zeros for no regularisation.
        coupled: the penalty is part of the gradient.
        whole_table: every step updates all rows, those not in the batch with a gradient of 0: L2 as libraries with
            dense tables have it. Costs time and memory of the whole table, every step.
        linear: how many leading columns are linear weights beside embeddings: no penalty touches them.
        linear_rate: their learning rate is so many times η.
    """

    kernels: Kernels | None = None

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
        if not self.kernels:
            return self.table.index_select(0, rows)
        found = self.table.new_empty(len(rows), width := self.table.shape[1])
        self.kernels("table_take", torch.get_num_threads(), *found.shape, rows, self.table, 0, width, found, width)
        return found

    def step(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Update distinct rows [N] from the gradient of the mean loss [N, W] at learning rate η."""
        if self.whole_table:
            gradient = torch.zeros_like(self.table).index_copy_(0, rows, gradient)
            rows = torch.arange(len(self.table), device=self.table.device)
        if self.kernels:
            name, *own = self.native()
            sizes = (torch.get_num_threads(), *gradient.shape)
            columns = (self.penalised, self.pace)
            shared = (rows, gradient.contiguous(), self.decay, int(self.coupled), *columns, rate, self.table)
            self.kernels(name, *sizes, *shared, *own)
            return
        values = self.table.index_select(0, rows)
        decay = self.decay.index_select(0, rows).unsqueeze(1) * self.penalised
        if self.coupled:
            gradient = gradient + decay * values
        else:
            values.mul_(1 - (rate * decay).clamp_max(1))
        self.table.index_copy_(0, rows, values.sub_(self.direction(rows, gradient) * self.pace, alpha=rate))

    @abstractmethod
    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        """What to subtract per unit of learning rate, [N, W]; updates the state."""

    @abstractmethod
    def native(self) -> tuple[Any, ...]:
        """The kernel of a step and its own arguments, beside those that all have."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors to checkpoint; loading copies into them."""


class TableSGD(TableOptimizer):
    """Plain SGD."""

    def start(self) -> None:
        pass

    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        return gradient

    def native(self) -> tuple[Any, ...]:
        return ("table_sgd",)

    def state(self) -> dict[str, Tensor]:
        return {}


class TableAdam(TableOptimizer):
    """Lazy Adam, as torch.optim.SparseAdam: only rows in the batch move; bias correction by global step."""

    def start(self) -> None:
        self.steps = torch.zeros(1, dtype=torch.int64)
        self.first, self.second = torch.zeros_like(self.table), torch.zeros_like(self.table)

    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        correction, epsilon = self._next()
        first = self.first.index_select(0, rows).lerp_(gradient, 1 - BETA_1)
        second = self.second.index_select(0, rows).mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        self.first.index_copy_(0, rows, first)
        self.second.index_copy_(0, rows, second)
        return first.mul_(correction).div_(second.sqrt_().add_(epsilon))

    def native(self) -> tuple[Any, ...]:
        return "table_adam", self.first, self.second, 1 - BETA_1, BETA_2, 1 - BETA_2, *self._next()

    def _next(self) -> tuple[float, float]:
        """Count a step: its bias correction, and ε in its measure."""
        self.steps += 1
        steps = int(self.steps)
        scale = (1 - BETA_2**steps) ** 0.5
        return scale / (1 - BETA_1**steps), EPSILON * scale

    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps, "first": self.first, "second": self.second}


class TableRowwiseAdagrad(TableOptimizer):
    """Adagrad with one accumulator per row, the mean of its squared gradients: 1/W of the state, and none of Adam's
    moments to keep."""

    def start(self) -> None:
        self.squares = self.table.new_zeros(len(self.table))

    def direction(self, rows: Tensor, gradient: Tensor) -> Tensor:
        squares = self.squares.index_select(0, rows).add_(gradient.square().mean(1))
        self.squares.index_copy_(0, rows, squares)
        return gradient / squares.sqrt_().add_(EPSILON).unsqueeze(1)

    def native(self) -> tuple[Any, ...]:
        return "table_adagrad", self.squares, EPSILON

    def state(self) -> dict[str, Tensor]:
        return {"squares": self.squares}


TABLE_OPTIMIZERS: dict[str, type[TableOptimizer]] = {
    "adam": TableAdam,
    "sgd": TableSGD,
    "rowwise_adagrad": TableRowwiseAdagrad,
}


def table_optimizer(
    params: Train, table: Tensor, decay: Tensor, linear: int, kernels: Kernels | None = None
) -> TableOptimizer:
    """The optimizer of the embedding table, whose first `linear` columns are linear weights."""
    settings = (params.penalty == "coupled", params.regularizer == "l2_full")
    if linear == table.shape[1]:  # LR: there is nothing else to penalise
        linear = 0
    optimizer = TABLE_OPTIMIZERS[params.optimizer](table, decay, *settings, linear, params.linear_rate)
    optimizer.kernels = kernels
    return optimizer


class DenseOptimizer:
    """torch's own optimizer of the dense weights; no weight decay there, as in the paper."""

    def __init__(self, name: str, parameters: list[torch.nn.Parameter]) -> None:
        if name == "adam":
            self._optimizer = torch.optim.Adam(parameters, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True)
        elif name == "rowwise_adagrad":
            self._optimizer = torch.optim.Adagrad(parameters, eps=EPSILON)
        else:
            self._optimizer = torch.optim.SGD(parameters)

    def step(self, rate: float) -> None:
        """Update from the parameters' gradients at learning rate η."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Tensors to checkpoint."""
        states = self._optimizer.state_dict()["state"]
        return {f"{number}.{key}": value for number, state in states.items() for key, value in state.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a `state()`."""
        whole = self._optimizer.state_dict()
        for name, tensor in tensors.items():
            number, key = name.split(".")
            whole["state"].setdefault(int(number), {})[key] = tensor
        self._optimizer.load_state_dict(whole)


class FlatOptimizer(DenseOptimizer):
    """The same through a kernel: all dense weights are one row of a table, in whose memory the parameters then lie."""

    def __init__(self, name: str, parameters: list[torch.nn.Parameter], kernels: Kernels) -> None:
        row = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self._parameters, self._row = parameters, torch.zeros(1, dtype=torch.int64)
        parts = row.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.data = part.view_as(parameter)
        self._table = TABLE_OPTIMIZERS[name](row.unsqueeze(0), row.new_zeros(1))
        self._table.kernels = kernels

    def step(self, rate: float) -> None:
        gradients = []
        for parameter in self._parameters:
            assert parameter.grad is not None  # those behind it would move to its place
            gradients.append(parameter.grad.flatten())
        self._table.step(self._row, torch.cat(gradients).unsqueeze(0), rate)

    def state(self) -> dict[str, Tensor]:
        return self._table.state()

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in self._table.state().items():
            tensor.copy_(tensors[name])


def dense_optimizer(name: str, parameters: list[torch.nn.Parameter], kernels: Kernels | None) -> DenseOptimizer:
    """The optimizer of the dense weights; Adagrad, one accumulator for each weight, has no kernel."""
    if kernels and name != "rowwise_adagrad":
        return FlatOptimizer(name, parameters, kernels)
    return DenseOptimizer(name, parameters)


def learning_rate(params: Train, epoch: int, step: int) -> float:
    """η of the step with this number over all epochs: × `decay` after every epoch, or every `decay_steps` steps."""
    return params.learning_rate * params.decay ** (step // params.decay_steps if params.decay_steps else epoch)
