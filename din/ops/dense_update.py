"""Updates of the dense weights by `adam`, `sgd` or `rowwise_adagrad`, without weight decay, as in the paper.

The reference is torch's own optimizer. The native form lays all weights out as one row of a table, whose parts the
parameters become, and updates that row in one pass (`row_update.py`). It is for Adam and SGD on the CPU in float32;
Adagrad keeps one accumulator for each weight and has no native form.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from din.ops import backend
from din.ops.row_update import BETA_1, BETA_2, EPSILON, RowUpdate, adam, sgd


class DenseOptimizer(Protocol):
    """Updates parameters from their gradients."""

    def step(self, rate: float) -> None:
        """Update all parameters at learning rate η."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to checkpoint."""
        ...

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a `state()`."""
        ...


def dense_optimizer(name: str, parameters: Sequence[nn.Parameter]) -> DenseOptimizer:
    """Return the optimizer of these parameters by name.

    The form of its state depends on the backend, so one run keeps to one backend.
    """
    on_cpu = all(parameter.is_cpu and parameter.dtype == torch.float32 for parameter in parameters)
    if backend.library() and on_cpu and name != "rowwise_adagrad":
        return _Flat(name, parameters)
    return _Torch(name, parameters)


class _Torch:
    def __init__(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        if name == "adam":
            self._optimizer = torch.optim.Adam(parameters, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True)
        elif name == "rowwise_adagrad":
            self._optimizer = torch.optim.Adagrad(parameters, eps=EPSILON)
        else:
            self._optimizer = torch.optim.SGD(parameters)

    def step(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def state(self) -> dict[str, Tensor]:
        states = self._optimizer.state_dict()["state"]
        return {f"{number}.{key}": value for number, state in states.items() for key, value in state.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        whole = self._optimizer.state_dict()
        for name, tensor in tensors.items():
            number, key = name.split(".")
            whole["state"].setdefault(int(number), {})[key] = tensor
        self._optimizer.load_state_dict(whole)


class _Flat:
    """All weights as one row of a table [1, W]; the parameters become views of it."""

    def __init__(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.data = part.view_as(parameter)
        self._parameters, self._table = parameters, flat.unsqueeze(0)
        self._row, self._no_decay = torch.zeros(1, dtype=torch.int64), flat.new_zeros(1)
        self._ones = torch.ones_like(flat)
        self._state: dict[str, Tensor] = {}
        if name == "adam":
            moments = {name: torch.zeros_like(self._table) for name in ("first", "second")}
            self._state = {"steps": torch.zeros(1, dtype=torch.int64), **moments}

    def step(self, rate: float) -> None:
        gradients = []
        for parameter in self._parameters:
            assert parameter.grad is not None  # those behind it would move to its place
            gradients.append(parameter.grad.flatten())
        update = RowUpdate(
            table_RW=self._table,
            rows_N=self._row,
            gradient_NW=torch.cat(gradients).unsqueeze(0),
            rate=rate,
            decay_R=self._no_decay,
            coupled=False,
            penalised_W=self._ones,
            pace_W=self._ones,
        )
        if not self._state:
            sgd(update)
            return
        self._state["steps"] += 1
        adam(update, self._state["first"], self._state["second"], int(self._state["steps"]))

    def state(self) -> dict[str, Tensor]:
        return self._state

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in self._state.items():
            tensor.copy_(tensors[name])
