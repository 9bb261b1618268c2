"""Activations: Dice (Eq. 9 of arXiv 1706.06978) and the ordinary ones, by name."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

EPSILON = 1e-8
MOMENTUM = 0.05


class Dice(nn.Module):
    """f(s) = p·s + (1 − p)·α·s with p = σ((s − E[s]) / √(Var[s] + ε)), per unit; α learned, from 0.

    Training uses the statistics of the rows it is given (real behaviours only: batches are packed) and keeps moving
    averages; evaluation uses those, so no row sees another. No rows: the averages stay.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(units))
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("variance", torch.ones(units))

    def forward(self, s: Tensor) -> Tensor:
        """[..., units] to the same shape; statistics over all but the last axis."""
        if self.training and s.shape[0] > 0:
            variance, mean = torch.var_mean(s, dim=0, correction=0)
            with torch.no_grad():
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance, MOMENTUM)
        else:
            mean, variance = self.mean, self.variance
        p = torch.sigmoid((s - mean) * torch.rsqrt(variance + EPSILON))
        return s * (self.alpha + (1 - self.alpha) * p)


class BipolarSigmoid(nn.Module):
    """2/(1 + e^−x) − 1, which is tanh(x/2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / 2)


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "dice": Dice,
    "prelu": nn.PReLU,
    "relu": lambda units: nn.ReLU(),
    "sigmoid": lambda units: nn.Sigmoid(),
    "bipolar_sigmoid": lambda units: BipolarSigmoid(),
}


def multilayer_perceptron(inputs: int, hidden: tuple[int, ...], activation: str, dropout: float = 0.0) -> nn.Sequential:
    """Linear and activation per hidden layer, then one linear output: [N, inputs] to [N, 1].

    Args:
        dropout: share of the inputs and of every hidden layer that a training step sets to 0 (the rest is scaled up).
    """
    # Dropouts have names of their own, so that weights keep theirs whatever the rate.
    layers: dict[str, nn.Module] = {"dropout": nn.Dropout(dropout)} if dropout else {}
    for number, units in enumerate(hidden):
        layers[f"{2 * number}"] = nn.Linear(inputs, units)
        layers[f"{2 * number + 1}"] = ACTIVATIONS[activation](units)
        if dropout:
            layers[f"dropout_{number}"] = nn.Dropout(dropout)
        inputs = units
    layers[f"{2 * len(hidden)}"] = nn.Linear(inputs, 1)
    return nn.Sequential(OrderedDict(layers))
