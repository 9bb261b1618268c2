"""The paper's BaseModel, which pools behaviours without regard to the candidate."""

from torch import Tensor, nn
from typing_extensions import override

from din.model import MODELS
from din.model.embedding_mlp import EmbeddingMLP
from din.ops.histories import Histories
from din.ops.inputs import Keys
from din.params.train import Train
from din.schema import Field


@MODELS.register("base")
class BaseModel(EmbeddingMLP):
    """An interest is the sum or the mean of the behaviours (`train.model.pooling`)."""

    def __init__(self, fields: tuple[Field, ...], params: Train, selections: nn.ModuleList) -> None:
        super().__init__(fields, params, selections)
        self.mean = params.model.pooling == "mean"

    @override
    def pool(
        self, sequence: int, query_BD: Tensor, keys: Keys, member_T1: Tensor | None, histories: Histories
    ) -> Tensor:
        key_TK = keys.rows()
        if self.mean:
            return histories.mean(key_TK, member_T1)
        return histories.total(key_TK if member_T1 is None else key_TK * member_T1)
