"""The block `evaluate`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Evaluate(Block):
    """The floor LR that every model must beat."""

    lr_epochs: Annotated[PositiveInt, Doc("largest number of epochs of the floor LR")] = 20
