"""The Deep Interest Network (arXiv 1706.06978)."""

from torch import Tensor, nn
from typing_extensions import override

from din.model import MODELS
from din.model.attention import ActivationUnit
from din.model.embedding_mlp import EmbeddingMLP
from din.ops.activation_unit import interest
from din.ops.histories import Histories
from din.ops.inputs import Keys
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
