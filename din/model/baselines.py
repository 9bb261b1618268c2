"""The models that the paper compares DIN with, beside LR: Wide&Deep, PNN and DeepFM.

They pool behaviours as BaseModel does, and share its embeddings and MLP. Their *field vectors*, [B, F, d], are the
embeddings of profile and candidate, and the pooled embeddings of each behaviour field for each sequence.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from din.model.embedding_mlp import BaseModel
from din.params import Train
from din.schema import Field


class WideDeep(BaseModel):
    """Wide&Deep (arXiv 1606.07792): the logits of LR and of BaseModel, added. Crosses no fields by itself."""

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, replace(params, model=replace(params.model, linear="wide")), selections)


class DeepFM(WideDeep):
    """DeepFM (arXiv 1703.04247): Wide&Deep and Σ_{i<j} ⟨v_i, v_j⟩, the second order of a factorization machine.

    The sum is taken over pairs. The usual ½(‖Σ v_i‖² − Σ ‖v_i‖²) takes time linear in the number of fields, but float32
    is not precise enough for its cancellation.
    """

    def deep(self, inputs_BI: Tensor) -> Tensor:
        """Return the logits [B] of the MLP and of the pairs."""
        pairs = inner_products(inputs_BI[:, : self.vectors].unflatten(1, (-1, self.dim)))
        return super().deep(inputs_BI) + pairs.sum(1)


class PNN(BaseModel):
    """Product-based network (arXiv 1611.00144) with inner products.

    The inputs of the MLP include ⟨v_i, v_j⟩ of all pairs of field vectors.
    """

    def extra_inputs(self, vectors: int) -> int:
        """Return the number of pairs."""
        return vectors * (vectors - 1) // 2

    def deep(self, inputs_BI: Tensor) -> Tensor:
        """Return the logits [B] of an MLP that reads the pairs too."""
        pairs = inner_products(inputs_BI[:, : self.vectors].unflatten(1, (-1, self.dim)))
        return super().deep(torch.cat([inputs_BI, pairs], 1))


def inner_products(vectors_BFd: Tensor) -> Tensor:
    """Return ⟨v_i, v_j⟩ of all pairs i < j, [B, F·(F − 1)/2], in the order of the upper triangle's rows."""
    fields = vectors_BFd.shape[1]
    first, second = torch.triu_indices(fields, fields, 1, device=vectors_BFd.device)
    gram_BFF = vectors_BFd @ vectors_BFd.transpose(1, 2)
    return gram_BFF.flatten(1).index_select(1, first * fields + second)
