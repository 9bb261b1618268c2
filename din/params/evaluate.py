"""The block `evaluate`."""

from dataclasses import dataclass

from pydantic import PositiveFloat, PositiveInt

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Evaluate(Block):
    """The computation of metrics and of the floor LR."""

    batch_size: PositiveInt
    lr_epochs: PositiveInt
    lr_learning_rate: PositiveFloat
