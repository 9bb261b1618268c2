"""Gates that compare the candidate with floors on a first run, and otherwise with the champion and the anchor.

Both sides score the same rows. The gates compute a few intervals, and one per slice. Except on a first run, the
champion and the anchor score up to `MOST_ROWS` (`evidence.py`) test rows.
"""

import math
from collections.abc import Callable

from din.errors import listed
from din.gates import GATES, about, budgets, calibration, plausibility, slices
from din.gates.budgets import LATENCY_RATIO
from din.gates.case import Case
from din.gates.champion_today import champion_today
from din.gates.claims import Claim
from din.gates.delta import against_anchor, against_champion
from din.gates.evidence import Evidence
from din.gates.last_step import NAME as LAST_STEP
from din.gates.last_step import last_step
from din.gates.verdict import Finding, Rule, from_estimate, not_outside, within
from din.metrics import population_stability_index
from din.metrics.estimates import Metric
from din.registry.champions import removed_lesson, rolled_back, started_from, until


def _record(case: Case) -> str:
    return f"din registry show {case.history[-1].number}"


def _log(case: Case) -> str:
    return "din registry show"


def _evaluation(case: Case) -> str:
    return case.evidence.show(case.evidence.workspace.evaluation)


@GATES.register("no_earlier_champion")
@about(run="first", command=lambda case: "din registry verify")
def no_earlier_champion(case: Case) -> Finding:
    """No other bundle is stored beside the empty log; otherwise the log was lost, and this is not a first run."""
    others = [version for version in case.registry.versions() if version != case.evidence.version]
    if not others:
        return Finding("open", 0, 0)
    reason = (
        f"{len(others)} other bundles are stored although the log of promotions is empty ({listed(others)}), so this "
        "may not be a first run; restore the log, or, if a bundle was never promoted, run `din registry gc --bundle "
        "VERSION`"
    )
    return Finding("closed", len(others), 0, reason=reason)


@GATES.register("{metric}_over_popularity")
@about(model="judged", run="first", command=_evaluation)
def over_popularity(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate is better than popularity."""
    return _floor(case.evidence, metric, "popularity", within)


@GATES.register("{metric}_over_lr")
@about(model="judged", run="first", command=_evaluation)
def over_lr(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate is not worse than LR."""
    return _floor(case.evidence, metric, "lr", not_outside)


def _floor(evidence: Evidence, metric: Metric, column: str, rule: Rule) -> Finding:
    rows = evidence.sample
    difference = evidence.estimate(metric, rows, rows[column].to_numpy())
    return from_estimate(rule, difference, evidence.limits.confidence, 0.0, rows=len(rows))


@GATES.register("slice_auc")
@about(model="crossfit", run="first", command=_evaluation)
def slice_auc(case: Case) -> Finding:
    """Judge that the candidate's order is worse than chance on no slice."""
    return slices.auc(case.evidence)


@GATES.register("data_until")
@about(run="later", compares=True, command=_record)
def data_until(case: Case) -> Finding:
    """Judge that the candidate is not older than the champion."""
    champion = case.champion
    ours = until(champion.evidence.facts)
    theirs = until(champion.facts)
    if ours >= theirs:
        return Finding("open", str(ours), str(theirs))
    if champion.evidence.limits.allow_older:
        return Finding("open", str(ours), str(theirs), reason="the champion saw newer data: waived by gate.allow_older")
    reason = "the champion saw newer data; to promote nevertheless, set gate.allow_older: true in params.yaml"
    return Finding("closed", str(ours), str(theirs), reason=reason)


@GATES.register("not_rolled_back")
@about(run="later", compares=True, command=_log)
def not_rolled_back(case: Case) -> Finding:
    """Check that no rollback removed the candidate, nor a bundle whose lessons it holds."""
    evidence = case.evidence
    if record := rolled_back(case.history).get(evidence.version):
        reason = f"{record.by} rolled this bundle back ({record.reason}); reinstate it with `din registry rollback`"
        return Finding("closed", f"in record {record.number}", "no", reason=reason)
    if record := removed_lesson(case.registry, case.history, started_from(evidence.facts)):
        reason = (
            f"this candidate holds the lessons of bundle {record.previous and record.previous[:12]}, which {record.by} "
            f"rolled back ({record.reason}); start from another bundle: run `din pin`, or change train.warm_start, and "
            "then `dvc repro`; under a scheduler open a new run"
        )
        return Finding("closed", f"in record {record.number}", "no", reason=reason)
    return Finding("open", "no", "no")


@GATES.register("champion_today")
@about(run="later", compares=True, command=_record)
def today(case: Case) -> Finding:
    """Judge the champion's own AUC on today's rows."""
    return champion_today(case.champion)


@GATES.register(LAST_STEP)
@about(run="later", compares=True, command=_log)
def step(case: Case) -> Finding:
    """Judge that the champion's last update did no harm."""
    return last_step(case.champion, case.predecessor)


@GATES.register("champion_delta_{metric}")
@about(model="crossfit", run="later", every_metric=True, compares=True, command=_record)
def champion_delta(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate loses less than the margin to the champion."""
    return against_champion(case.champion, metric)


@GATES.register("slice_delta")
@about(model="crossfit", run="later", compares=True, command=_evaluation)
def slice_delta(case: Case) -> Finding:
    """Judge that the candidate does not lose on a slice."""
    champion = case.champion
    if same := champion.same(-case.limits.slice_margin):
        return same
    return slices.delta(case.evidence, champion.rows, champion.scores)


@GATES.register("calibration")
@about(model="crossfit", compares=True, command=_evaluation)
def overall_calibration(case: Case) -> Finding:
    """Judge the mean prediction over all rows."""
    return _calibration(case, calibration.overall)


@GATES.register("slice_calibration")
@about(model="crossfit", compares=True, command=_evaluation)
def slice_calibration(case: Case) -> Finding:
    """Judge the mean prediction on slices."""
    return _calibration(case, calibration.on_slices)


def _calibration(case: Case, judge: Callable[..., Finding]) -> Finding:
    """Judge calibration, excusing a candidate that is less far from 1 than the champion, if there is one."""
    if not case.history:
        return judge(case.evidence, case.evidence.shipped_sample)
    champion = case.champion
    return champion.same(None) or judge(case.evidence, champion.rows, champion.scores)


@GATES.register("prediction_drift")
@about(model="crossfit", run="later", compares=True, command=_record)
def prediction_drift(case: Case) -> Finding:
    """The predictions moved less than the limit, or their log loss is not certainly worse than the champion's.

    Equal trainings differ in sharpness and level, on small logs by a PSI far above any usual limit. The labels tell
    which of the two is right.
    """
    champion = case.champion
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


@GATES.register("anchor_delta_{metric}")
@about(model="crossfit", run="later", every_metric=True, compares=True, command=_log)
def anchor_delta(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate does not certainly lose to the anchor."""
    if case.anchor is None:
        return Finding("open", 0.0, 0.0, reason="the anchor is the champion")
    return against_anchor(case.anchor, metric)


@GATES.register("implausible_gain")
@about(model="crossfit", compares=True, command=lambda case: _record(case) if case.history else _evaluation(case))
def implausible_gain(case: Case) -> Finding:
    """Judge that no gain is too good to be true."""
    if not case.history:
        return plausibility.first_gain(case.evidence)
    champion = case.champion
    if same := champion.same(case.limits.max_gain):
        return same
    rejected = rolled_back(case.history)
    recent = {record.version for record in case.history[-plausibility.RECENT :] if record.version not in rejected}
    facts = [case.registry.facts(version) for version in sorted(recent)]
    return plausibility.gain(case.evidence, champion.rows, champion.scores, facts)


@GATES.register("bundle_ratio")
@about(model="shipped", run="later", compares=True, command=_record)
def bundle_ratio(case: Case) -> Finding:
    """Judge the size of the bundle against the champion's."""
    champion = case.champion
    return champion.same(case.limits.max_bundle_ratio, 1.0) or budgets.size_ratio(case.evidence, champion.bundle)


@GATES.register(LATENCY_RATIO)
@about(
    model="shipped",
    run="later",
    applies=lambda case: case.is_timed,
    compares=True,
    command=_record,
)
def latency_ratio(case: Case) -> Finding:
    """Judge the time of a request against the champion's."""
    champion = case.champion
    same = champion.same(case.limits.max_latency_ratio, 1.0)
    return same or budgets.latency_ratio(case.evidence, champion.bundle, case.latency)
