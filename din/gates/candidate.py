"""Gates on the candidate alone: its reports, absolute limits, parity, size and latency.

They hash the data that the reports judged, compute a few intervals, and time one request.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from din import documents
from din.artifacts import MANIFEST
from din.errors import InputError, listed, shown
from din.facts import Evaluation
from din.gates import GATES, about, budgets, delta
from din.gates.budgets import LATENCY
from din.gates.case import Case
from din.gates.claims import Claim
from din.gates.evidence import Evidence
from din.gates.verdict import Finding, from_estimate, not_outside, within
from din.manifests import RawManifest
from din.metrics import auc, gauc, summary
from din.metrics.estimates import Metric, difference
from din.params import source_settings, to_json
from din.params.train import names_version
from din.registry.bundle import FACTS, SIGNATURE
from din.reports import why_closed
from din.schema import DAY_US
from din.serve.agreement import ATOL_PROBABILITY, PATHS, ParityReport
from din.verdicts import ValidationReport
from din.workspace import SUITES, Suite, Workspace

_TOLERANCE = 1e-6


def _shown(report: Callable[[Workspace], Path]) -> Callable[[Case], str]:
    """Return the function of a case that returns the command to show a report."""
    return lambda case: case.evidence.show(report(case.evidence.workspace))


def _in_bundle(name: str) -> Callable[[Case], str]:
    return _shown(lambda place: place.bundle / name)


_EVALUATION = _shown(lambda place: place.evaluation)
_REFIT = _shown(lambda place: place.refit)


@GATES.register("made_from")
@about(command=_in_bundle(FACTS))
def made_from(case: Case) -> Finding:
    """Check that log and bundle were made with today's parameters, and for the namespace that these name."""
    evidence = case.evidence
    params = evidence.params
    facts = evidence.facts
    log = documents.read(RawManifest, evidence.workspace.raw / MANIFEST)
    pairs = {
        "fetch.source": (log.source, params.fetch.source),
        **_pairs(f"fetch.{params.fetch.source}", log.params, source_settings(params)),
        "data.until": (log.until, to_json(params.data)["until"]),
        **_pairs("data", dict(facts.params.data), params.data.window()),
        "promote.model_name": (facts.model_name, params.model_name),
        **_pairs("featurize", facts.params.featurize, to_json(params.featurize)),
        **_pairs("train", facts.params.train, _asked(to_json(params.train), facts.params.train)),
    }
    differing = [
        f"{shown(key, quotes=False)} was {shown(made)}, is {shown(now)}"
        for key, (made, now) in pairs.items()
        if made != now
    ]
    if not differing:
        return Finding("open", 0, 0)
    reason = f"made with other parameters than params.yaml holds now: {listed(differing)}; run `dvc repro`"
    return Finding("closed", len(differing), 0, reason=reason)


def _asked(now: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Return `train` of params.yaml as training resolves it, with the whole version of the bundle it started from."""
    full = {key: made.get(key) for key in ("warm_start", "champion")}
    return now | {key: version for key, version in full.items() if names_version(now[key], str(version))}


def _pairs(block: str, made: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of every key below a block, by dotted key."""
    pairs = {}
    for key in sorted(made.keys() | now.keys()):
        before, after = made.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            pairs |= _pairs(f"{block}.{key}", before, after)
        else:
            pairs[f"{block}.{key}"] = (before, after)
    return pairs


def _validation(evidence: Evidence, suite: Suite) -> Finding:
    """Check that a suite's report judged the data of this workspace, and that its findings are open."""
    report = documents.read(ValidationReport, evidence.workspace.validation(suite))
    judged = evidence.workspace.judged(suite)
    found = evidence.hash_of(suite)
    if report.input != found:
        reason = f"the report judged another {judged} than this workspace holds; run `dvc repro validate_{suite}`"
        return Finding("closed", found[:12], report.input[:12], reason=reason)
    made_from = dict(evidence.facts.inputs).get(suite, found)  # predictions are not an input of the bundle
    if made_from != found:
        reason = f"the bundle was made from another {judged} than this workspace holds; run `dvc repro`"
        return Finding("closed", found[:12], str(made_from)[:12], reason=reason)
    if reason := why_closed(suite, report, evidence.params):
        return Finding("closed", "closed", "open", reason=reason)
    return Finding("open", "open", "open")


def _register(suite: Suite) -> None:
    @GATES.register(f"validation_{suite}")
    @about(command=_shown(lambda place: place.validation(suite)))
    def validation(case: Case) -> Finding:
        return _validation(case.evidence, suite)


for _suite in SUITES:
    _register(_suite)


@GATES.register("evaluation")
@about(model="judged", command=_EVALUATION)
def evaluation(case: Case) -> Finding:
    """Check that evaluation.json, the predictions and the bundle belong to the same model."""
    evidence = case.evidence
    stated = evidence.evaluation
    if evidence.facts.evaluation != stated:
        reason = "the bundle was exported with another evaluation.json; run `dvc repro export`"
        return Finding("closed", "differs", "same as the bundle's", reason=reason)
    made_from = evidence.facts.inputs
    if (stated.inputs.features, stated.inputs.model) != (made_from.features, made_from.model):
        reason = "evaluation.json is about another model or other features than the bundle's; run `dvc repro`"
        return Finding("closed", stated.inputs.model[:12], made_from.model[:12], reason=reason)
    found = evidence.hash_of("model")
    if found != made_from.model:
        reason = f"the bundle was made with another model than {evidence.workspace.model} holds; run `dvc repro export`"
        return Finding("closed", found[:12], made_from.model[:12], reason=reason)
    gap = max(_gaps(evidence.rows, stated))
    if gap <= _TOLERANCE:
        return Finding("open", gap, _TOLERANCE, rows=len(evidence.rows))
    reason = f"evaluation.json does not follow from {evidence.workspace.predictions}; run `dvc repro`"
    return Finding("closed", gap, _TOLERANCE, rows=len(evidence.rows), reason=reason)


def _gaps(rows: pa.Table, evaluation: Evaluation) -> Iterator[float]:
    """Yield the distance of each figure of the test rows from the one that the predictions give.

    The distance is infinite if only one of the two is defined.
    """
    label = rows["label"].to_numpy()
    user = rows["user"].to_numpy()
    stated_of = {"prediction": evaluation.test, "lr": evaluation.floors.lr}
    for column, stated in stated_of.items():
        if stated is None:
            continue
        measured = summary(label, rows[column].to_numpy(), user)
        yield from (_gap(getattr(measured, name), figure) for name, figure in stated)
    popularity = evaluation.floors.popularity
    scores = rows["popularity"].to_numpy()
    yield _gap(auc(label, scores), popularity.auc)
    yield _gap(gauc(label, scores, user).value, popularity.gauc)


def _gap(measured: Any, stated: Any) -> float:
    one, other = (math.nan if figure is None else float(figure) for figure in (measured, stated))
    if math.isnan(one) or math.isnan(other):
        return 0.0 if math.isnan(one) and math.isnan(other) else math.inf
    return abs(one - other)


@GATES.register("min_auc")
@about(model="crossfit", command=_EVALUATION)
def min_auc(case: Case) -> Finding:
    """Judge that the AUC is at least `min_auc`."""
    return _at_least(case.evidence, "auc", case.limits.min_auc)


@GATES.register("min_gauc")
@about(model="crossfit", command=_EVALUATION)
def min_gauc(case: Case) -> Finding:
    """Judge that the GAUC is at least `min_gauc`."""
    return _at_least(case.evidence, "gauc", case.limits.min_gauc)


def _at_least(evidence: Evidence, metric: Metric, limit: float) -> Finding:
    rows = evidence.shipped_sample
    return from_estimate(within, evidence.estimate(metric, rows), evidence.limits.confidence, limit, rows=len(rows))


@GATES.register("parity")
@about(model="shipped", command=_shown(lambda place: place.parity))
def parity(case: Case) -> Finding:
    """Check that the paths of training and production agree on this bundle."""
    evidence = case.evidence
    report = documents.read(ParityReport, evidence.workspace.parity)
    if report.bundle != evidence.version:
        reason = f"the report is about bundle {str(report.bundle)[:12]}; run `dvc repro check_parity`"
        return Finding("closed", str(report.bundle)[:12], evidence.version[:12], reason=reason)
    largest = report.max_abs_probability_diff
    agree = largest is not None and largest <= ATOL_PROBABILITY and report.cases > 0 and report.paths == PATHS
    if agree and report.verdict == "open":
        return Finding("open", largest, ATOL_PROBABILITY, rows=report.cases)
    disagree = "the paths disagree, or not all were compared; see the report"
    reason = shown(report.reason or disagree, quotes=False)
    return Finding("closed", largest, ATOL_PROBABILITY, rows=report.cases, reason=reason)


@GATES.register("refit")
@about(model="shipped", command=_REFIT)
def refit(case: Case) -> Finding:
    """Check that the exported model is the judged one, advanced over the test days as the report says."""
    evidence = case.evidence
    report = evidence.refit
    facts = evidence.facts
    found = evidence.hash_of("shipped")
    pairs = {
        "the judged model": (report.inputs.model, facts.inputs.model),
        "the features": (report.inputs.features, facts.inputs.features),
        "the shipped model": (report.shipped, facts.inputs.shipped),
        "the shipped model here": (found, facts.inputs.shipped),
        "the cross-fitted predictions": (report.predictions, evidence.hash_of("crossfit")),
        "judged_until": (report.judged_until, facts.judged_until),
        "seen_until": (report.seen_until, facts.seen_until),
    }
    differing = [
        f"{name} is {one[:12]}, the bundle's {other[:12]}" for name, (one, other) in pairs.items() if one != other
    ]
    if differing:
        reason = f"the bundle was not exported after this refit: {listed(differing)}; run `dvc repro`"
        return Finding("closed", len(differing), 0, reason=reason)
    return Finding("open", report.seen_until, report.judged_until, rows=sum(day.rows for day in report.days))


@GATES.register("shipped")
@about(model="shipped", command=_REFIT)
def shipped(case: Case) -> Finding:
    """Check that the shipped model knows the rows of its lesson."""
    return knows_its_rows(case.evidence)


def knows_its_rows(evidence: Evidence) -> Finding:
    """Check that the shipped model knows the rows of its lesson as well as the models that learned a part of it.

    Cross-fitting judges the lesson and not the file, because other models learn it. If the file certainly ranks rows
    worse than models that have learned them too, it was broken on the way, e.g. by rows of its table that moved. Only
    the last day tells this: a model that has learned several days forgets more of earlier ones than its stand-ins.
    Levels and sharpness differ from model to model, so by log loss it must only not be worse than models that have not
    learned the rows. Its calibration must not certainly lie outside the limits of `validate_predictions`.
    """
    rows = evidence.shipped_sample
    scores = rows["shipped"].to_numpy()
    if not evidence.refit.crossfit:
        return Finding("open", 0.0, 0.0, reason="nothing was learned after the model was judged")
    if not np.isfinite(scores).all():
        raise InputError("the shipped model gave a score that is not a number")
    confidence = evidence.limits.confidence
    labels, users, taught, unseen = (rows[name].to_numpy() for name in ("label", "user", "taught", "prediction"))
    days = rows["timestamp"].to_numpy() // DAY_US
    last = days == days.max()
    gain = difference("auc", labels[last], scores[last], taught[last], users[last]).interval(confidence)
    loss = difference("log_loss", labels, scores, unseen, users).interval(confidence)
    low, high = evidence.params.validate_predictions.calibration
    ratio = evidence.estimate_of("calibration_ratio", rows, scores).interval(confidence)
    problems = []
    if not (gain.upper >= 0 and loss.lower <= 0):  # NaN closes
        problems.append("predicts them worse than models that learned a part or nothing of them")
    if not_outside(ratio, low, high) == "closed":
        problems.append("is miscalibrated on them")
    if not problems:
        return Finding("open", gain.point, 0.0, gain, len(rows))
    reason = (
        f"the shipped model has learned these rows and {' and '.join(problems)}: its AUC differs from "
        f"those that learned a part by {Claim(gain, 0.0).figure}, its log loss from the others by "
        f"{Claim(loss, -math.inf, 0.0).figure}, and its mean divided by their CTR is {Claim(ratio, low, high).figure}, "
        f"expected {low:g} to {high:g} (validate_predictions.calibration); run `dvc repro -f "
        "refit`"
    )
    return Finding("closed", gain.point, 0.0, gain, len(rows), reason)


@GATES.register("bundle_mb")
@about(
    model="shipped", command=lambda case: f"du -ah {case.evidence.workspace.relative(case.evidence.workspace.bundle)}"
)
def bundle_mb(case: Case) -> Finding:
    """Judge the size of the bundle."""
    return budgets.size(case.evidence)


@GATES.register("lesson_delta_{metric}")
@about(model="crossfit", command=_REFIT, applies=lambda case: not case.evidence.params.train.continues)
def lesson_delta(case: Case, metric: Metric) -> Finding:
    """Judge that learning the test days costs less than the margin."""
    return delta.against_judged(case.evidence, metric)


@GATES.register(LATENCY)
@about(model="shipped", command=_in_bundle(SIGNATURE), applies=lambda case: case.is_timed)
def latency_ms(case: Case) -> Finding:
    """Judge the time of a request."""
    assert case.limits.max_latency_ms is not None
    return budgets.latency(case.evidence, case.latency, case.limits.max_latency_ms)
