"""The local activation unit (Eq. 3 of arXiv 1706.06978), packed.

The official first layer reads [q, k, q−k, q⊙k]. By distributivity W·[q, k, q−k, q⊙k] = (Wq+Wd)q + (Wk−Wd)k + Wp(q⊙k):
the q part is computed once per impression, only the last two once per behaviour. Weights stay those of the plain
layer, so initialisation, gradients and meaning are the paper's.

A behaviour k may be wider than the candidate q: behaviour fields (past feedback) have no counterpart in q, which is
then taken as zero there.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from din.model.dice import ACTIVATIONS, multilayer_perceptron
from din.model.embedding import segment_sum


class ActivationUnit(nn.Module):
    """a(k, q): one unnormalised weight per behaviour; no softmax, so Σ_j a_j keeps the intensity of interest."""

    def __init__(self, query_width: int, key_width: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        first, *rest = hidden
        self.query_weight, self.key_weight, self.difference_weight, self.product_weight = (
            nn.Parameter(torch.empty(first, width)) for width in (query_width, key_width, query_width, query_width)
        )
        self.bias = nn.Parameter(torch.empty(first))
        bound = 1 / math.sqrt(3 * query_width + key_width)  # as nn.Linear over the concatenation
        for parameter in (*self._weights(), self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        self.activation = ACTIVATIONS[activation](first)
        self.rest = multilayer_perceptron(first, tuple(rest), activation)

    def forward(self, query_BD: Tensor, key_TK: Tensor, segment_T: Tensor) -> Tensor:
        """Weights [T, 1] of packed behaviours for the candidate of their impression."""
        per_query, per_key = self._linear_parts(query_BD, key_TK)
        product_TD = query_BD.index_select(0, segment_T) * key_TK[:, : query_BD.shape[1]]
        hidden_TH = per_query.index_select(0, segment_T) + per_key + linear(product_TD, self.product_weight)
        return self.rest(self.activation(hidden_TH))

    def request(self, query_CD: Tensor, key_LK: Tensor) -> Tensor:
        """Weights [C, L] of one user's behaviours for each of C candidates; the history is encoded once."""
        per_query, per_key = self._linear_parts(query_CD, key_LK)
        product_CLD = query_CD.unsqueeze(1) * key_LK[:, : query_CD.shape[1]].unsqueeze(0)
        hidden_CLH = per_query.unsqueeze(1) + per_key.unsqueeze(0) + linear(product_CLD, self.product_weight)
        weight_N1 = self.rest(self.activation(hidden_CLH.flatten(0, 1)))
        return weight_N1.view(query_CD.shape[0], key_LK.shape[0])

    def _linear_parts(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        width = query.shape[1]
        key_weight = torch.cat([self.key_weight[:, :width] - self.difference_weight, self.key_weight[:, width:]], 1)
        return linear(query, self.query_weight + self.difference_weight, self.bias), linear(key, key_weight)

    def _weights(self) -> tuple[nn.Parameter, ...]:
        return self.query_weight, self.key_weight, self.difference_weight, self.product_weight


def pool(weight_T1: Tensor, key_TK: Tensor, segment_T: Tensor, impressions: int) -> Tensor:
    """Eq. 3: Σ_j a_j·e_j per impression, [B, K]; no behaviours: 0."""
    return segment_sum(weight_T1 * key_TK, segment_T, impressions)
