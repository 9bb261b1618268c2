"""Updates of the dense weights by `adam` or `sgd`, without weight decay, as in the paper.

The reference is torch's own optimizer. The native form copies all weights into one row of a table [1, W] and makes the
parameters views of it, so that `row_update.py` can update them in one pass. It supports float32 on the CPU.

Both forms save the same tensors, so a run can continue from a state that the other form saved.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from din.ops.row_update import BETA_1, BETA_2, EPSILON, RowUpdate, adam, sgd
from din.ops.table_rows import library_for


def dense_optimizer(name: str, parameters: Sequence[nn.Parameter]) -> "_Torch | _Flat":
    """Return the optimizer `name` for `parameters`.

    `step(rate)` updates all parameters from their gradients at learning rate `rate`. `state()` returns the tensors to
    checkpoint, named `<number of the parameter>.<name in torch's optimizer>`, and `load_state` continues from them.
    """
    if all(library_for(parameter) for parameter in parameters):
        return _Flat(name, parameters)
    return _Torch(name, parameters)


_OPTIMIZERS: dict[str, Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True),
    "sgd": torch.optim.SGD,
}
"""Makers of torch's optimizers, by name."""


class _Torch:
    def __init__(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        self._optimizer = _OPTIMIZERS[name](parameters)

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
            whole["state"].setdefault(int(number), {})[key] = tensor.clone()
        self._optimizer.load_state_dict(whole)


class _Flat:
    """All W weights as one row of a table [1, W], of which the parameters become views."""

    def __init__(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self._parameters = parameters
        self._table = flat.unsqueeze(0)
        for parameter, part in zip(parameters, self._parts(self._table), strict=True):
            parameter.data = part
        self._row = torch.zeros(1, dtype=torch.int64)
        self._no_decay = flat.new_zeros(1)
        self._ones = torch.ones_like(flat)
        self._steps = 0
        self._moments: dict[str, Tensor] = {}
        if name == "adam":
            self._moments = {name: torch.zeros_like(self._table) for name in ("exp_avg", "exp_avg_sq")}

    def step(self, rate: float) -> None:
        gradients = []
        for parameter in self._parameters:
            assert parameter.grad is not None  # without it, later gradients would update the wrong weights
            gradients.append(parameter.grad.flatten())
        update = RowUpdate(
            table_RW=self._table,
            rows_N=self._row,
            gradient_NW=torch.cat(gradients).unsqueeze(0),
            rate=rate,
            decay_R=self._no_decay,
            coupled=False,
            penalised_W=self._ones,
        )
        if not self._moments:
            sgd(update)
            return
        self._steps += 1
        adam(update, self._moments["exp_avg"], self._moments["exp_avg_sq"], self._steps)

    def state(self) -> dict[str, Tensor]:
        tensors = {}
        for key, moment in self._moments.items():
            tensors |= {f"{number}.{key}": part for number, part in enumerate(self._parts(moment))}
        if self._moments:
            numbers = range(len(self._parameters))
            tensors |= {f"{number}.step": torch.tensor(float(self._steps)) for number in numbers}
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        for key, moment in self._moments.items():
            for number, part in enumerate(self._parts(moment)):
                part.copy_(tensors[f"{number}.{key}"])
        if self._moments:
            self._steps = int(tensors["0.step"])

    def _parts(self, row: Tensor) -> list[Tensor]:
        """Return views of a row [1, W] in the shapes of the parameters."""
        parts = row.squeeze(0).split([parameter.numel() for parameter in self._parameters])
        return [part.view_as(parameter) for parameter, part in zip(self._parameters, parts, strict=True)]
