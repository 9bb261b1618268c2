"""Logistic regression: a model of its own, and the wide part of others."""

import torch
from torch import Tensor, nn

from din.model.embedding import Batch
from din.ops.lookup import Columns, lookup
from din.ops.segments import segment_sum
from din.schema import Group


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
        """The impressions' own weights [B], and those of their behaviours [T, 1]."""
        groups = [
            Columns(batch.lookups[Group.ITEM], batch.distinct_items, 0, 2),
            Columns(batch.profile, owners, 0, 1),
            Columns(batch.lookups[Group.BEHAVIOUR], batch.behaviour.shape[0], 1, 1),
        ]
        items, profile, feedback = lookup(table, groups)
        item_U2 = items.view(batch.distinct_items, -1, 2).sum(1)
        own = item_U2[:, 0].index_select(0, batch.candidate) + profile.sum(1) + self.bias
        return own, item_U2[:, 1:].index_select(0, batch.behaviour) + feedback.sum(1, keepdim=True)
