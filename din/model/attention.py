"""The local activation unit (Eq. 3 of arXiv 1706.06978). `din.ops.activation_unit` has its equations.

B impressions, T packed behaviours, C candidates and L behaviours of one request, D width of a candidate, K width of a
behaviour, H hidden units.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from din.model.activations import ACTIVATIONS
from din.model.mlp import multilayer_perceptron
from din.ops.activation_unit import FirstLayer, first_layer
from din.ops.segments import LOWEST


class ActivationUnit(nn.Module):
    """a(k, q): one weight per behaviour. The weights are not normalised, so their sum keeps the intensity of interest.

    The first layer has the weights of a plain linear layer over [q, k, …]. So initialisation, gradients and meaning are
    as in the paper.

    Args:
        query_width: D.
        key_width: K.
        interaction: the inputs of the first layer beside q and k. `difference_product`: q−k and q⊙k. `product`: q⊙k.
            `outer`: all D² products q_i·k_j, which takes ten times as long as `difference_product` where D is 48.
    """

    query_weight: Tensor
    key_weight: Tensor
    difference_weight: Tensor
    product_weight: Tensor

    def __init__(
        self, query_width: int, key_width: int, hidden: tuple[int, ...], activation: str, interaction: str
    ) -> None:
        super().__init__()
        first, *upper = hidden
        self.interaction = interaction
        widths = {"query": query_width, "key": key_width}
        if interaction == "difference_product":
            widths["difference"] = query_width
        widths["product"] = query_width**2 if interaction == "outer" else query_width
        bound = 1 / math.sqrt(sum(widths.values()))  # like nn.Linear over the concatenation
        for name, width in widths.items():
            setattr(self, f"{name}_weight", nn.Parameter(torch.empty(first, width).uniform_(-bound, bound)))
        self.bias = nn.Parameter(torch.empty(first).uniform_(-bound, bound))
        self.activation = ACTIVATIONS[activation](first)
        self.rest = multilayer_perceptron(first, tuple(upper), activation)

    def first_layer(self) -> FirstLayer:
        """Return the weights of the first layer."""
        difference = self.difference_weight if self.interaction == "difference_product" else None
        return FirstLayer(self.query_weight, self.key_weight, difference, self.product_weight, self.bias)

    def upper_layers(self) -> list[nn.Module]:
        """Return the layers above the first, activations and linear layers in turn."""
        return [self.activation, *self.rest]

    def forward(self, query_BD: Tensor, key_TK: Tensor, segment_T: Tensor) -> Tensor:
        """Return the weight of each packed behaviour for the candidate of its impression, [T, 1]."""
        return self.rest(self.activation(first_layer(query_BD, key_TK, segment_T, self.first_layer())))

    def request(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        """Return the weight of each behaviour of one user for each candidate, [C, L]. The history is encoded once."""
        query_HD, key_HK = self.first_layer().linear_parts()
        hidden_CH = linear(query_CD, query_HD, self.bias)
        hidden_LH = linear(key_LK, key_HK)
        width = query_CD.shape[1]
        shared_LD = key_LK[:, :width]
        if self.interaction == "outer":  # Σ_ij W_hij·q_i·k_j: summed over i once per candidate, without any [C, L, D²]
            weight_iHj = self.product_weight.view(-1, width, width).transpose(0, 1)
            by_candidate_CHj = (query_CD @ weight_iHj.flatten(1)).view(-1, len(self.bias), width)
            product_CLH = (by_candidate_CHj @ shared_LD.T).transpose(1, 2)
        else:
            product_CLH = linear(query_CD.unsqueeze(1) * shared_LD.unsqueeze(0), self.product_weight)
        hidden_CLH = hidden_CH.unsqueeze(1) + hidden_LH.unsqueeze(0) + product_CLH
        weight_N1 = self.rest(self.activation(hidden_CLH.flatten(0, 1)))
        return weight_N1.view(query_CD.shape[0], key_LK.shape[0])


def request_softmax(score_CL: Tensor, member_L: Tensor | None) -> Tensor:
    """Return the softmax over one history for each candidate, [C, L]. L may be 0.

    Args:
        member_L: 1 for the behaviours to weigh, 0 for those that get no weight. None weighs all.
    """
    if member_L is not None:
        score_CL = torch.where(member_L > 0, score_CL, LOWEST)
    lowest_C1 = torch.full_like(score_CL.sum(1, keepdim=True), LOWEST)  # so that there is a maximum where L = 0
    weight_CL = torch.softmax(torch.cat([score_CL, lowest_C1], 1), 1)[:, :-1]
    return weight_CL if member_L is None else weight_CL * member_L
