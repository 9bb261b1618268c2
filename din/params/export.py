"""The blocks `export` and `check_parity`."""

from dataclasses import dataclass

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Export(Block):
    """The ONNX graphs."""

    opset: PositiveInt


@dataclass(frozen=True, kw_only=True)
class CheckParity(Block):
    """The agreement that PyTorch, onnxruntime and the scorer must reach."""

    max_impressions: PositiveInt
    atol_logit: PositiveFloat
    atol_probability: PositiveFloat
    min_std: PositiveFloat
    seed: NonNegativeInt
