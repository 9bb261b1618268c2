"""Fold a trained model into an equivalent one with fewer passes over memory. `export` traces the folded model.

An element-wise pass over the [candidates × behaviours, units] of a request costs about a fifth of the matrix product,
and Dice as written takes six passes. With its running mean μ and variance v, and r = 1/√(v + ε),

    f(s) = s·(α + (1 − α)·σ(z)) = (1 − α)/r · (z + μ·r)·(σ(z) + α/(1 − α)),   z = (s − μ)·r

The linear layer before Dice computes z if its rows are scaled and its bias is shifted. The first factor goes into the
columns of the layer after it. Four passes remain.

For a given candidate q, the activation unit's first layer is linear in the behaviour k. For long histories, a request
builds one matrix M(q) per candidate and needs one product with [k, 1] instead of q⊙k, two products and two sums. For
short histories, building the matrices costs more than it saves.

Shapes: B impressions, T packed behaviours, C candidates, L behaviours, H hidden units, D width of the query, K width of
the key, N = H·C, M = C·L.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from din.model.attention import ActivationUnit
from din.model.model import Model
from din.ops.constants import EPSILON
from din.ops.dice import Dice
from din.ops.histories import Histories, OneHistory

LONG = 50  # the number of behaviours from which on a matrix per candidate is faster
_SMALLEST = 1e-7  # replaces a divisor 1 − α that is closer to 0, which makes no difference in float32


def fold(model: Model) -> Model:
    """Return a copy of `model` that computes the same function in evaluation mode, up to rounding."""
    folded = copy.deepcopy(model).eval()
    for name, module in list(folded.named_modules()):
        if isinstance(module, nn.Sequential):
            folded.set_submodule(name, _fold_dice(module))
    for name, module in list(folded.named_modules()):
        if isinstance(module, ActivationUnit):
            folded.set_submodule(name, FoldedUnit(module))
    return folded


class FoldedUnit(ActivationUnit):
    """An `ActivationUnit` with its first layer as one matrix over [q, k, q⊙k]."""

    def __init__(self, unit: ActivationUnit) -> None:
        nn.Module.__init__(self)  # skip the weights of ActivationUnit
        query_weight, key_weight = unit.first_layer().linear_parts()
        self.query_width = query_weight.shape[1]
        weight = torch.cat([query_weight, key_weight, unit.product_weight], 1)
        first = nn.Linear(weight.shape[1], len(unit.bias))
        first.weight = nn.Parameter(weight)
        first.bias = unit.bias
        self.first = first
        self.rest = nn.Sequential(*list(_fold_dice([first, *unit.upper_layers()]))[1:])

    def upper_layers(self) -> list[nn.Module]:
        """Return the layers above the first. They have no Dice, so no native kernel applies to them."""
        return list(self.rest)

    @override
    def forward(self, query_BD: Tensor, key_TK: Tensor, histories: Histories) -> Tensor:
        if isinstance(histories, OneHistory):
            branches = self._request_short, self._request_long
            weight_CL = torch.cond(key_TK.shape[0] < LONG, *branches, (query_BD, key_TK))
            return weight_CL.unsqueeze(2)
        query_weight, key_weight, product_weight = self._weights()
        product_TD = histories.queries(query_BD) * key_TK[:, : self.query_width]
        per_behaviour = linear(torch.cat([key_TK, product_TD], 1), torch.cat([key_weight, product_weight], 1))
        per_query = linear(query_BD, query_weight, self.first.bias)
        return self.rest(histories.queries(per_query) + per_behaviour)

    def _request_short(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        query_weight, key_weight, product_weight = self._weights()
        product_CLD = query_CD.unsqueeze(1) * key_LK[:, : self.query_width]
        same_CLH = linear(query_CD, query_weight, self.first.bias).unsqueeze(1) + linear(key_LK, key_weight)
        hidden_CLH = same_CLH + linear(product_CLD, product_weight)
        return self.rest(hidden_CLH.flatten(0, 1)).view(query_CD.shape[0], key_LK.shape[0])

    def _request_long(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        """Return the weights [C, L], by a single product of all candidates' matrices and the history.

        The hidden values are [1, H, C·L], so that each upper layer is a single product too.
        """
        query_weight, key_weight, product_weight = self._weights()
        candidates = query_CD.shape[0]
        width = self.query_width
        units = len(query_weight)
        parts = [
            key_weight[:, :width].unsqueeze(1) + product_weight.unsqueeze(1) * query_CD,
            key_weight[:, width:].unsqueeze(1).expand(-1, candidates, -1),
            linear(query_CD, query_weight, self.first.bias).T.unsqueeze(2),
        ]
        matrix_NK = torch.cat(parts, 2).flatten(0, 1)
        key_KL = torch.cat([key_LK, torch.ones_like(key_LK[:, :1])], 1).T
        hidden_1HM = (matrix_NK @ key_KL).view(1, units, candidates * key_LK.shape[0])
        for layer in self.rest:
            if isinstance(layer, nn.Linear):
                hidden_1HM = layer.weight @ hidden_1HM + layer.bias.unsqueeze(1)
            else:
                hidden_1HM = layer(hidden_1HM)
        return hidden_1HM.view(candidates, key_LK.shape[0])

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        weight = self.first.weight
        width = self.query_width
        return weight[:, :width], weight[:, width:-width], weight[:, -width:]


class FoldedDice(nn.Module):
    """Dice as (z + shift)·(σ(z) + gain) per unit. Units are axis 1 of [T, H] or [1, H, M]."""

    shift: Tensor
    gain: Tensor

    def __init__(self, shift: Tensor, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("gain", gain)

    def forward(self, z: Tensor) -> Tensor:
        """Return the activations, in the shape of z."""
        per_unit = (-1, *[1] * (z.dim() - 2))
        return (z + self.shift.view(per_unit)) * (torch.sigmoid(z) + self.gain.view(per_unit))


@torch.no_grad()
def _fold_dice(layers: Iterable[nn.Module]) -> nn.Sequential:
    """Return the layers without dropout, with every Dice between two linear layers folded into these two, in place.

    Factors are computed in double precision, because they are large for a unit that hardly varies.
    """
    folded = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Dropout)))
    for at in range(1, len(folded) - 1):
        before, dice, after = folded[at - 1], folded[at], folded[at + 1]
        if isinstance(before, nn.Linear) and isinstance(dice, Dice) and isinstance(after, nn.Linear):
            rate = torch.rsqrt(dice.variance.double() + EPSILON)
            rest = 1 - dice.alpha.double()
            rest = torch.where(rest.abs() < _SMALLEST, _SMALLEST, rest)
            before.weight.copy_(before.weight * rate.unsqueeze(1))
            before.bias.copy_((before.bias - dice.mean) * rate)
            after.weight.copy_(after.weight * (rest / rate))
            folded[at] = FoldedDice((dice.mean * rate).float(), (dice.alpha / rest).float())
    return folded
