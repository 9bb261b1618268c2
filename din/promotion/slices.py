"""Gates on slices: a figure is computed on every slice that is large enough, and the worst one decides.

There are many slices, so only a slice that is on the wrong side for certain closes a gate. How certain follows from the
number of slices (Holm, Scandinavian Journal of Statistics 6, 1979): if all slices are sound, the chance that any of
them closes the gate is at most 1 − `gate.confidence`. The figures are AUC, loss of AUC, and calibration, whatever
`gate.metrics` are: GAUC needs users with both classes, and few users have both in one slice. Each slice takes one sort
of its own rows.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.errors import InputError
from din.metrics.estimates import MIN_USERS, Estimate
from din.metrics.multiplicity import holm
from din.metrics.slices import Slice, slices
from din.promotion.evidence import Evidence
from din.promotion.verdict import Finding

_COLUMNS = ("user", "item", "label", "sequence", "history_length")


def auc(evidence: Evidence) -> Finding:
    """Judge that the candidate's order is worse than chance on no slice."""
    rows = evidence.shipped_sample
    return worst(evidence, rows, lambda some: evidence.estimate("auc", rows.take(some)), 0.5)


def delta(evidence: Evidence, rows: pa.Table, champion: NDArray[np.float64]) -> Finding:
    """Judge that the candidate loses at most `slice_margin` of AUC against the champion on every slice."""

    def difference(some: pa.Array) -> Estimate:
        return evidence.estimate("auc", rows.take(some), champion[some.to_numpy()])

    return worst(evidence, rows, difference, -evidence.limits.slice_margin)


@dataclass(frozen=True)
class _Judged:
    """A slice with its figure, and how surprising the figure is if the slice is sound."""

    part: Slice
    figure: Estimate
    p_value: float

    def text(self, confidence: float) -> str:
        interval = self.figure.interval(confidence)
        return f"{self.part.name} {interval.point:.4f} [{interval.lower:.4f}, {interval.upper:.4f}]"


def worst(
    evidence: Evidence,
    rows: pa.Table,
    estimate: Callable[[pa.Array], Estimate],
    low: float,
    high: float = math.inf,
    excused: Callable[[pa.Array], bool] | None = None,
) -> Finding:
    """Return the finding about the most surprising slice; the reason names all slices that close.

    Args:
        evidence: the candidate.
        rows: the test rows.
        estimate: returns the figure of the rows at some positions.
        low, high: the thresholds.
        excused: returns whether the rows at some positions are not held against the candidate.
    """
    columns = {name: rows[name].to_numpy() for name in _COLUMNS}
    if not len(rows):
        raise InputError("no test rows to slice")
    every = slices(columns, evidence.features)
    large = [part for part in every if _large(part, columns, evidence.limits.min_slice_rows)]
    judged = [part for part in large if excused is None or not excused(pa.array(part.rows))]
    threshold = low if math.isinf(high) else [low, high]
    counts = f"{len(judged)} slices judged, {len(every) - len(large)} too small, {len(large) - len(judged)} excused"
    if not judged:
        return Finding("open", None, threshold, rows=0, reason=counts)
    figures = [estimate(pa.array(part.rows)) for part in judged]
    p_values = np.nan_to_num([figure.p_outside(low, high) for figure in figures], nan=0.0)  # undefined closes
    confidence = evidence.limits.confidence
    rejected = holm(p_values, 1 - confidence)
    found = [_Judged(part, figure, float(p)) for part, figure, p in zip(judged, figures, p_values, strict=True)]
    shut = sorted((one for one, wrong in zip(found, rejected, strict=True) if wrong), key=lambda one: one.p_value)
    leading = min(found, key=lambda one: one.p_value)
    reason = f"the worst is {leading.part.name}; {counts}"
    if shut:
        reason = "; ".join([*(one.text(confidence) for one in shut), counts])
    interval = leading.figure.interval(confidence)
    return Finding("closed" if shut else "open", interval.point, threshold, interval, len(leading.part.rows), reason)


def _large(part: Slice, columns: Mapping[str, NDArray[Any]], least: int) -> bool:
    clicked = columns["label"][part.rows] != 0
    user = columns["user"][part.rows]
    users = min(len(np.unique(user[clicked])), len(np.unique(user[~clicked])))
    return len(part.rows) >= least and users >= MIN_USERS
