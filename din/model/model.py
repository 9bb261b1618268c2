"""The interface of all models, and `build`, which makes one by name.

`din.ops` explains the shape letters.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from typing_extensions import override

from din.features.packing import TableLayout
from din.model import MODELS
from din.model.blend import Blend
from din.model.embedding import Batch
from din.ops.histories import Histories, OneHistory, Packed
from din.ops.whole_step import Network
from din.params.train import Train
from din.schema import Field


class Model(nn.Module, ABC):
    """A function from embedding rows and a batch to one logit per impression.

    Training, evaluation and the graphs of a bundle all call `logits`, so a model states its formula once.

    Attributes:
        width: W, the columns of the embedding table.
        linear: the number of leading columns that hold linear weights, which no penalty shrinks.
        reads_ages: whether it reads how old behaviours are. If so, each request must have its time.
        reads_negatives: whether its loss reads `Batch.negative`.
        reads_requests: whether its loss reads `Batch.user` and `Batch.request`. If so, impressions of one request are
            learned side by side.
        blend: what is put on top of its logits, except for batches of training. None: nothing.
    """

    width: int
    linear: int
    reads_ages: bool = False
    reads_negatives: bool = False
    reads_requests: bool = False
    blend: Blend | None

    def __init__(self) -> None:
        super().__init__()
        self.blend = None

    @property
    @abstractmethod
    def constant(self) -> nn.Parameter:
        """The constant of the logit, [1]."""

    @abstractmethod
    def logits(self, table_RW: Tensor, batch: Batch, histories: Histories) -> Tensor:
        """Return the logits [B] of the candidates, given the histories that they are weighed against."""

    def loss(
        self, table_RW: Tensor, batch: Batch, logits_B: Tensor, labels_B: Tensor, weights_B: Tensor | None
    ) -> Tensor:
        """Return the summed loss, a scalar, of a training step. A model with an auxiliary loss adds it here.

        Args:
            table_RW: the embedding rows that `batch` refers to.
            batch: the packed impressions.
            logits_B: the model's logits, plus the offset for the negatives that the log or training left out.
            labels_B: the clicks.
            weights_B: the weights of the impressions. None: all are 1.
        """
        return binary_cross_entropy_with_logits(logits_B, labels_B, weights_B, reduction="sum")

    def network(self) -> Network | None:
        """Return what computes the gradients of a batch in one native call. None: autograd does.

        It refers to the parameters where they are now.
        """
        return None

    @override
    def forward(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Return the logits [B] of packed impressions."""
        return self._blended(table_RW, batch, Packed(batch.segment, batch.candidate.shape[0]))

    def request(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Return the logits [C] of one user's candidates. The history is encoded once, and nothing is padded."""
        return self._blended(table_RW, batch, OneHistory(batch.candidate.shape[0]))

    def unblended(self, table_RW: Tensor, batch: Batch) -> Tensor:
        """Return the logits [B] of packed impressions without the blend."""
        return self.logits(table_RW, batch, Packed(batch.segment, batch.candidate.shape[0]))

    def _blended(self, table_RW: Tensor, batch: Batch, histories: Histories) -> Tensor:
        logit_B = self.logits(table_RW, batch, histories)
        return self.blend(logit_B, batch, histories) if self.blend and batch.rows is None else logit_B


def build(fields: tuple[Field, ...], layout: TableLayout, params: Train) -> tuple[Model, Tensor]:
    """Return a new model and its embedding table [R, W]. Their random weights depend on `params.learning.seed` alone.

    Args:
        fields: the fields of the features.
        layout: the rows of the table.
        params: the name of the model and its settings.

    Raises:
        InputError: there is no model of this name, or its options do not fit.
    """
    torch.manual_seed(params.learning.seed)
    registered = MODELS[params.model.name]
    options = registered.parse(params.model.options, "train.model.options")
    model: Model = registered.thing(fields, params, **options)
    table = torch.randn(layout.rows, model.width) * params.learning.embedding_std
    table[:, : model.linear] = 0
    return model, table
