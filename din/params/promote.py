"""The block `promote`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from din.base.names import ModelName
from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Promote(Block):
    """The registry of champions."""

    registry: Annotated[str, Doc("where promoted bundles are kept: a folder, or s3:// gs:// az://")] = "registry"
    model_name: Annotated[ModelName | None, Doc("name in the registry; null = fetch.source")] = None
    on_harm: Annotated[
        Literal["ask", "rollback"],
        Doc("ask | rollback: who undoes a last step of the champion that certainly harmed: a person, or `din promote`"),
    ] = "ask"
