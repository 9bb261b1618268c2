"""Hold a gain that is too good to be true for a person, since it is more often a leak than a discovery.

Flipped labels, a column that holds the answer, or a rate computed over the whole log raise every metric, so a gate that
demands "not worse" does not notice them. The verdict is borderline, and the reason names the strongest single field. To
let such a candidate pass, let a person approve it (`gate.approval`), or raise the limit in params.yaml.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din import documents
from din.errors import InputError, shown
from din.facts import Evaluation, Facts
from din.gates.evidence import Evidence
from din.gates.verdict import Finding
from din.metrics import auc
from din.verdicts import ValidationReport

MAX_GAIN_OVER_LR = 0.35
"""The largest plausible gain of AUC over LR: on public logs it is 0.01 to 0.12."""
RECENT = 30
"""The number of promotions whose gains over LR are compared with today's."""


@dataclass(frozen=True)
class _Figure:
    """A figure with the limit that it should not exceed."""

    name: str
    value: float
    limit: float

    @property
    def plausible(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4f} (limit {self.limit:g})"


def first_gain(evidence: Evidence) -> Finding:
    """Judge without a champion: neither the AUC nor the gain over LR exceeds its limit."""
    return _judge(evidence, _absolute(evidence))


def gain(evidence: Evidence, rows: pa.Table, champion: NDArray[np.float64], recent: Sequence[Facts]) -> Finding:
    """Judge with a champion: like `first_gain`, and no leap over the champion or over recent gains over LR.

    Args:
        evidence: the candidate.
        rows: the test rows of a fair comparison, with the candidate's predictions.
        champion: the champion's probabilities of these rows, [B].
        recent: the facts of recent champions.
    """
    limit = evidence.limits.max_gain
    label = rows["label"].to_numpy()
    over_champion = auc(label, rows["prediction"].to_numpy()) - auc(label, champion)
    figures = [*_absolute(evidence), _Figure("AUC over the champion's", over_champion, limit)]
    earlier = [_over_lr(facts.evaluation) for facts in recent]
    known = [value for value in earlier if value is not None]
    if known and "lr" in evidence.rows.column_names:
        beyond = _auc(evidence, "prediction") - _auc(evidence, "lr") - max(known)
        figures.append(_Figure("gain over LR beyond every recent champion's", beyond, limit))
    return _judge(evidence, figures)


def _absolute(evidence: Evidence) -> list[_Figure]:
    limits = evidence.limits
    judged = _auc(evidence, "prediction")
    rows = evidence.crossfit
    shipped = auc(rows["label"].to_numpy(), rows["prediction"].to_numpy())
    figures = [_Figure("AUC", max(judged, shipped), limits.max_auc)]
    if not evidence.params.train.continues:
        figures.append(_Figure("AUC over the judged model's", shipped - judged, limits.max_gain))
    if "lr" in evidence.rows.column_names:
        figures.append(_Figure("AUC over LR's", judged - _auc(evidence, "lr"), MAX_GAIN_OVER_LR))
    return figures


def _auc(evidence: Evidence, scores: str) -> float:
    """Return the AUC of a column of the test rows."""
    return auc(evidence.rows["label"].to_numpy(), evidence.rows[scores].to_numpy())


def _judge(evidence: Evidence, figures: list[_Figure]) -> Finding:
    """Judge figures; the observed value is the figure farthest beyond its limit."""
    if any(math.isnan(figure.value) for figure in figures):
        raise InputError("an AUC is undefined: one class only, or a score that is not a number")
    farthest = max(figures, key=lambda figure: figure.value - figure.limit)
    rows = len(evidence.rows)
    beyond = [figure for figure in figures if not figure.plausible]
    if not beyond:
        return Finding("open", farthest.value, farthest.limit, rows=rows)
    reason = (
        f"too good to be true: {', '.join(map(str, beyond))}; {_strongest_field(evidence)}. Look for a leak; if there "
        "is none, let a person approve (gate.approval), or raise gate.max_auc or gate.max_gain"
    )
    return Finding("borderline", farthest.value, farthest.limit, rows=rows, reason=reason)


def _over_lr(evaluation: Evaluation) -> float | None:
    model = evaluation.test.auc
    lr = evaluation.floors.lr
    return None if model is None or lr is None or lr.auc is None else model - lr.auc


def _strongest_field(evidence: Evidence) -> str:
    """Name the field that by itself tells most about the label, according to the report on the features."""
    path = evidence.workspace.validation("features")
    entries = documents.read(ValidationReport, path).expectations
    found = [entry for entry in entries if entry.name == "label_leak" and entry.column]
    if not found:
        return f"{path} names no single field"
    field = shown(found[0].column)
    return f"the strongest field by itself is {field}, its AUC at least {shown(found[0].observed)} ({path})"
