"""Decide whether a validation report opens a gate, for `din gate` and for `python -m validation gate`.

The report's own verdict is not trusted. The report must be about the data in the workspace, and hold every expectation
that was judged, among them those that its suite always judges as critical, with a threshold. Each number must be within
its threshold, and the thresholds must be those of the current params.yaml.
"""

import hashlib
import math
from typing import Any

from din.base import documents
from din.base.errors import listed, shown
from din.base.names import Digest
from din.base.workspace import Suite, Workspace
from din.contracts.verdicts import Expectation, ValidationReport
from din.params.blocks import to_json
from din.params.reading import Params

_ALWAYS: dict[Suite, str] = {
    "raw": """
        behaviour_0_or_1 columns copied_days distinct_items distinct_users duplicate_rate event_files
        files_match_manifest files_readable ids_of_one_type item_id_not_null label_0_or_1 largest_user_share rows
        sequence_not_null sequence_unique timestamp_not_null timestamp_plausible timestamp_within_day user_id_not_null
    """,
    "features": """
        behaviours_sorted built_from_this_raw_log columns empty_field fields_in_range files_match_manifest
        files_readable history_before_impression history_complete history_leak history_leak_later history_length
        history_of_own_user history_within_behaviours integers_not_null item_in_range item_order_kept label_0_or_1
        label_leak label_leak_later negatives_not_own row_counts split_classes split_rows splits_apart
        unknown_items_rate user_in_one_shard user_in_range vocabulary_counts vocabulary_days vocabulary_ids
        vocabulary_values
    """,
    "predictions": """
        columns files_readable test_calibration_ratio test_lr_not_null test_normalized_entropy test_popularity_not_null
        test_prediction_0_to_1 test_prediction_not_null test_prediction_std test_rows_of_features
        valid_prediction_0_to_1 valid_prediction_not_null valid_prediction_std valid_rows_of_features
    """,
}
ALWAYS = {suite: frozenset(names.split()) for suite, names in _ALWAYS.items()}
"""The critical expectations that a suite judges for every log; a test compares them with the suites."""

_NOT_IF_CONTINUED = frozenset({"test_lr_not_null", "valid_prediction_std"})
"""Expectations that may be missing for a continued champion: LR is not trained, and no validation row may be new."""


def thresholds(suite: Suite, params: Params) -> dict[str, Any]:
    """Return the parameters of a suite's thresholds, in the form in which its report states them."""
    return to_json(getattr(params, f"validate_{suite}"))


def expected(suite: Suite, params: Params) -> frozenset[str]:
    """Return the critical expectations that the report of a suite must hold."""
    return ALWAYS[suite] - (_NOT_IF_CONTINUED if params.train.continues else frozenset())


def digest_of_user_file(workspace: Workspace, suite: Suite, params: Params) -> Digest | None:
    """Return the hash of the file with the user's own expectations of a suite, or None if params.yaml names none.

    Raises:
        InputError: the file is missing or can't be read.
    """
    path = getattr(params, f"validate_{suite}").expectations
    if path is None:
        return None
    content = documents.read_bytes(workspace.root / path, missing="name an existing file in params.yaml, or null")
    return Digest(hashlib.sha256(content).hexdigest())


def why_closed(
    workspace: Workspace, suite: Suite, report: ValidationReport, digest: Digest, params: Params
) -> str | None:
    """Return the reason why a suite's report does not open a gate, or None if it does.

    Args:
        digest: the hash of the suite's directory as it is now.
        params: the current parameters.

    Raises:
        InputError: the file with the user's own expectations is missing or can't be read.
    """
    again = f"run `dvc repro validate_{suite}`"
    if report.input != digest:
        return (
            f"the report is about another {workspace.directory_of(suite)} ({report.input[:12]}) than this workspace "
            f"holds ({digest[:12]}); {again}"
        )
    now = thresholds(suite, params)
    if report.params != now:
        differing = sorted(key for key in report.params.keys() | now if report.params.get(key) != now.get(key))
        return f"the report was made with other thresholds: {listed(differing)}; {again}"
    critical = [entry for entry in report.expectations if entry.severity == "critical"]
    if missing := expected(suite, params) - {entry.name for entry in critical}:
        return f"the report lacks {listed(sorted(missing))}; {again}"
    entries = {(entry.name, entry.severity) for entry in report.expectations}
    if differing := {*report.judged.items()} ^ entries:
        names = sorted({name for name, _ in differing})
        return f"the report has lost entries, or holds others than were judged: {listed(names)}; {again}"
    if report.user_file != digest_of_user_file(workspace, suite, params):
        return f"validate_{suite}.expectations: the file has changed since the report was made; {again}"
    ours = critical if report.user_file is None else [entry for entry in critical if entry.name in ALWAYS[suite]]
    if unbounded := [entry.name for entry in ours if entry.success and not _bounds(entry)]:
        return f"the report lacks the threshold of {listed(unbounded)}; {again}"
    if failed := [entry.name for entry in critical if not _holds(entry)]:
        return f"failed: {listed(failed)}"
    if report.verdict != "open":
        return f"the report is {shown(report.verdict)} although nothing in it failed; {again}"
    return None


def _holds(entry: Expectation) -> bool:
    """Return whether an expectation succeeded and its figure is within its bounds.

    A user's own expectation may bound texts, e.g. days. Only the suite can compare these.
    """
    observed = entry.observed
    bounds = _bounds(entry)
    compared = [observed, *bounds.values()]
    if not entry.success:
        return False
    if not bounds or all(isinstance(value, str) for value in compared):
        return True
    if not all(isinstance(value, int | float) for value in compared):
        return False
    return bounds.get("min", -math.inf) <= observed <= bounds.get("max", math.inf)


def _bounds(entry: Expectation) -> dict[str, Any]:
    return {key: entry.threshold[key] for key in ("min", "max") if key in entry.threshold}
