"""The Deep Interest Network (arXiv 1706.06978)."""

from torch import Tensor, nn
from typing_extensions import override

from din.model import MODELS
from din.model.attention import ActivationUnit
from din.model.embedding import Batch
from din.model.embedding_mlp import EmbeddingMLP
from din.ops.activation_unit import attended_inputs
from din.ops.histories import Histories
from din.ops.inputs import Embedded
from din.params.train import Train
from din.schema import Field


@MODELS.register("din")
class DIN(EmbeddingMLP):
    """DIN. An interest is the sum of behaviours, weighted by their relevance to the candidate (Eq. 3).

    Each sequence has its own activation unit.
    """

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, params, selections)
        self.softmax = params.model.softmax
        self.units = nn.ModuleList(
            ActivationUnit(
                self.query_width,
                self.key_width,
                params.model.attention_hidden,
                params.model.activation,
                params.model.interaction,
            )
            for _ in selections
        )

    @override
    def inputs(self, embedded: Embedded, batch: Batch, histories: Histories) -> Tensor:
        members = [selection(batch) for selection in self.selections]
        units = [unit for unit in self.units if isinstance(unit, ActivationUnit)]
        return attended_inputs(
            embedded,
            batch.places,
            histories,
            members,
            units,
            softmax=self.softmax,
            product=self.interest_product,
            training=self.training,
        )
