"""The block `gate`."""

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from din.params.blocks import Block, Fraction, Share


@dataclass(frozen=True, kw_only=True)
class Gate(Block):
    """Conditions for promotion."""

    metric: Literal["auc", "gauc"]
    margin: NonNegativeFloat
    min_auc: Share
    min_gauc: Share
    min_calibration: NonNegativeFloat
    max_calibration: NonNegativeFloat
    resamples: PositiveInt
    confidence: Fraction
    min_slice_rows: PositiveInt
    slice_margin: NonNegativeFloat
    max_prediction_drift: PositiveFloat
    max_champion_drop: PositiveFloat
    max_auc: Share
    max_gain: PositiveFloat
    max_gain_over_lr: PositiveFloat
    max_bundle_mb: PositiveFloat
    max_latency_ms: PositiveFloat | None
    max_rows: PositiveInt
    allow_older: bool
    seed: NonNegativeInt
