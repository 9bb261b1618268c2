"""Wide&Deep (arXiv 1606.07792)."""

from dataclasses import replace

from din.model import MODELS
from din.model.base import BaseModel
from din.params.train import Train
from din.schema import Field


@MODELS.register("wide_deep")
class WideDeep(BaseModel):
    """Wide&Deep: the sum of the logits of LR and BaseModel. It does not cross fields."""

    def __init__(self, fields: tuple[Field, ...], params: Train) -> None:
        super().__init__(fields, replace(params, model=replace(params.model, linear="wide")))
