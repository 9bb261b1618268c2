"""The thresholds of all expectations, in one table: what each tolerates, and how severe a failure is.

A limit or a severity such as "validate_raw.min_rows" is that parameter of params.yaml. A figure that is null or NaN
fails whatever its threshold. The report shows each threshold next to what was observed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Any, Literal

from din.base.workspace import Suite
from din.params.reading import Params
from validation import detector_limits

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Threshold:
    """The smallest and the largest value that holds, and the severity of any other."""

    minimum: float | None
    maximum: float | None
    severity: Severity


@dataclass(frozen=True)
class Setting:
    """A threshold whose values may be names of parameters."""

    minimum: float | str | None = None
    maximum: float | str | None = None
    severity: str = "critical"

    def of(self, params: Params) -> Threshold:
        """Return the threshold for these parameters. A severity of `off` counts as a warning."""
        values: list[Any] = [
            attrgetter(value)(params) if isinstance(value, str) and "." in value else value
            for value in (self.minimum, self.maximum, self.severity)
        ]
        minimum, maximum, severity = values
        return Threshold(
            minimum=minimum[0] if isinstance(minimum, tuple) else minimum,
            maximum=maximum[1] if isinstance(maximum, tuple) else maximum,
            severity="critical" if severity == "critical" else "warning",
        )


def _none(severity: str = "critical") -> Setting:
    return Setting(maximum=0, severity=severity)


def _at_most(maximum: float | str, severity: str = "critical") -> Setting:
    return Setting(maximum=maximum, severity=severity)


def _at_least(minimum: float | str, severity: str = "critical") -> Setting:
    return Setting(minimum=minimum, severity=severity)


_THRESHOLDS: Mapping[Suite, Mapping[str, Setting]] = {
    "raw": {
        "event_files": _at_least(1),
        "rows": _at_least("validate_raw.min_rows"),
        "distinct_users": _at_least(2),  # with one user, or one item, nothing can be ranked
        "distinct_items": _at_least(2),
        "ctr": Setting(0.0001, 0.9999),  # outside this range, the label rule is wrong or the log has only clicks
        "behaviours": _at_least(1, "warning"),
        "duplicate_rate": _at_most("validate_raw.max_duplicate_rate"),
        "days_far_after": _none(),  # a warning unless the split is temporal
        "days_far_before": _none("warning"),
        "missing_days": _none("validate_raw.missing_days"),  # a warning unless the source promises every day
        "days_behind_until": _none("validate_raw.missing_days"),  # likewise
        "unknown_items": _none("warning"),
        "unknown_items_rate": _at_most("validate_raw.max_unknown_items"),
        "unknown_users": _none("warning"),
        "unknown_users_rate": _at_most(0.99),  # of the events; user tables often list only registered customers
        "history_within_log": _at_most(0.5, "warning"),  # of the behaviours
        "history_repeats_log": _at_most(0.02, "warning"),  # of the history's rows: impressions of the log
        "history_repeats_log_rate": _at_most(0.3),
        "history_unknown_items": _at_most(0.95),  # histories may hold items that left the catalogue long ago
        "users_with_history": _at_least(1),
        # The ratio of a history's lift to that of earlier clicks is 0.9 to 1.5 in sound logs, and 0 to 0.1 if histories
        # belong to other users.
        "history_tells_clicks": _at_least(0.25),
        "constant_fields": _none("warning"),
        "lists_split": _none("warning"),
        "flat_vectors": _none("warning"),
        "click_everything_rate": _at_most(0.02),  # of the users
        "largest_user_share": _at_most(detector_limits.LARGEST_SHARE),
        "duplicate_rate_newest_days": _none(),
        # A warning, unless the source promises every day.
        "covered_hours_newest_days": _none("validate_raw.missing_days"),
        "*_newest_days": _none("validate_raw.strange_days"),
        "*_by_day": _none("warning"),
    },
    "features": {
        "split_rows": _at_least("validate_features.min_rows"),
        "split_classes": _at_least(2),
        "unknown_items_rate": _at_most("validate_features.max_unknown_items"),
        "negatives_told": _at_most(1e-9),  # rounding
        "label_leak": _at_most("validate_features.max_field_auc"),  # under leave_last_out at least MAX_SAMPLED_AUC
        "label_leak_later": _at_most(0.15),  # the rise of a field's AUC over its AUC on training rows
        "pair_leak": _at_most("validate_features.max_field_auc"),
        "history_leak": _at_most("validate_features.max_field_auc"),
        "history_leak_later": _at_most(0.15),
        # The correlation of two parts' residuals is -0.38 to -1 for planted rates, and 0 or more for fields of sound
        # logs.
        "rate_of_judged_rows": _at_least(-0.25),
        "rate_of_training_rows": _at_least(-0.25, "warning"),
        # The share of expected faults that are left is 0 to 0.06 for planted grades, and was at least 0.4 for 10,000
        # honest attributes of simulated logs.
        "grade_of_judged_rows": _at_least(0.25),
        "empty_field": _at_most(0.99),  # of the training rows lack a value
        "missing_values": _at_most(0.4, "warning"),
    },
    "predictions": {
        "*_prediction_0_to_1": Setting(0, 1),
        "*_prediction_std": _at_least(0.001),  # with a smaller standard deviation, the model has collapsed
        "test_calibration_ratio": Setting("validate_predictions.calibration", "validate_predictions.calibration"),
        "test_normalized_entropy": _at_most("validate_predictions.max_log_loss_over_constant"),
    },
}
"""Every expectation that is not listed counts offenders, such as the rows that break a rule, and tolerates none."""


def threshold(suite: Suite, name: str, params: Params) -> Threshold:
    """Return the threshold of an expectation: that of its name, or else of the first pattern that fits."""
    table = _THRESHOLDS[suite]
    patterns = (pattern for pattern in table if fnmatchcase(name, pattern))
    return table.get(name, table.get(next(patterns, ""), _none())).of(params)
