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
from din.gates.claims import Claim
from din.gates.evidence import Evidence
from din.gates.verdict import Finding
from din.metrics.estimates import MIN_USERS, Estimate
from din.metrics.multiplicity import holm
from din.metrics.slices import Slice, slices

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
    """A slice with what its interval shows, and how surprising that is if the slice is sound."""

    part: Slice
    claim: Claim
    p_value: float

    def __str__(self) -> str:
        return f"{self.part.name} {self.claim.figure}"


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
    claims = [Claim(figure.interval(confidence), low, high) for figure in figures]
    found = [_Judged(part, claim, float(p)) for part, claim, p in zip(judged, claims, p_values, strict=True)]
    closed = sorted((one for one, wrong in zip(found, rejected, strict=True) if wrong), key=lambda one: one.p_value)
    leading = min(found, key=lambda one: one.p_value)
    chance = " (its interval lies outside, as chance may explain among all)" if leading.claim.shows == "beyond" else ""
    reason = f"nearest to closing is {leading.part.name}{chance}; {counts}"
    if closed:
        reason = "; ".join([*map(str, closed), counts])
    interval = leading.claim.interval
    return Finding("closed" if closed else "open", interval.point, threshold, interval, len(leading.part.rows), reason)


def _large(part: Slice, columns: Mapping[str, NDArray[Any]], least: int) -> bool:
    clicked = columns["label"][part.rows] != 0
    user = columns["user"][part.rows]
    users = min(len(np.unique(user[clicked])), len(np.unique(user[~clicked])))
    return len(part.rows) >= least and users >= MIN_USERS
