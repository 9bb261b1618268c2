"""The local activation unit (Eq. 3 of arXiv 1706.06978); `din.ops.activation_unit` has its equations."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from din.model.activations import ACTIVATIONS
from din.model.mlp import multilayer_perceptron
from din.ops.activation_unit import FirstLayer, first_layer
from din.ops.segments import LOWEST


class ActivationUnit(nn.Module):
    """a(k, q): one unnormalised weight per behaviour; Σ_j a_j keeps the intensity of interest.

    The weights of the first layer are those of a plain layer over [q, k, …], so initialisation, gradients and meaning
    are the paper's.

    Args:
        interaction: what the first layer reads beside q and k: `difference_product` q−k and q⊙k; `product` q⊙k;
            `outer` all products q_i·k_j, D² inputs: ten times the time of `difference_product` where D is 48.
    """

    query_weight: Tensor
    key_weight: Tensor
    difference_weight: Tensor
    product_weight: Tensor

    def __init__(
        self, query_width: int, key_width: int, hidden: tuple[int, ...], activation: str, interaction: str
    ) -> None:
        super().__init__()
        first, *rest = hidden
        self.interaction = interaction
        widths = {"query": query_width, "key": key_width}
        if interaction == "difference_product":
            widths["difference"] = query_width
        widths["product"] = query_width**2 if interaction == "outer" else query_width
        bound = 1 / math.sqrt(sum(widths.values()))  # as nn.Linear over the concatenation
        for name, width in widths.items():
            setattr(self, f"{name}_weight", nn.Parameter(torch.empty(first, width).uniform_(-bound, bound)))
        self.bias = nn.Parameter(torch.empty(first).uniform_(-bound, bound))
        self.activation = ACTIVATIONS[activation](first)
        self.rest = multilayer_perceptron(first, tuple(rest), activation)

    def first_layer(self) -> FirstLayer:
        """Return the weights of the first layer."""
        difference = self.difference_weight if self.interaction == "difference_product" else None
        return FirstLayer(self.query_weight, self.key_weight, difference, self.product_weight, self.bias)

    def upper_layers(self) -> list[nn.Module]:
        """Return the layers above the first, activations and linear layers in turn."""
        return [self.activation, *self.rest]

    def forward(self, query_BD: Tensor, key_TK: Tensor, segment_T: Tensor) -> Tensor:
        """Weights [T, 1] of packed behaviours for the candidate of their impression."""
        return self.rest(self.activation(first_layer(query_BD, key_TK, segment_T, self.first_layer())))

    def request(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        """Weights [C, L] of one user's behaviours for each of C candidates; the history is encoded once."""
        query_weight, key_weight = self.first_layer().linear_parts()
        per_query, per_key = linear(query_CD, query_weight, self.bias), linear(key_LK, key_weight)
        width = query_CD.shape[1]
        shared_LD = key_LK[:, :width]
        if self.interaction == "outer":  # Σ_ij W_hij·q_i·k_j, over i once per candidate: no [C, L, D²]
            weight_iHj = self.product_weight.view(-1, width, width).transpose(0, 1)
            by_candidate_CHj = (query_CD @ weight_iHj.flatten(1)).view(-1, len(self.bias), width)
            product_CLH = (by_candidate_CHj @ shared_LD.T).transpose(1, 2)
        else:
            product_CLH = linear(query_CD.unsqueeze(1) * shared_LD.unsqueeze(0), self.product_weight)
        hidden_CLH = per_query.unsqueeze(1) + per_key.unsqueeze(0) + product_CLH
        weight_N1 = self.rest(self.activation(hidden_CLH.flatten(0, 1)))
        return weight_N1.view(query_CD.shape[0], key_LK.shape[0])


def request_softmax(score_CL: Tensor, member_L: Tensor | None) -> Tensor:
    """Softmax over one history for each candidate, [C, L]; L may be 0, behaviours with `member` 0 get no weight."""
    if member_L is not None:
        score_CL = torch.where(member_L > 0, score_CL, LOWEST)
    nothing_C1 = torch.full_like(score_CL.sum(1, keepdim=True), LOWEST)  # keeps the maximum defined where L = 0
    weight_CL = torch.softmax(torch.cat([score_CL, nothing_C1], 1), 1)[:, :-1]
    return weight_CL if member_L is None else weight_CL * member_L
