"""The paper's BaseModel, which pools behaviours without regard to the candidate."""

from torch import Tensor
from typing_extensions import override

from din.model import MODELS
from din.model.embedding_mlp import EmbeddingMLP
from din.ops.histories import Histories
from din.ops.inputs import Keys
from din.params.train import Train
from din.schema import Field


@MODELS.register("base")
class BaseModel(EmbeddingMLP):
    """The interest is the sum or the mean of the behaviours (`train.model.pooling`)."""

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__(fields, params)
        self.mean = params.model.pooling == "mean"

    @override
    def pool(self, query_BD: Tensor, keys: Keys, histories: Histories) -> Tensor:
        key_TK = keys.rows()
        if self.mean:
            return histories.mean(key_TK)
        return histories.total(key_TK)
