"""The block `promote`."""

from dataclasses import dataclass
from typing import Literal

from din.names import ModelName
from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Promote(Block):
    """The registry of champions."""

    registry: str
    model_name: ModelName | None
    on_harm: Literal["ask", "rollback"]
