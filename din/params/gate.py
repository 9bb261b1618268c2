"""The block `gate`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from din.params.blocks import Block, Conflict, Fraction, Share, reversed_bounds


@dataclass(frozen=True, kw_only=True)
class Gate(Block):
    """Conditions for promotion."""

    metric: Literal["auc", "gauc"]
    margin: NonNegativeFloat
    min_auc: Share
    min_gauc: Share
    min_calibration: NonNegativeFloat
    max_calibration: NonNegativeFloat
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

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order."""
        if self.min_auc > self.max_auc:
            yield reversed_bounds("min_auc", "max_auc")
        if self.min_calibration > self.max_calibration:
            yield reversed_bounds("min_calibration", "max_calibration")
