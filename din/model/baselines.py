"""The models that the paper compares DIN with, beside LR: Wide&Deep, PNN and DeepFM.

They pool behaviours as BaseModel does and share its embeddings and MLP. Their *field vectors*, [B, F, dim],
are the embeddings of profile and candidate and, for each sequence, the pooled embeddings of each behaviour field.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from din.model.embedding_mlp import BaseModel
from din.params import Train
from din.schema import Field


class WideDeep(BaseModel):
    """Wide&Deep (arXiv 1606.07792): the logits of LR and of BaseModel, added; crossed fields are the user's to make."""

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, replace(params, model=replace(params.model, linear="wide")), selections)


class DeepFM(WideDeep):
    """DeepFM (arXiv 1703.04247): Wide&Deep and Σ_{i<j} ⟨v_i, v_j⟩, a factorization machine's second order.

    Summed over pairs: the usual ½(‖Σ v_i‖² − Σ ‖v_i‖²) is linear in fields, but float32 loses what cancels in it.
    """

    def deep(self, inputs_BI: Tensor) -> Tensor:
        pairs = inner_products(inputs_BI[:, : self.vectors].unflatten(1, (-1, self.dim)))
        return super().deep(inputs_BI) + pairs.sum(1)


class PNN(BaseModel):
    """Product-based network (arXiv 1611.00144), inner products: ⟨v_i, v_j⟩ of all pairs of field vectors join the MLP's
    inputs."""

    def extra_inputs(self, vectors: int) -> int:
        return vectors * (vectors - 1) // 2

    def deep(self, inputs_BI: Tensor) -> Tensor:
        pairs = inner_products(inputs_BI[:, : self.vectors].unflatten(1, (-1, self.dim)))
        return super().deep(torch.cat([inputs_BI, pairs], 1))


def inner_products(vectors_BFd: Tensor) -> Tensor:
    """⟨v_i, v_j⟩ of all pairs i < j, row by row of the upper triangle, [B, F·(F − 1)/2]."""
    fields = vectors_BFd.shape[1]
    first, second = torch.triu_indices(fields, fields, 1, device=vectors_BFd.device)
    gram_BFF = vectors_BFd @ vectors_BFd.transpose(1, 2)
    return gram_BFF.flatten(1).index_select(1, first * fields + second)
