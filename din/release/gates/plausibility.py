"""The gate `implausible_gain`: let a person decide about a gain that is too good to be true, and probably a leak.

A column that contains the label, or a rate computed over the whole log, raises every metric, so a gate that demands
"not worse" does not notice it. The verdict is borderline, and the reason names the strongest single field. For such a
candidate to pass, a person must override the gate (`din promote --override`), or raise the limit in params.yaml.
"""

import math

import pyarrow as pa

from din.base import documents
from din.base.errors import InputError, shown
from din.contracts.verdicts import ValidationReport
from din.metrics.ranking import auc
from din.release.gates import GATES
from din.release.gates.case import Case, show_evaluation, show_record
from din.release.gates.findings import Finding
from din.release.registry.champions import known_facts, rolled_back

MAX_GAIN_OVER_LR = 0.35
"""The largest plausible gain of AUC over LR. On public logs the gain is 0.01 to 0.12."""
_RECENT = 30
"""The number of latest records whose gains over LR are compared with today's."""


@GATES.register(
    "implausible_gain",
    model="crossfit",
    equal=0.0,
    command=lambda case: show_record(case) if case.history else show_evaluation(case),
)
def implausible_gain(case: Case) -> Finding:
    """Judge that no gain is too good to be true. Report the figure that is farthest above its limit, or closest to it.

    Raises:
        InputError: an AUC is undefined.
    """
    figures = _figures(case)
    if any(math.isnan(value) for value, _ in figures.values()):
        raise InputError("an AUC is undefined: one class only, or a score that is not a number")
    observed, limit = max(figures.values(), key=lambda figure: figure[0] - figure[1])
    beyond = [f"{name} {value:.4f} (limit {most:g})" for name, (value, most) in figures.items() if value > most]
    rows = len(case.evidence.judged_rows)
    if not beyond:
        return Finding("open", observed, limit, rows=rows)
    reason = (
        f"too good to be true: {', '.join(beyond)}; {_strongest_field(case)}. Look for a leak; if there is none, "
        "override this gate (din promote --override), or raise gate.max_auc or gate.max_gain"
    )
    return Finding("borderline", observed, limit, rows=rows, reason=reason)


def _figures(case: Case) -> dict[str, tuple[float, float]]:
    """Return AUC and its gains as pairs (value, limit) by name.

    The gain over LR is also compared with the gains that recent champions recorded when they were promoted.
    """
    limits = case.limits
    rows = case.evidence.judged_rows
    judged = _auc(rows, "prediction")
    shipped = _auc(case.evidence.crossfit_rows, "prediction")
    over_lr = None if case.evidence.params.train.continues else judged - _auc(rows, "lr")
    figures = {"AUC": (max(judged, shipped), limits.max_auc)}
    if over_lr is not None:
        figures["AUC over the judged model's"] = (shipped - judged, limits.max_gain)
        figures["AUC over LR's"] = (over_lr, MAX_GAIN_OVER_LR)
    if champion := case.scored_champion:
        over_champion = _auc(champion.rows, "prediction") - auc(champion.rows["label"].to_numpy(), champion.scores)
        figures["AUC over the champion's"] = (over_champion, limits.max_gain)
    earlier: list[float] = []
    recent = {record.version for record in case.history[-_RECENT:]} - rolled_back(case.history).keys()
    for facts in known_facts(case.registry, recent).values():
        recorded = facts.evaluation
        lr = recorded.floors.lr
        if recorded.test.auc is not None and lr and lr.auc is not None:
            earlier.append(recorded.test.auc - lr.auc)
    if earlier and over_lr is not None:
        figures["gain over LR beyond every recent champion's"] = (over_lr - max(earlier), limits.max_gain)
    return figures


def _auc(rows: pa.Table, scores: str) -> float:
    return auc(rows["label"].to_numpy(), rows[scores].to_numpy())


def _strongest_field(case: Case) -> str:
    """Return which single field predicts the label best, according to the validation report on the features."""
    path = case.workspace.validation("features")
    entries = documents.read(ValidationReport, path).expectations
    leaks = [entry for entry in entries if entry.name == "label_leak" and entry.column]
    if not leaks:
        return f"{path} names no single field"
    field = shown(leaks[0].column)
    return f"the strongest field by itself is {field}, its AUC at least {shown(leaks[0].observed)} ({path})"
