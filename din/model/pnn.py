"""The product-based network (arXiv 1611.00144), and the inner products of field vectors.

The *field vectors*, [B, F, d], are the embeddings of profile and candidate, and the pooled embeddings of each behaviour
field.
"""

import torch
from torch import Tensor
from typing_extensions import override

from din.model import MODELS
from din.model.base import BaseModel


@MODELS.register("pnn")
class PNN(BaseModel):
    """Product-based network with inner products.

    The inputs of the MLP include ⟨v_i, v_j⟩ of all pairs of field vectors.
    """

    @override
    def extra_inputs(self, vectors: int) -> int:
        return vectors * (vectors - 1) // 2

    @override
    def deep(self, inputs_BI: Tensor) -> Tensor:
        pairs = inner_products(inputs_BI[:, : self.vectors].unflatten(1, (-1, self.dim)))
        return super().deep(torch.cat([inputs_BI, pairs], 1))


def inner_products(vectors_BFd: Tensor) -> Tensor:
    """Return ⟨v_i, v_j⟩ of all pairs i < j, [B, F·(F − 1)/2], in the order of the upper triangle's rows."""
    fields = vectors_BFd.shape[1]
    first, second = torch.triu_indices(fields, fields, 1, device=vectors_BFd.device)
    gram_BFF = vectors_BFd @ vectors_BFd.transpose(1, 2)
    return gram_BFF.flatten(1).index_select(1, first * fields + second)
