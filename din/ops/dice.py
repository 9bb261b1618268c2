"""Dice (Eq. 9 of arXiv 1706.06978), the paper's activation.

    f(s) = p·s + (1 − p)·α·s,    p = σ((s − E[s]) / √(Var[s] + ε)),    per unit; α is learned, from 0

This is the reference. The native form never runs Dice alone, but together with the linear layer after it
(`perceptron.py`), and reads the weights and moving averages of this module.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Gather = Callable[[Tensor], Tensor]

EPSILON = 1e-8
MOMENTUM = 0.05


_gather: Gather | None = None


@contextmanager
def statistics_of_all(gather: Gather | None) -> Iterator[None]:
    """Let Dice use the statistics of the rows of all processes that train together.

    Args:
        gather: takes a vector [n] of this process to those of all, [processes, n], with the same bits on each; None =
            this process trains alone.
    """
    global _gather
    before, _gather = _gather, gather
    try:
        yield
    finally:
        _gather = before


def gather_of_all() -> Gather | None:
    """Return what `statistics_of_all` chose."""
    return _gather


class Dice(nn.Module):
    """Dice over N rows.

    Training uses the statistics of the rows it is given (real behaviours only: batches are packed) and keeps moving
    averages. Evaluation uses the averages, so no row affects another. Without rows the averages stay.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(units))
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("variance", torch.ones(units))

    def forward(self, s: Tensor) -> Tensor:
        """Return f(s), [N, H] as s; in evaluation [..., H]."""
        if self.training:
            s = s.to(self.mean.dtype)  # full precision under autocast too
        gather = gather_of_all()
        if self.training and gather:
            return self._of_all_processes(s, gather)
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

    def _of_all_processes(self, s: Tensor, gather: Gather) -> Tensor:
        with torch.no_grad():
            own = s.sum(0) / max(s.shape[0], 1)
            z = s - own
            moments = torch.cat([own.new_tensor([s.shape[0]]), own, z.square().sum(0)])
            rows, mean, variance = _combined(gather(moments))
            weight = MOMENTUM * (rows > 0)
            self.mean.lerp_(mean, weight)
            self.variance.lerp_(variance, weight)
            scale = torch.rsqrt(variance + EPSILON)
            z.add_(own - mean).mul_(scale)
        return _BatchDice.apply(s, self.alpha, z, scale, rows.clamp_min(1), gather)


def _combined(parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number [], mean and variance [H] of rows that lie in several parts; without rows, zeros.

    Args:
        parts: number, mean and summed squared deviations of each part, [processes, 1 + 2 H].

    References: Chan, Golub & LeVeque 1983.
    """
    units = parts.shape[1] // 2
    rows, mean, squares = parts.split([1, units, units], 1)
    total = rows.sum()
    center = (rows * mean).sum(0) / total.clamp_min(1)
    squares = squares.sum(0) + (rows * (mean - center).square()).sum(0)
    return total, center, squares / total.clamp_min(1)


class _BatchDice(torch.autograd.Function):
    """Dice by the statistics of its own rows s [N, H], given z = (s − E[s])·scale and scale = 1 / √(Var[s] + ε).

    The gradient of s includes what flows through the statistics. With g the gradient of f(s) and h = g·s·p·(1 − p):

        g·(α + (1 − α)·p) + (1 − α)·scale·(h − E[h] − z·E[h·z])

    With `gather`, E is over the `rows` [] of all processes, and the gradient of α is this process's part. Written by
    hand because autograd would make twice as many passes over [N, H].
    """

    @staticmethod
    def forward(
        ctx: Any,
        s: Tensor,
        alpha: Tensor,
        z: Tensor,
        scale: Tensor,
        rows: Tensor | None = None,
        gather: Gather | None = None,
    ) -> Tensor:
        p = torch.sigmoid(z)
        ctx.save_for_backward(s, alpha, z, scale, p)
        ctx.rows, ctx.gather = rows, gather
        return torch.addcmul(alpha, p, 1 - alpha).mul_(s)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        s, alpha, z, scale, p = ctx.saved_tensors
        (g,) = gradients
        by_gate = g * s
        h = torch.ops.aten.sigmoid_backward(by_gate, p)
        factor = (1 - alpha) * scale
        if ctx.gather is None:
            by_s = torch.addcmul(-h.mean(0) * factor, h, factor)
            by_s.addcmul_(z, -h.mul_(z).mean(0) * factor)
        else:
            sums = ctx.gather(torch.cat([h.sum(0), (h * z).sum(0)])).sum(0)
            mean_h, mean_hz = (sums / ctx.rows).chunk(2)
            by_s = torch.addcmul(-mean_h * factor, h, factor)
            by_s.addcmul_(z, -mean_hz * factor)
        by_s.addcmul_(g, torch.addcmul(alpha, p, 1 - alpha))
        by_alpha = by_gate.sum(0)
        return by_s, by_alpha.sub_(by_gate.mul_(p).sum(0)), None, None, None, None
