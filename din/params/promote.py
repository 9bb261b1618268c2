"""The block `promote`."""

from dataclasses import dataclass

from din.names import ModelName
from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Promote(Block):
    """Where a champion goes."""

    registry: str
    model_name: ModelName | None
