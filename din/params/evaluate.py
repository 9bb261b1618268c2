"""The block `evaluate`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import PositiveFloat, PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Evaluate(Block):
    """The computation of metrics and of the floor LR."""

    batch_size: Annotated[PositiveInt, Doc("impressions scored at once")] = 1024
    lr_epochs: Annotated[PositiveInt, Doc("largest number of epochs of the floor LR")] = 20
    lr_learning_rate: Annotated[PositiveFloat, Doc("learning rate of the floor LR")] = 0.01
