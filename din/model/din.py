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
    """DIN. The interest is the sum of behaviours, weighted by their relevance to the candidate (Eq. 3)."""

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__(fields, params)
        self.softmax = params.model.softmax
        unit = ActivationUnit(
            self.query_width,
            self.key_width,
            params.model.attention_hidden,
            params.model.activation,
            params.model.interaction,
        )
        self.units = nn.ModuleList([unit])  # a list of one: saved weights are named units.0.…

    @property
    def unit(self) -> ActivationUnit:
        """The activation unit."""
        unit = self.units[0]
        assert isinstance(unit, ActivationUnit)
        return unit

    @override
    def pool(self, query_BD: Tensor, keys: Keys, histories: Histories) -> Tensor:
        return interest(self.unit, query_BD, keys, histories, softmax=self.softmax)

    @override
    def network(self) -> Network | None:
        if type(self) is not DIN or self.ages or self.wide:  # a subclass may change anything
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
        return network_of(shape, Layers(self.unit.first_layer(), self.unit.upper_layers(), list(self.head)))
