"""Gates on slices: a figure is computed on every slice that is large enough, and the worst one decides.

There are many slices, so only an interval wholly on the wrong side closes a gate. If a borderline one did, most runs
would close. The figures are AUC, loss of AUC, and calibration, whatever `gate.metric` is: GAUC needs users with both
classes, and few users have both in one slice. Each slice takes one sort of its own rows.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.errors import InputError
from din.metrics.estimates import MIN_USERS, Interval
from din.metrics.slices import Slice, slices
from din.promotion.evidence import Evidence
from din.promotion.verdict import Finding, not_outside

_COLUMNS = ("user", "item", "label", "sequence", "history_length")


def auc(evidence: Evidence) -> Finding:
    """Judge that the candidate's order is worse than chance on no slice."""
    rows = evidence.sample
    return _worst(evidence, rows, lambda some: evidence.interval("auc", rows.take(some)), 0.5)


def calibration(evidence: Evidence) -> Finding:
    """Judge that the calibration ratio lies between `min_calibration` and `max_calibration` on every slice."""
    rows = evidence.sample
    limits = evidence.limits
    bounds = (limits.min_calibration, limits.max_calibration)
    return _worst(evidence, rows, lambda some: evidence.interval("calibration_ratio", rows.take(some)), *bounds)


def delta(evidence: Evidence, rows: pa.Table, champion: NDArray[np.float64]) -> Finding:
    """Judge that the candidate loses at most `slice_margin` of AUC against the champion on every slice."""

    def interval(some: pa.Array) -> Interval:
        return evidence.interval("auc", rows.take(some), champion[some.to_numpy()])

    return _worst(evidence, rows, interval, -evidence.limits.slice_margin)


def _worst(
    evidence: Evidence, rows: pa.Table, interval: Callable[[pa.Array], Interval], low: float, high: float = math.inf
) -> Finding:
    """Return the finding about the slice farthest on the wrong side; the reason names all slices that close."""
    columns = {name: rows[name].to_numpy() for name in _COLUMNS}
    if not len(rows):
        raise InputError("no test rows to slice")
    every = slices(columns, evidence.features)
    judged = [(s, interval(pa.array(s.rows))) for s in every if _large(s, columns, evidence.limits.min_slice_rows)]
    threshold = low if math.isinf(high) else [low, high]
    counts = f"{len(judged)} slices judged, {len(every) - len(judged)} too small"
    if not judged:
        return Finding("open", None, threshold, rows=0, reason=counts)

    def excess(one: tuple[Slice, Interval]) -> float:
        point = one[1].point
        return math.inf if math.isnan(point) else max(low - point, point - high)

    shut = [one for one in judged if not_outside(one[1], low, high) == "closed"]
    worst, found = max(shut or judged, key=excess)
    named = [f"{s.name} {i.point:.4f} [{i.lower:.4f}, {i.upper:.4f}]" for s, i in sorted(shut, key=excess)[::-1]]
    reason = "; ".join([*named, counts]) if shut else f"the worst is {worst.name}; {counts}"
    return Finding("closed" if shut else "open", found.point, threshold, found, len(worst.rows), reason)


def _large(part: Slice, columns: Mapping[str, NDArray[Any]], least: int) -> bool:
    clicked = columns["label"][part.rows] != 0
    user = columns["user"][part.rows]
    users = min(len(np.unique(user[clicked])), len(np.unique(user[~clicked])))
    return len(part.rows) >= least and users >= MIN_USERS
