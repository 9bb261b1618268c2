"""The block `check_parity`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class CheckParity(Block):
    """The agreement that PyTorch, onnxruntime and the scorer must reach."""

    max_impressions: Annotated[PositiveInt, Doc("number of impressions to score in three ways")] = 10000
    atol_logit: Annotated[PositiveFloat, Doc("largest difference of logits between two ways, relative beyond 1")] = (
        0.0001
    )
    atol_probability: Annotated[
        PositiveFloat,
        Doc("largest difference of probabilities; planted extremes may add what float32 rounding explains"),
    ] = 0.00001
    min_std: Annotated[
        PositiveFloat, Doc("smallest standard deviation of the outputs; closer outputs prove nothing")
    ] = 0.0001
    seed: Annotated[NonNegativeInt, Doc("seeds the draw of impressions")] = 3
