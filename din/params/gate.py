"""The block `gate`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from din.params.blocks import Block, Conflict, Fraction, Share, reversed_bounds

Metrics = Annotated[tuple[Literal["auc", "gauc"], ...], Field(min_length=1)]
Policy = Literal["never", "borderline", "always"]


@dataclass(frozen=True, kw_only=True)
class Gate(Block):
    """Conditions for promotion."""

    metrics: Metrics
    margin: Literal["auto"] | PositiveFloat
    min_margin: PositiveFloat
    max_margin: PositiveFloat
    min_auc: Share
    min_gauc: Share
    min_calibration: NonNegativeFloat
    max_calibration: NonNegativeFloat
    min_slice_calibration: NonNegativeFloat
    max_slice_calibration: NonNegativeFloat
    confidence: Fraction
    min_slice_rows: PositiveInt
    slice_margin: NonNegativeFloat
    max_prediction_drift: PositiveFloat
    max_champion_drop: PositiveFloat
    max_auc: Share
    max_gain: PositiveFloat
    max_gain_over_lr: PositiveFloat
    max_bundle_mb: PositiveFloat
    max_bundle_ratio: PositiveFloat
    max_latency_ms: PositiveFloat | None
    max_latency_ratio: PositiveFloat
    max_rows: PositiveInt
    allow_older: bool
    approval: Policy
    approval_days: Annotated[float, Field(gt=0, le=365)]
    seed: NonNegativeInt

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order, and a metric that is named twice."""
        if len(set(self.metrics)) < len(self.metrics):
            yield Conflict(("metrics",), "a metric is named twice; name auc and gauc at most once each")
        if self.min_margin > self.max_margin:
            yield reversed_bounds("min_margin", "max_margin")
        if self.min_auc > self.max_auc:
            yield reversed_bounds("min_auc", "max_auc")
        if self.min_calibration > self.max_calibration:
            yield reversed_bounds("min_calibration", "max_calibration")
        if self.min_slice_calibration > self.max_slice_calibration:
            yield reversed_bounds("min_slice_calibration", "max_slice_calibration")
