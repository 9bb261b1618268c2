"""The block `promote`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from din.names import ModelName
from din.params.blocks import Block

Command = Annotated[tuple[str, ...], Field(min_length=1)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?$", max_length=2000)]


@dataclass(frozen=True, kw_only=True)
class Hooks(Block):
    """A program and a service that hear what became of a candidate."""

    command: Command | None
    webhook: Url | None
    timeout_seconds: Annotated[float, Field(gt=0, le=600)]


@dataclass(frozen=True, kw_only=True)
class Promote(Block):
    """The registry of champions."""

    registry: str
    model_name: ModelName | None
    on_harm: Literal["ask", "rollback"]
    hooks: Hooks
