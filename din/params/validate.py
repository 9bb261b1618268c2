"""The blocks `validate_raw`, `validate_features` and `validate_predictions`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from typing_extensions import Doc

from din.params.blocks import Block, Conflict, Share, reversed_bounds

OwnExpectations = Annotated[str | None, Doc("file of your own expectations, see docs/plugins.md; null = none")]


@dataclass(frozen=True, kw_only=True)
class ValidateRaw(Block):
    """Limits for the raw log."""

    missing_days: Annotated[
        Literal["critical", "warning", "off"],
        Doc("critical | warning | off; critical only if the source is daily, otherwise a warning"),
    ] = "critical"
    partial_days: Annotated[
        Literal["critical", "warning", "off"],
        Doc("critical | warning | off: last days that end early; critical only if the source is daily"),
    ] = "critical"
    max_duplicate_rate: Annotated[
        Share, Doc("largest share of events, and of a newest day's, with the user, item and time of another")
    ] = 0.01
    max_unknown_items: Annotated[Share, Doc("largest share of events whose item is not in the item table")] = 0.2
    max_unknown_users: Annotated[Share, Doc("largest share of events whose user is not in the user table")] = 0.99
    max_user_share: Annotated[Share, Doc("largest share of events from one user")] = 0.2
    strange_days: Annotated[
        Literal["critical", "warning", "off"],
        Doc("critical | warning | off: last days unlike earlier ones; critical only under temporal"),
    ] = "critical"
    min_rows: Annotated[NonNegativeInt, Doc("smallest number of events")] = 1000
    min_ctr: Annotated[Share, Doc("smallest share of clicks")] = 0.0001
    max_ctr: Annotated[Share, Doc("largest share of clicks")] = 0.9999
    expectations: OwnExpectations = None

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order."""
        if self.min_ctr > self.max_ctr:
            yield reversed_bounds("min_ctr", "max_ctr")


@dataclass(frozen=True, kw_only=True)
class ValidateFeatures(Block):
    """Limits for the feature shards."""

    max_unknown_items: Annotated[
        Share, Doc("largest share of validation and test candidates without an id of their own")
    ] = 0.5
    max_unknown_users: Annotated[Share | None, Doc("the same for users, if user_id is a field; null = no limit")] = None
    max_field_auc: Annotated[
        Share, Doc("largest AUC of one field, a pair, or the history alone; above, the label is leaking")
    ] = 0.83
    min_rows: Annotated[NonNegativeInt, Doc("smallest number of rows in each split")] = 100
    expectations: OwnExpectations = None


@dataclass(frozen=True, kw_only=True)
class ValidatePredictions(Block):
    """Limits for the predictions."""

    min_std: Annotated[
        NonNegativeFloat, Doc("smallest standard deviation of the probabilities; below it, the model has collapsed")
    ] = 0.001
    min_calibration: Annotated[NonNegativeFloat, Doc("smallest ratio of mean prediction to observed CTR")] = 0.7
    max_calibration: Annotated[NonNegativeFloat, Doc("largest ratio of mean prediction to observed CTR")] = 1.4
    max_log_loss_over_constant: Annotated[
        PositiveFloat, Doc("largest log loss, divided by the log loss of predicting the mean CTR for all rows")
    ] = 1.0
    expectations: OwnExpectations = None

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order."""
        if self.min_calibration > self.max_calibration:
            yield reversed_bounds("min_calibration", "max_calibration")
