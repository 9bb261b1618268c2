"""The block `check_parity`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class CheckParity(Block):
    """The agreement that PyTorch, onnxruntime and the scorer must reach."""

    max_impressions: Annotated[PositiveInt, Doc("number of impressions to score in three ways")] = 10000
