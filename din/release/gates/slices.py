"""Gates on calibration and on slices: a figure is computed on every slice that is large enough, and the worst decides.

A slice closes a gate only if its figure is significantly on the wrong side. The required significance depends on the
number of slices (Holm, Scandinavian Journal of Statistics 6, 1979): if all slices are sound, the chance that any of
them closes the gate is at most 1 − `gate.confidence`. The figures are AUC, loss of AUC, and calibration, whatever
`gate.metrics` are: GAUC needs users with both classes, and few users have both in one slice. Each slice takes one sort
of its own rows.

Calibration is the mean prediction divided by the observed CTR. Its limits are tight, and it closes its gate only if it
is certainly outside. A large log is therefore judged by the limits, and a small one by what its rows can prove. A
candidate that is closer to 1 than the champion on the same rows is excused, because keeping the champion would not
help. This is common when the CTR itself changes from day to day. With too few users for an interval, nothing excuses.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from din.base.errors import InputError
from din.metrics.calibration import calibration_ratio
from din.metrics.estimates import MIN_USERS, Estimate
from din.metrics.slices import Slice, slices
from din.release.gates import GATES
from din.release.gates.case import Case, show_evaluation
from din.release.gates.earlier_champion import EarlierChampion
from din.release.gates.evidence import measured
from din.release.gates.findings import Claim, Finding, from_estimate, not_outside

_COLUMNS = ("user", "item", "label", "sequence", "history_length")
_CHAMPION = "champion's scores"


@GATES.register("slice_auc", model="crossfit", run="first", command=show_evaluation)
def slice_auc(case: Case) -> Finding:
    """Judge that the candidate ranks no slice certainly worse than chance."""
    return _worst(case, case.evidence.crossfit_sample, lambda rows: measured("auc", rows), 0.5)


@GATES.register("slice_delta", model="crossfit", run="later", compares=True, equal=0.0, command=show_evaluation)
def slice_delta(case: Case) -> Finding:
    """Judge that on no slice the candidate's AUC is certainly more than `slice_margin` below the champion's."""
    rows = _beside(case.champion)
    return _worst(case, rows, lambda part: measured("auc", part, against=_CHAMPION), -case.limits.slice_margin)


@GATES.register("calibration", model="crossfit", equal=0.0, command=show_evaluation)
def calibration(case: Case) -> Finding:
    """Judge the calibration over all rows by `gate.calibration`."""
    rows = _rows(case)
    limits = case.limits
    bounds = limits.calibration
    ratio = measured("calibration_ratio", rows)
    finding = from_estimate(not_outside, ratio, limits.confidence, *bounds, rows=len(rows))
    if finding.verdict == "closed" and not math.isnan(ratio.standard_error) and _excused(rows):
        return replace(finding, verdict="open", reason=f"{finding.reason}, but the champion is farther from 1")
    return finding


@GATES.register("slice_calibration", model="crossfit", equal=0.0, command=show_evaluation)
def slice_calibration(case: Case) -> Finding:
    """Judge the calibration on every slice by `gate.slice_calibration`."""
    bounds = case.limits.slice_calibration
    return _worst(case, _rows(case), lambda rows: measured("calibration_ratio", rows), *bounds, excused=_excused)


def _rows(case: Case) -> pa.Table:
    """Return the rows that judge the shipped model, with the champion's scores if it has any."""
    return _beside(case.scored_champion) if case.scored_champion else case.evidence.crossfit_sample


def _beside(champion: EarlierChampion) -> pa.Table:
    return champion.rows.append_column(_CHAMPION, pa.array(champion.scores))


def _excused(rows: pa.Table) -> bool:
    """Return whether the champion's calibration is farther from 1, on a logarithmic scale."""
    if _CHAMPION not in rows.column_names:
        return False
    label = rows["label"].to_numpy()
    ratios = (calibration_ratio(label, rows[name].to_numpy()) for name in ("prediction", _CHAMPION))
    candidate, champion = (abs(math.log(ratio)) if ratio else math.inf for ratio in ratios)
    return candidate < champion


def _worst(
    case: Case,
    rows: pa.Table,
    estimate: Callable[[pa.Table], Estimate],
    low: float,
    high: float = math.inf,
    excused: Callable[[pa.Table], bool] = lambda rows: False,
) -> Finding:
    """Return the finding about the slice with the smallest p-value. The reason names all slices that close the gate.

    Args:
        estimate: returns the figure of some rows.
        excused: returns whether to skip a slice, given its rows.

    Raises:
        InputError: there are no rows.
    """
    if not len(rows):
        raise InputError("no test rows to slice")
    columns = {name: rows[name].to_numpy() for name in _COLUMNS}
    every = slices(columns, case.evidence.features)
    large = [part for part in every if _large(part, columns, case.limits.min_slice_rows)]
    judged: list[Slice] = []
    figures: list[Estimate] = []
    for part in large:
        slice_rows = rows.take(pa.array(part.rows))
        if not excused(slice_rows):
            judged.append(part)
            figures.append(estimate(slice_rows))
    threshold = low if math.isinf(high) else [low, high]
    counts = f"{len(judged)} slices judged, {len(every) - len(large)} too small, {len(large) - len(judged)} excused"
    if not judged:
        return Finding("open", None, threshold, rows=0, reason=counts)
    confidence = case.limits.confidence
    p_values = np.nan_to_num([figure.p_outside(low, high) for figure in figures], nan=0.0)  # undefined closes
    rejected = holm(p_values, 1 - confidence)
    order = np.argsort(p_values, kind="stable")
    claims = [Claim(figure.interval(confidence), low, high) for figure in figures]
    closed = [f"{judged[place].name} {claims[place].figure}" for place in order if rejected[place]]
    leading = judged[order[0]]
    claim = claims[order[0]]
    chance = (
        " (its interval lies outside, but one of many slices may do so by chance)" if claim.shows == "beyond" else ""
    )
    nearest = f"nearest to closing is {leading.name}{chance}"
    reason = "; ".join([*(closed or [nearest]), counts])
    interval = claim.interval
    return Finding("closed" if closed else "open", interval.point, threshold, interval, len(leading.rows), reason)


def _large(part: Slice, columns: Mapping[str, NDArray[Any]], least: int) -> bool:
    clicked = columns["label"][part.rows] != 0
    user = columns["user"][part.rows]
    users = min(len(np.unique(user[clicked])), len(np.unique(user[~clicked])))
    return len(part.rows) >= least and users >= MIN_USERS


def holm(p_values: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Return which hypotheses [n] to reject, so that the chance of any wrong rejection is at most `level`.

    The smallest p-value is compared with level / n, the next one with level / (n − 1), and so on up to the first that
    is larger (Holm, Scandinavian Journal of Statistics 6, 1979). This is valid under any dependence of the tests.

    Args:
        p_values: [n] one for each hypothesis.
        level: the family-wise error rate, e.g. 0.05.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    small = p[order] <= level / np.arange(len(p), 0, -1)
    rejected = np.zeros(len(p), bool)
    rejected[order] = np.logical_and.accumulate(small)
    return rejected
