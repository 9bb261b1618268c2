"""The blocks `validate_raw`, `validate_features` and `validate_predictions`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from din.params.blocks import Block, Conflict, Share, reversed_bounds


@dataclass(frozen=True, kw_only=True)
class ValidateRaw(Block):
    """Limits for the raw log."""

    missing_days: Literal["critical", "warning", "off"]
    partial_days: Literal["critical", "warning", "off"]
    max_duplicate_rate: Share
    max_unknown_items: Share
    max_unknown_users: Share
    max_user_share: Share
    strange_days: Literal["critical", "warning", "off"]
    min_rows: NonNegativeInt
    min_ctr: Share
    max_ctr: Share

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order."""
        if self.min_ctr > self.max_ctr:
            yield reversed_bounds("min_ctr", "max_ctr")


@dataclass(frozen=True, kw_only=True)
class ValidateFeatures(Block):
    """Limits for the feature shards."""

    max_unknown_items: Share
    max_unknown_users: Share | None
    max_field_auc: Share
    max_new_values: Share
    min_rows: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class ValidatePredictions(Block):
    """Limits for the predictions."""

    min_std: NonNegativeFloat
    min_calibration: NonNegativeFloat
    max_calibration: NonNegativeFloat
    max_log_loss_over_constant: PositiveFloat

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order."""
        if self.min_calibration > self.max_calibration:
            yield reversed_bounds("min_calibration", "max_calibration")
