"""The Deep Interest Network (arXiv 1706.06978)."""

from torch import Tensor, nn
from typing_extensions import override

from din.model import MODELS
from din.model.attention import ActivationUnit
from din.model.embedding_mlp import EmbeddingMLP
from din.ops.activation_unit import interest
from din.ops.histories import Histories
from din.ops.inputs import Keys
from din.ops.whole_step import Layers, Network, Shape, network_of
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
    def pool(
        self, sequence: int, query_BD: Tensor, keys: Keys, member_T1: Tensor | None, histories: Histories
    ) -> Tensor:
        unit = self.units[sequence]
        assert isinstance(unit, ActivationUnit)
        return interest(unit, query_BD, keys, member_T1, histories, softmax=self.softmax)

    @override
    def network(self) -> Network | None:
        unit, *others = self.units
        assert isinstance(unit, ActivationUnit)
        part = others or any(selection.fields for selection in self.selections)
        if type(self) is not DIN or part or self.ages or self.wide:  # a subclass may change anything
            return None
        shape = Shape(
            table_width=self.width,
            dim=self.dim,
            query_width=self.query_width,
            key_width=self.key_width,
            product=self.interest_product,
            softmax=self.softmax,
            item_bias=self.item_bias,
        )
        return network_of(shape, Layers(unit.first_layer(), unit.upper_layers(), list(self.head)))
