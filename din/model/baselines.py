"""The models that the paper compares DIN with: LR, Wide&Deep, PNN and DeepFM.

The last three pool behaviours as BaseModel does and share its embeddings and MLP. Their *field vectors*, [B, F, dim],
are the embeddings of profile and candidate and, for each sequence, the pooled embeddings of each behaviour field.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from din.model.embedding import Batch, embed, segment_sum
from din.model.embedding_mlp import BaseModel
from din.params import Train
from din.schema import Field


class LogisticRegression(nn.Module):
    """LR over one-hot fields and the history's mean of one-hots.

    Column 0 of the table is a value's weight on the impression itself, column 1 its weight in the history.
    """

    linear = width = 2

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [B] of packed impressions."""
        impressions = batch.candidate.shape[0]
        own, history = self._parts(table_RW, batch, impressions)
        length = segment_sum(history.new_ones(history.shape[0], 1), batch.segment, impressions).clamp_min(1)
        pooled = segment_sum(history, batch.segment, impressions) / length
        return own + pooled.squeeze(1)

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Logits [C] of one user's candidates."""
        own, history = self._parts(table_RW, batch, 1)
        return own + history.sum() / torch.ones_like(history).sum().clamp_min(1)  # exportable: L may be 0

    def _parts(self, table: Tensor, batch: Batch, owners: int) -> tuple[Tensor, Tensor]:
        distinct, behaviours = batch.items[0].ids.shape[0], batch.behaviour.shape[0]
        item_U2 = embed(table, batch.items, distinct).view(distinct, -1, 2).sum(1)
        profile = embed(table[:, :1], (*batch.users, *batch.contexts), owners).sum(1)
        own = item_U2[:, 0].index_select(0, batch.candidate) + profile + self.bias
        feedback = embed(table[:, 1:], batch.behaviours, behaviours).sum(1, keepdim=True)
        return own, item_U2[:, 1:].index_select(0, batch.behaviour) + feedback


class WideDeep(BaseModel):
    """Wide&Deep (arXiv 1606.07792): the logits of LR and of BaseModel, added; crossed fields are the user's to make."""

    linear = 2

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, replace(params, item_bias=False), selections)  # the wide part has it
        self.wide = LogisticRegression()

    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        return super().forward(table_RW, batch) + self.wide(table_RW[:, :2], batch)

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        return super().request(table_RW, batch) + self.wide.request(table_RW[:, :2], batch)


class DeepFM(WideDeep):
    """DeepFM (arXiv 1703.04247): Wide&Deep and Σ_{i<j} ⟨v_i, v_j⟩, a factorization machine's second order.

    Summed over pairs: the usual ½(‖Σ v_i‖² − Σ ‖v_i‖²) is linear in fields, but float32 loses what cancels in it.
    """

    def deep(self, vectors_BV: Tensor, products: list[Tensor]) -> Tensor:
        pairs = inner_products(vectors_BV.unflatten(1, (-1, self.dim)))
        return super().deep(vectors_BV, products) + pairs.sum(1)


class PNN(BaseModel):
    """Product-based network (arXiv 1611.00144), inner products: ⟨v_i, v_j⟩ of all pairs of field vectors join the MLP's
    inputs."""

    def extra_inputs(self, vectors: int) -> int:
        return vectors * (vectors - 1) // 2

    def deep(self, vectors_BV: Tensor, products: list[Tensor]) -> Tensor:
        return super().deep(vectors_BV, [*products, inner_products(vectors_BV.unflatten(1, (-1, self.dim)))])


def inner_products(vectors_BFd: Tensor) -> Tensor:
    """⟨v_i, v_j⟩ of all pairs i < j, row by row of the upper triangle, [B, F·(F − 1)/2]."""
    fields = vectors_BFd.shape[1]
    first, second = torch.triu_indices(fields, fields, 1, device=vectors_BFd.device)
    gram_BFF = vectors_BFd @ vectors_BFd.transpose(1, 2)
    return gram_BFF.flatten(1).index_select(1, first * fields + second)
