"""Logistic regression: a model of its own, and the wide part of others."""

import torch
from torch import Tensor, nn

from din.model.embedding import Batch
from din.ops.lookup import Columns, lookup
from din.ops.segments import segment_sum
from din.schema import Group


class LogisticRegression(nn.Module):
    """Logistic regression over one-hot fields, and over the mean of the one-hot fields of the history.

    The table has two columns, [R, 2]: a value's weight in the impression itself, and its weight in the history.
    """

    linear = width = 2

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    @property
    def constant(self) -> nn.Parameter:
        """The constant of the logit, [1]."""
        return self.bias

    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Return the logits [B] of packed impressions."""
        impressions = batch.candidate.shape[0]
        impression_B, history_T1 = self._parts(table_RW, batch, impressions)
        length_B1 = segment_sum(history_T1.new_ones(history_T1.shape[0], 1), batch.segment, impressions).clamp_min(1)
        pooled_B1 = segment_sum(history_T1, batch.segment, impressions) / length_B1
        return impression_B + pooled_B1.squeeze(1)

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Return the logits [C] of one user's candidates."""
        impression_C, history_L1 = self._parts(table_RW, batch, 1)
        length = torch.ones_like(history_L1).sum().clamp_min(1)  # in this form it can be exported, and L may be 0
        return impression_C + history_L1.sum() / length

    def _parts(self, table: Tensor, batch: Batch, owners: int) -> tuple[Tensor, Tensor]:
        """Return the summed weights of each impression itself, [B], and of each behaviour, [T, 1].

        Args:
            owners: the number of profiles: B, or 1 for a request.
        """
        groups = [
            Columns(batch.lookups[Group.ITEM], batch.distinct_items, 0, 2),
            Columns(batch.profile, owners, 0, 1),
            Columns(batch.lookups[Group.BEHAVIOUR], batch.behaviour.shape[0], 1, 1),
        ]
        items, profile, feedback = lookup(table, groups)
        item_U2 = items.view(batch.distinct_items, -1, 2).sum(1)
        impression_B = item_U2[:, 0].index_select(0, batch.candidate) + profile.sum(1) + self.bias
        history_T1 = item_U2[:, 1:].index_select(0, batch.behaviour) + feedback.sum(1, keepdim=True)
        return impression_B, history_T1
