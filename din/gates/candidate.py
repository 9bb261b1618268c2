"""Gates on the candidate alone: its reports, absolute limits, parity, size and latency.

They hash the data that the reports judged, compute a few intervals, and time one request.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from din import documents
from din.artifacts import MANIFEST
from din.document_types import Evaluation, RawManifest, ValidationReport
from din.errors import InputError, listed, shown
from din.gates import budgets
from din.gates.budgets import LATENCY, Latency
from din.gates.claims import Claim
from din.gates.delta import against_judged
from din.gates.evidence import Evidence
from din.gates.verdict import Finding, Gate, from_estimate, not_outside, within
from din.metrics import auc, gauc, summary
from din.metrics.estimates import Metric, difference
from din.params import source_settings, to_json
from din.params.train import names_version
from din.registry.bundle import FACTS, SIGNATURE
from din.reports import why_closed
from din.schema import DAY_US
from din.serve.agreement import ATOL_PROBABILITY, PATHS, ParityReport
from din.workspace import SUITES, Suite

_TOLERANCE = 1e-6


def candidate_gates(evidence: Evidence, latency: Latency) -> list[Gate]:
    """Return the gates on the candidate; the gate on latency exists only if there is a limit."""
    limits = evidence.limits
    workspace = evidence.workspace
    evaluation = evidence.show(workspace.evaluation)
    refit = evidence.show(workspace.refit)
    gates = [Gate("made_from", evidence.show(workspace.bundle / FACTS), partial(_made_from, evidence))]
    for suite in SUITES:
        look = evidence.show(workspace.validation(suite))
        gates.append(Gate(f"validation_{suite}", look, partial(_validation, evidence, suite)))
    gates += [
        Gate("evaluation", evaluation, partial(_evaluation, evidence), "judged"),
        Gate("min_auc", evaluation, partial(_at_least, evidence, "auc", limits.min_auc), "crossfit"),
        Gate("min_gauc", evaluation, partial(_at_least, evidence, "gauc", limits.min_gauc), "crossfit"),
        Gate("parity", evidence.show(workspace.parity), partial(_parity, evidence), "shipped"),
        Gate("refit", refit, partial(_refit, evidence), "shipped"),
        Gate("shipped", refit, partial(_shipped, evidence), "shipped"),
        Gate("bundle_mb", f"du -ah {workspace.relative(workspace.bundle)}", partial(budgets.size, evidence), "shipped"),
    ]
    if not evidence.params.train.continues:
        gates.append(Gate(f"lesson_delta_{limits.metrics[0]}", refit, partial(against_judged, evidence), "crossfit"))
    if limits.max_latency_ms is not None:
        look = evidence.show(workspace.bundle / SIGNATURE)
        gates.append(Gate(LATENCY, look, partial(budgets.latency, evidence, latency, limits.max_latency_ms), "shipped"))
    return gates


def _made_from(evidence: Evidence) -> Finding:
    """Check that log and bundle were made with today's parameters, and for the namespace that these name."""
    params = evidence.params
    facts = evidence.facts
    log = documents.read(RawManifest, evidence.workspace.raw / MANIFEST)
    pairs = {
        "fetch.source": (log["source"], params.fetch.source),
        **_pairs(f"fetch.{params.fetch.source}", log["params"], source_settings(params)),
        "data.until": (log["until"], to_json(params.data)["until"]),
        **_pairs("data", dict(facts["params"]["data"]), params.data.window()),
        "promote.model_name": (facts["model_name"], params.model_name),
        **_pairs("featurize", facts["params"]["featurize"], to_json(params.featurize)),
        **_pairs("train", facts["params"]["train"], _asked(to_json(params.train), facts["params"]["train"])),
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
    if report["input"] != found:
        reason = f"the report judged another {judged} than this workspace holds; run `dvc repro validate_{suite}`"
        return Finding("closed", found[:12], report["input"][:12], reason=reason)
    made_from = dict(evidence.facts["inputs"]).get(suite, found)  # predictions are not an input of the bundle
    if made_from != found:
        reason = f"the bundle was made from another {judged} than this workspace holds; run `dvc repro`"
        return Finding("closed", found[:12], str(made_from)[:12], reason=reason)
    if reason := why_closed(suite, report, evidence.params):
        return Finding("closed", "closed", "open", reason=reason)
    return Finding("open", "open", "open")


def _evaluation(evidence: Evidence) -> Finding:
    """Check that evaluation.json, the predictions and the bundle belong to the same model."""
    evaluation = evidence.evaluation
    if evidence.facts["evaluation"] != evaluation:
        reason = "the bundle was exported with another evaluation.json; run `dvc repro export`"
        return Finding("closed", "differs", "same as the bundle's", reason=reason)
    made_from = evidence.facts["inputs"]
    if evaluation["inputs"] != {"features": made_from["features"], "model": made_from["model"]}:
        reason = "evaluation.json is about another model or other features than the bundle's; run `dvc repro`"
        return Finding("closed", evaluation["inputs"]["model"][:12], made_from["model"][:12], reason=reason)
    found = evidence.hash_of("model")
    if found != made_from["model"]:
        reason = f"the bundle was made with another model than {evidence.workspace.model} holds; run `dvc repro export`"
        return Finding("closed", found[:12], made_from["model"][:12], reason=reason)
    gap = max(_gaps(evidence.rows, evaluation))
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
    stated_of = {"prediction": evaluation["test"], "lr": evaluation["floors"]["lr"]}
    for column, stated in stated_of.items():
        if stated is None:
            continue
        measured = summary(label, rows[column].to_numpy(), user)
        yield from (_gap(measured[name], figure) for name, figure in stated.items())
    popularity = evaluation["floors"]["popularity"]
    scores = rows["popularity"].to_numpy()
    yield _gap(auc(label, scores), popularity["auc"])
    yield _gap(gauc(label, scores, user).value, popularity["gauc"])


def _gap(measured: Any, stated: Any) -> float:
    one, other = (math.nan if figure is None else float(figure) for figure in (measured, stated))
    if math.isnan(one) or math.isnan(other):
        return 0.0 if math.isnan(one) and math.isnan(other) else math.inf
    return abs(one - other)


def _at_least(evidence: Evidence, metric: Metric, limit: float) -> Finding:
    rows = evidence.shipped_sample
    return from_estimate(within, evidence.estimate(metric, rows), evidence.limits.confidence, limit, rows=len(rows))


def _refit(evidence: Evidence) -> Finding:
    """Check that the exported model is the judged one, advanced over the test days as the report says."""
    report = evidence.refit
    facts = evidence.facts
    found = evidence.hash_of("shipped")
    pairs = {
        "the judged model": (report.inputs["model"], facts["inputs"]["model"]),
        "the features": (report.inputs["features"], facts["inputs"]["features"]),
        "the shipped model": (report.shipped, facts["inputs"]["shipped"]),
        "the shipped model here": (found, facts["inputs"]["shipped"]),
        "the cross-fitted predictions": (report.predictions, evidence.hash_of("crossfit")),
        "judged_until": (report.judged_until, facts["judged_until"]),
        "seen_until": (report.seen_until, facts["seen_until"]),
    }
    differing = [
        f"{name} is {one[:12]}, the bundle's {other[:12]}" for name, (one, other) in pairs.items() if one != other
    ]
    if differing:
        reason = f"the bundle was not exported after this refit: {listed(differing)}; run `dvc repro`"
        return Finding("closed", len(differing), 0, reason=reason)
    return Finding("open", report.seen_until, report.judged_until, rows=sum(day.rows for day in report.days))


def _shipped(evidence: Evidence) -> Finding:
    """Check that the shipped model knows the rows of its lesson as well as the models that learned a part of it.

    Cross-fitting judges the lesson and not the file, because other models learn it. If the file certainly ranks rows
    worse than models that have learned them too, it was broken on the way, e.g. by rows of its table that moved. Only
    the last day tells this: a model that has learned several days forgets more of earlier ones than its stand-ins.
    Levels and sharpness differ from model to model, so by log loss it must only not be worse than models that have not
    learned the rows. Its calibration must not certainly lie outside the limits of `validate_predictions`.
    """
    rows = evidence.shipped_sample
    shipped = rows["shipped"].to_numpy()
    if not evidence.refit.crossfit:
        return Finding("open", 0.0, 0.0, reason="nothing was learned after the model was judged")
    if not np.isfinite(shipped).all():
        raise InputError("the shipped model gave a score that is not a number")
    confidence = evidence.limits.confidence
    labels, users, taught, unseen = (rows[name].to_numpy() for name in ("label", "user", "taught", "prediction"))
    days = rows["timestamp"].to_numpy() // DAY_US
    last = days == days.max()
    gain = difference("auc", labels[last], shipped[last], taught[last], users[last]).interval(confidence)
    loss = difference("log_loss", labels, shipped, unseen, users).interval(confidence)
    bounds = evidence.params.validate_predictions
    low, high = bounds.min_calibration, bounds.max_calibration
    ratio = evidence.estimate_of("calibration_ratio", rows, shipped).interval(confidence)
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
        f"expected {low:g} to {high:g} (validate_predictions.min_calibration and max_calibration); run `dvc repro -f "
        "refit`"
    )
    return Finding("closed", gain.point, 0.0, gain, len(rows), reason)


def _parity(evidence: Evidence) -> Finding:
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
