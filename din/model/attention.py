"""The local activation unit (Eq. 3 of arXiv 1706.06978). `din.ops.activation_unit` has its equations.

`din.ops` explains the shape letters, and `din.ops.histories` the pairs of behaviours and candidates.
"""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from din.model.mlp import ACTIVATIONS, multilayer_perceptron
from din.ops.activation_unit import FirstLayer, first_layer
from din.ops.histories import Histories


class ActivationUnit(nn.Module):
    """a(k, q): one weight per behaviour. The weights are not normalised, so their sum keeps the intensity of interest.

    The first layer has the weights of a plain linear layer over [q, k, …], so initialisation, gradients and meaning are
    as in the paper.

    Args:
        query_width: D.
        key_width: K.
        hidden: the widths of the hidden layers.
        activation: a name in `ACTIVATIONS`.
        interaction: the inputs of the first layer in addition to q and k. `difference_product`: q−k and q⊙k.
            `product`: q⊙k.
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
        widths["product"] = query_width
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
        """Return the layers above the first: activations and linear layers, alternating."""
        return [self.activation, *self.rest]

    @override
    def forward(self, query_BD: Tensor, key_TK: Tensor, histories: Histories) -> Tensor:
        """Return the weight of each behaviour for each candidate that it is weighed for, [*pairs, 1]."""
        hidden = first_layer(query_BD, key_TK, histories, self.first_layer())
        weight_N1 = self.rest(self.activation(hidden.flatten(0, -2)))
        return weight_N1.view(*hidden.shape[:-1], 1)
