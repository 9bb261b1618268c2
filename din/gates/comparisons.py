"""Gates that compare the candidate with floors on a first run, and otherwise with the champion and the anchor.

Both sides score the same rows. The gates compute a few intervals, and one per slice. Except on a first run, the
champion and the anchor score up to `gate.max_rows` test rows.
"""

import math
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.errors import listed
from din.gates import budgets, calibration, plausibility, slices
from din.gates.budgets import LATENCY_RATIO, Latency
from din.gates.champion_today import champion_today
from din.gates.claims import Claim
from din.gates.delta import against_anchor, against_champion
from din.gates.earlier_champion import Rival, Score
from din.gates.evidence import Evidence
from din.gates.last_step import NAME as LAST_STEP
from din.gates.last_step import last_step
from din.gates.verdict import Finding, Gate, Rule, from_estimate, not_outside, within
from din.metrics import population_stability_index
from din.metrics.estimates import Metric
from din.registry.champions import anchor, predecessor, removed_lesson, rolled_back, started_from, until
from din.registry.records import Record
from din.registry.registry import Registry


def first_run(evidence: Evidence, registry: Registry) -> list[Gate]:
    """Return the gates of a run without a champion.

    The candidate must be better than popularity, not worse than LR, and not plainly wrong on a slice.
    """
    look = evidence.show(evidence.workspace.evaluation)
    metric = evidence.limits.metrics[0]
    return [
        Gate("no_earlier_champion", "din registry verify", partial(_no_earlier_champion, evidence, registry)),
        Gate(f"{metric}_over_popularity", look, partial(_floor, evidence, "popularity", within), "judged"),
        Gate(f"{metric}_over_lr", look, partial(_floor, evidence, "lr", not_outside), "judged"),
        Gate("slice_auc", look, partial(slices.auc, evidence), "crossfit"),
        Gate("calibration", look, lambda: calibration.overall(evidence, evidence.shipped_sample), "crossfit"),
        Gate("slice_calibration", look, lambda: calibration.on_slices(evidence, evidence.shipped_sample), "crossfit"),
        Gate("implausible_gain", look, partial(plausibility.first_gain, evidence), "crossfit"),
    ]


def against_earlier(
    evidence: Evidence, registry: Registry, history: list[Record], score: Score, latency: Latency, may_look: bool
) -> list[Gate]:
    """Return the gates of a run with a champion.

    The candidate must not be older than the champion or rolled back, nor hold the lessons of a bundle that was rolled
    back. It must not be worse overall or on a slice, predict another distribution, or be much larger or slower. There
    is no gate on slowness without `max_latency_ms`.
    """
    look = f"din registry show --number {history[-1].number}"
    champion = Rival("champion", history[-1], evidence, registry, score, may_look)
    slices_look = evidence.show(evidence.workspace.evaluation)
    best = _Anchor(evidence, registry, history, score)
    replaced = predecessor(history)
    before = Rival("predecessor", replaced, evidence, registry, score) if replaced else None
    metrics = evidence.limits.metrics
    gates = [
        Gate("data_until", look, partial(_until, champion)),
        Gate("not_rolled_back", "din registry list", partial(_not_rolled_back, evidence, registry, history)),
        Gate("champion_today", look, partial(champion_today, champion)),
        Gate(LAST_STEP, "din registry list", partial(last_step, champion, before)),
        *(
            Gate(f"champion_delta_{metric}", look, partial(against_champion, champion, metric), "crossfit")
            for metric in metrics
        ),
        Gate("slice_delta", slices_look, partial(_slice_delta, champion), "crossfit"),
        Gate("calibration", slices_look, partial(_calibration, champion, calibration.overall), "crossfit"),
        Gate("slice_calibration", slices_look, partial(_calibration, champion, calibration.on_slices), "crossfit"),
        Gate("prediction_drift", look, partial(_drift, champion), "crossfit"),
        *(
            Gate(f"anchor_delta_{metric}", "din registry list", partial(best.judge, metric), "crossfit")
            for metric in metrics
        ),
        Gate("implausible_gain", look, partial(_gain, champion, registry, history), "crossfit"),
        Gate("bundle_ratio", look, partial(_size_ratio, champion), "shipped"),
    ]
    if evidence.limits.max_latency_ms is not None:
        gates.append(Gate(LATENCY_RATIO, look, partial(_latency_ratio, champion, latency), "shipped"))
    return gates


class _Anchor:
    """The best champion of the last 90 days, found when first needed."""

    def __init__(self, evidence: Evidence, registry: Registry, history: list[Record], score: Score) -> None:
        self._evidence = evidence
        self._registry = registry
        self._history = history
        self._score = score

    def judge(self, metric: Metric) -> Finding:
        rival = self._rival
        if rival is None:
            return Finding("open", 0.0, 0.0, reason="the anchor is the champion")
        return against_anchor(rival, metric)

    @cached_property
    def _rival(self) -> Rival | None:
        record = anchor(self._registry, self._history, self._evidence.limits.metrics[0])
        return Rival("anchor", record, self._evidence, self._registry, self._score) if record else None


def _floor(evidence: Evidence, column: str, rule: Rule) -> Finding:
    rows = evidence.sample
    difference = evidence.estimate(evidence.limits.metrics[0], rows, rows[column].to_numpy())
    return from_estimate(rule, difference, evidence.limits.confidence, 0.0, rows=len(rows))


def _until(champion: Rival) -> Finding:
    ours = until(champion.evidence.facts)
    theirs = until(champion.facts)
    if ours >= theirs:
        return Finding("open", str(ours), str(theirs))
    if champion.evidence.limits.allow_older:
        return Finding("open", str(ours), str(theirs), reason="the champion saw newer data: waived by gate.allow_older")
    reason = "the champion saw newer data; to promote nevertheless, set gate.allow_older: true in params.yaml"
    return Finding("closed", str(ours), str(theirs), reason=reason)


def _not_rolled_back(evidence: Evidence, registry: Registry, history: list[Record]) -> Finding:
    """Check that no rollback removed the candidate, nor a bundle whose lessons it holds."""
    if record := rolled_back(history).get(evidence.version):
        reason = f"{record.by} rolled this bundle back ({record.reason}); reinstate it with `din registry rollback`"
        return Finding("closed", f"in record {record.number}", "no", reason=reason)
    if record := removed_lesson(registry, history, started_from(evidence.facts)):
        reason = (
            f"this candidate holds the lessons of bundle {record.previous and record.previous[:12]}, which {record.by} "
            f"rolled back ({record.reason}); start from another bundle: run `din pin`, or change train.warm_start, and "
            "then `dvc repro`; under a scheduler open a new run"
        )
        return Finding("closed", f"in record {record.number}", "no", reason=reason)
    return Finding("open", "no", "no")


def _no_earlier_champion(evidence: Evidence, registry: Registry) -> Finding:
    """No other bundle is stored beside the empty log; otherwise the log was lost, and this is not a first run."""
    others = [version for version in registry.versions() if version != evidence.version]
    if not others:
        return Finding("open", 0, 0)
    reason = (
        f"{len(others)} other bundles are stored although the log of promotions is empty ({listed(others)}), so this "
        "may not be a first run; restore the log, or, if a bundle was never promoted, run `din registry gc --bundle "
        "VERSION`"
    )
    return Finding("closed", len(others), 0, reason=reason)


def _gain(champion: Rival, registry: Registry, history: list[Record]) -> Finding:
    if same := champion.same(champion.evidence.limits.max_gain):
        return same
    rejected = rolled_back(history)
    recent = {record.version for record in history[-plausibility.RECENT :] if record.version not in rejected}
    facts = [registry.facts(version) for version in sorted(recent)]
    return plausibility.gain(champion.evidence, champion.rows, champion.scores, facts)


def _slice_delta(champion: Rival) -> Finding:
    if same := champion.same(-champion.evidence.limits.slice_margin):
        return same
    return slices.delta(champion.evidence, champion.rows, champion.scores)


def _calibration(champion: Rival, judge: Callable[[Evidence, pa.Table, NDArray[np.float64]], Finding]) -> Finding:
    if same := champion.same(None):
        return same
    return judge(champion.evidence, champion.rows, champion.scores)


def _drift(champion: Rival) -> Finding:
    """The predictions moved less than the limit, or their log loss is not certainly worse than the champion's.

    Equal trainings differ in sharpness and level, on small logs by a PSI far above any usual limit. The labels tell
    which of the two is right.
    """
    limit = champion.evidence.limits.max_prediction_drift
    if same := champion.same(limit):
        return same
    predictions = champion.rows["prediction"].to_numpy()
    observed = population_stability_index(champion.scores, predictions)
    if observed <= limit:
        return Finding("open", observed, limit, rows=len(champion.rows))
    confidence = champion.evidence.limits.confidence
    loss = champion.evidence.estimate("log_loss", champion.rows, champion.scores).interval(confidence)
    claim = Claim(loss, -math.inf, 0.0)
    told = {"beyond": "the labels contradict them", "undefined": "too few users tell which are right"}
    reason = (
        f"predictions are distributed differently from the champion's (mean {predictions.mean():.4f}, the champion's "
        f"{champion.scores.mean():.4f}) and {told.get(claim.shows, 'the labels do not contradict them')}: log loss "
        f"{claim.figure}"
    )
    return Finding(not_outside(loss, -math.inf, 0.0), observed, limit, rows=len(champion.rows), reason=reason)


def _size_ratio(champion: Rival) -> Finding:
    if same := champion.same(champion.evidence.limits.max_bundle_ratio, 1.0):
        return same
    return budgets.size_ratio(champion.evidence, champion.bundle)


def _latency_ratio(champion: Rival, measure: Latency) -> Finding:
    if same := champion.same(champion.evidence.limits.max_latency_ratio, 1.0):
        return same
    return budgets.latency_ratio(champion.evidence, champion.bundle, measure)
