"""Activations: Dice (Eq. 9 of arXiv 1706.06978) and the ordinary ones, by name."""

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


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "dice": Dice,
    "prelu": nn.PReLU,
    "relu": lambda units: nn.ReLU(),
    "sigmoid": lambda units: nn.Sigmoid(),
}


def multilayer_perceptron(inputs: int, hidden: tuple[int, ...], activation: str) -> nn.Sequential:
    """Linear and activation per hidden layer, then one linear output: [N, inputs] to [N, 1]."""
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units), ACTIVATIONS[activation](units)]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
