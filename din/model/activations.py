"""Activations by name: Dice and the ordinary ones."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from din.ops.dice import Dice


class BipolarSigmoid(nn.Module):
    """2/(1 + e^−x) − 1, which is tanh(x/2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations of x, which may have any shape."""
        return torch.tanh(x / 2)


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "dice": Dice,
    "prelu": nn.PReLU,
    "relu": lambda units: nn.ReLU(),
    "sigmoid": lambda units: nn.Sigmoid(),
    "bipolar_sigmoid": lambda units: BipolarSigmoid(),
}
