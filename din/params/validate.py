"""The blocks `validate_raw`, `validate_features` and `validate_predictions`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import NonNegativeInt, PositiveFloat
from typing_extensions import Doc

from din.params.blocks import Block, Conflict, Range, Share, reversed_range

OwnExpectations = Annotated[str | None, Doc("file of your own expectations, see docs/plugins.md; null = none")]


@dataclass(frozen=True, kw_only=True)
class ValidateRaw(Block):
    """Limits for the raw log."""

    missing_days: Annotated[
        Literal["critical", "warning", "off"],
        Doc(
            "critical | warning | off: missing days, and last ones that end early; critical only if the source is daily"
        ),
    ] = "critical"
    max_duplicate_rate: Annotated[
        Share, Doc("largest share of events, and of a newest day's, with the user, item and time of another")
    ] = 0.01
    max_unknown_items: Annotated[Share, Doc("largest share of events whose item is not in the item table")] = 0.2
    strange_days: Annotated[
        Literal["critical", "warning", "off"],
        Doc("critical | warning | off: last days unlike earlier ones; critical only under temporal"),
    ] = "critical"
    min_rows: Annotated[NonNegativeInt, Doc("smallest number of events")] = 1000
    expectations: OwnExpectations = None


@dataclass(frozen=True, kw_only=True)
class ValidateFeatures(Block):
    """Limits for the feature shards."""

    max_unknown_items: Annotated[
        Share, Doc("largest share of validation and test candidates without an id of their own")
    ] = 0.5
    max_field_auc: Annotated[
        Share, Doc("largest AUC of one field, a pair, or the history alone; above, the label is leaking")
    ] = 0.83
    min_rows: Annotated[NonNegativeInt, Doc("smallest number of rows in each split")] = 100
    expectations: OwnExpectations = None


@dataclass(frozen=True, kw_only=True)
class ValidatePredictions(Block):
    """Limits for the predictions."""

    calibration: Annotated[Range, Doc("smallest and largest ratio of mean prediction to observed CTR")] = (0.7, 1.4)
    max_log_loss_over_constant: Annotated[
        PositiveFloat, Doc("largest log loss, divided by the log loss of predicting the mean CTR for all rows")
    ] = 1.0
    expectations: OwnExpectations = None

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order."""
        yield from reversed_range(self, "calibration")
