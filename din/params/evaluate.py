"""The block `evaluate`."""

from dataclasses import dataclass

from pydantic import PositiveFloat, PositiveInt

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Evaluate(Block):
    """How metrics and the floor LR are computed."""

    batch_size: PositiveInt
    lr_epochs: PositiveInt
    lr_learning_rate: PositiveFloat
