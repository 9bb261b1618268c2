"""Activations: Dice (Eq. 9 of arXiv 1706.06978) and the ordinary ones, by name."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

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
            with torch.no_grad():
                mean = s.mean(0)
                z = s - mean
                variance = z.square().mean(0)
                scale = torch.rsqrt(variance + EPSILON)
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance, MOMENTUM)
            return _BatchDice.apply(s, self.alpha, z.mul_(scale), scale)
        p = (s - self.mean).mul_(torch.rsqrt(self.variance + EPSILON)).sigmoid_()
        return torch.addcmul(self.alpha, p, 1 - self.alpha).mul_(s)


class _BatchDice(torch.autograd.Function):
    """Dice by the statistics of its own rows s [N, units], given z = (s − E[s])·scale and scale = 1 / √(Var[s] + ε).

    The gradient of s holds what flows through the statistics. With h = g·s·p·(1 − p):

        g·(α + (1 − α)·p) + (1 − α)·scale·(h − E[h] − z·E[h·z])

    By hand, since every pass over [N, units] counts: autograd makes twice as many.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, alpha: Tensor, z: Tensor, scale: Tensor) -> Tensor:
        p = torch.sigmoid(z)
        ctx.save_for_backward(s, alpha, z, scale, p)
        return torch.addcmul(alpha, p, 1 - alpha).mul_(s)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        s, alpha, z, scale, p = ctx.saved_tensors
        (g,) = gradients
        by_gate = g * s
        h = torch.ops.aten.sigmoid_backward(by_gate, p)
        factor = (1 - alpha) * scale
        by_s = torch.addcmul(-h.mean(0) * factor, h, factor)
        by_s.addcmul_(z, -h.mul_(z).mean(0) * factor)
        by_s.addcmul_(g, torch.addcmul(alpha, p, 1 - alpha))
        by_alpha = by_gate.sum(0)
        return by_s, by_alpha.sub_(by_gate.mul_(p).sum(0)), None, None


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
