"""Dice (Eq. 9 of arXiv 1706.06978), the paper's activation.

    f(s) = p·s + (1 − p)·α·s,    p = σ((s − E[s]) / √(Var[s] + ε))

over N rows, separately for each of H hidden units. α is learned and starts at 0.

This is the reference. The native form (`perceptron.py`) fuses Dice with the linear layer after it. It reads and updates
the tensors of the module `Dice` below.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from din.ops.constants import EPSILON

MOMENTUM = 0.05  # weight of a batch in the moving averages

_weight: float = MOMENTUM


@contextmanager
def batches_weigh(weight: float) -> Iterator[None]:
    """Replace `MOMENTUM`, the weight of a batch in the moving averages, by another weight from 0 to 1 for a block."""
    global _weight
    earlier = _weight
    _weight = weight
    try:
        yield
    finally:
        _weight = earlier


def weight_of_batch() -> float:
    """Return the weight of a batch in the moving averages."""
    return _weight


class Dice(nn.Module):
    """Dice over N rows of H hidden units.

    Training uses the statistics of its rows and keeps moving averages. Batches are packed, so all rows are real
    behaviours. Evaluation uses the averages, so no row affects another. A batch without rows leaves the averages
    unchanged.

    Attributes:
        alpha: [H], learned.
        mean, variance: [H], the moving averages.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(units))
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("variance", torch.ones(units))

    def forward(self, s: Tensor) -> Tensor:
        """Return f(s) for s [N, H]; in evaluation for s of any shape [..., H]."""
        if self.training and s.shape[0] > 0:
            with torch.no_grad():
                mean = s.mean(0)
                z = s - mean
                variance = z.square().mean(0)
                scale = torch.rsqrt(variance + EPSILON)
                self.mean.lerp_(mean, _weight)
                self.variance.lerp_(variance, _weight)
            return _BatchDice.apply(s, self.alpha, z.mul_(scale), scale)
        p = (s - self.mean).mul_(torch.rsqrt(self.variance + EPSILON)).sigmoid_()
        return torch.addcmul(self.alpha, p, 1 - self.alpha).mul_(s)


class _BatchDice(torch.autograd.Function):
    """Dice with the statistics of its own rows s [N, H], given z = (s − E[s])·scale and scale = 1 / √(Var[s] + ε).

    The gradient of s includes the part that flows through the statistics. With g the gradient of f(s) and
    h = g·s·p·(1 − p):

        ds = g·(α + (1 − α)·p) + (1 − α)·scale·(h − E[h] − z·E[h·z])
        dα = Σ g·s·(1 − p)

    Written by hand because autograd would make twice as many passes over [N, H].
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, alpha: Tensor, z: Tensor, scale: Tensor) -> Tensor:
        p = torch.sigmoid(z)
        ctx.save_for_backward(s, alpha, z, scale, p)
        return torch.addcmul(alpha, p, 1 - alpha).mul_(s)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        s, alpha, z, scale, p = ctx.saved_tensors
        (g,) = gradients
        gs = g * s
        h = torch.ops.aten.sigmoid_backward(gs, p)
        factor = (1 - alpha) * scale
        d_s = torch.addcmul(-h.mean(0) * factor, h, factor)
        d_s.addcmul_(z, -h.mul_(z).mean(0) * factor)
        d_s.addcmul_(g, torch.addcmul(alpha, p, 1 - alpha))
        d_alpha = gs.sum(0)
        d_alpha.sub_(gs.mul_(p).sum(0))
        return d_s, d_alpha, None, None
