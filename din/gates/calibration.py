"""Gates on calibration: the mean prediction divided by the observed CTR, over all rows and on slices.

The limits are tight, and a figure closes its gate only if it lies outside for certain. So a large log is judged by the
limits, and a small one by what its rows can tell. A candidate that is less far from 1 than the champion on the same
rows is excused: keeping the champion would not help. This is common when the CTR itself moves from day to day.
"""

import math
from dataclasses import replace
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from din.gates import slices
from din.gates.evidence import Evidence
from din.gates.verdict import Finding, from_estimate, not_outside
from din.metrics import calibration_ratio


def overall(evidence: Evidence, rows: pa.Table, champion: NDArray[Any] | None = None) -> Finding:
    """Judge all rows by `gate.calibration`.

    Args:
        evidence: the candidate.
        rows: B test rows with its predictions.
        champion: the champion's probabilities, [B].
    """
    limits = evidence.limits
    bounds = limits.calibration
    found = from_estimate(
        not_outside, evidence.estimate("calibration_ratio", rows), limits.confidence, *bounds, rows=len(rows)
    )
    if found.verdict == "closed" and _excused(rows, champion):
        return replace(found, verdict="open", reason=f"{found.reason}, but the champion is farther from 1")
    return found


def on_slices(evidence: Evidence, rows: pa.Table, champion: NDArray[Any] | None = None) -> Finding:
    """Judge every large slice by `gate.slice_calibration`; arguments as for `overall`."""
    limits = evidence.limits
    bounds = limits.slice_calibration

    def excused(some: pa.Array) -> bool:
        return _excused(rows.take(some), None if champion is None else champion[some.to_numpy()])

    return slices.worst(
        evidence, rows, lambda some: evidence.estimate("calibration_ratio", rows.take(some)), *bounds, excused=excused
    )


def _excused(rows: pa.Table, champion: NDArray[Any] | None) -> bool:
    """Return whether the champion's calibration is worse on the same rows."""
    if champion is None:
        return False
    labels = rows["label"].to_numpy()
    ours = calibration_ratio(labels, rows["prediction"].to_numpy())
    theirs = calibration_ratio(labels, champion)
    return _distance(ours) < _distance(theirs)


def _distance(ratio: float) -> float:
    """Return how many times a ratio is off, as a logarithm."""
    return abs(math.log(ratio)) if ratio else math.inf
