"""Logistic regression: a model of its own, and the wide part of others."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from din.model import MODELS
from din.model.embedding import Batch
from din.model.model import Model
from din.ops.histories import Histories
from din.ops.lookup import Columns, lookup
from din.params.train import Train
from din.schema import Field, Group


class LogisticRegression(Model):
    """Logistic regression over one-hot fields, and over the mean of the one-hot fields of the history.

    The table has two columns, [R, 2]: the weight of a value in the impression itself, and its weight in the history.
    """

    linear = width = 2

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    @property
    @override
    def constant(self) -> nn.Parameter:
        return self.bias

    @override
    def logits(self, table_RW: Tensor, batch: Batch, histories: Histories) -> Tensor:
        groups = [
            Columns(batch.lookups[Group.ITEM], batch.distinct_items, 0, 2),
            Columns(batch.profile, histories.owners, 0, 1),
            Columns(batch.lookups[Group.BEHAVIOUR], batch.behaviour.shape[0], 1, 1),
        ]
        items, profile, feedback = lookup(table_RW, groups)
        item_U2 = items.view(batch.distinct_items, -1, 2).sum(1)
        impression_B = item_U2[:, 0].index_select(0, batch.candidate) + profile.sum(1) + self.bias
        history_T1 = item_U2[:, 1:].index_select(0, batch.behaviour) + feedback.sum(1, keepdim=True)
        return impression_B + histories.mean(history_T1).squeeze(1)


@MODELS.register("lr")
def logistic_regression(fields: tuple[Field, ...], params: Train) -> LogisticRegression:
    """Return the model, which has no settings."""
    return LogisticRegression()
