"""The mean of a model's weights over the last steps of an epoch (stochastic weight averaging, arXiv 1803.05407).

At the full learning rate, steps move the weights around a good place without reaching it. So the weights of the last
step are an arbitrary choice. Their mean over many steps is nearer to that place, and differs less between seeds.
"""

import math

from torch import Tensor

SNAPSHOTS = 16
"""How many times the weights of an epoch are taken, at most. One time costs as much as a copy of all weights."""


def moments(steps: int, share: float) -> list[int]:
    """Return after how many of an epoch's steps the weights are taken, ascending; the last step is one of them.

    Args:
        steps: the number of steps of the epoch.
        share: the share of its steps, at the end, over which the moments are spread evenly. 0: the last step alone.
    """
    last = max(1, round(steps * share))
    count = min(last, SNAPSHOTS)
    return [steps - last + math.ceil(number * last / count) for number in range(1, count + 1)]


def take_in(mean: dict[str, Tensor], weights: dict[str, Tensor], earlier: int) -> None:
    """Update the mean of `earlier` weights, in place, by one more.

    Args:
        mean: by name; empty if `earlier` is 0.
        weights: float tensors of the same names.
    """
    for name, tensor in weights.items():
        if earlier == 0:
            mean[name] = tensor.clone()
        else:
            mean[name].lerp_(tensor, 1 / (earlier + 1))
