"""Gates on the candidate alone: its reports, absolute limits, baselines (floors), parity, and the shipped model.

They hash the data that the reports judged, and compute a few confidence intervals.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import InputError, listed, shown
from din.base.workspace import SUITES, Suite
from din.bundle.agreement import ATOL_PROBABILITY, ParityReport
from din.bundle.contents import FACTS
from din.contracts.expectations import why_closed
from din.contracts.facts import Evaluation
from din.contracts.manifests import RawManifest
from din.contracts.verdicts import ValidationReport, Verdict
from din.data.options import options_of_rows
from din.metrics.estimates import Metric
from din.metrics.summary import summary
from din.params.blocks import to_json
from din.params.train import names_version
from din.release.gates import GATES
from din.release.gates.case import Case, show_evaluation
from din.release.gates.comparisons import MIN_MARGIN, margin_of
from din.release.gates.evidence import measured
from din.release.gates.findings import Claim, Finding, decide, from_estimate, not_outside, within
from din.release.gates.report_text import try_for_gauc
from din.release.registry.diff import changes
from din.schema import DAY_US

_TOLERANCE = 1e-6


def _refit(case: Case) -> str:
    return case.evidence.show(case.workspace.refit)


@GATES.register("made_from", command=lambda case: case.evidence.show(case.workspace.bundle / FACTS))
def made_from(case: Case) -> Finding:
    """Check that the log and the bundle were made with the current parameters, model name included."""
    params = case.evidence.params
    facts = case.evidence.facts
    log = documents.read(RawManifest, case.workspace.raw / MANIFEST)
    source = params.fetch.source
    train = to_json(params.train)
    if names_version(params.train.champion, str(facts.params.train.get("champion"))):
        train["champion"] = facts.params.train["champion"]  # params.yaml may pin the beginning of the version
    pairs = {
        "fetch.source": (log.source, source),
        f"fetch.{source}": (log.params, options_of_rows(params.fetch)),
        "data.until": (log.until, to_json(params.data)["until"]),
        "data": (dict(facts.params.data), params.data.window()),
        "promote.model_name": (facts.model_name, params.model_name),
        "featurize": (facts.params.featurize, to_json(params.featurize)),
        "train": (facts.params.train, train),
        "negatives_drawn": (facts.negatives_drawn, case.evidence.features.manifest.negatives_drawn),
        "negatives": (dict(facts.negatives or {}), dict(case.evidence.features.manifest.negatives or {})),
    }
    return _equal(pairs, "made with other parameters than params.yaml holds now")


def _equal(pairs: Mapping[str, tuple[Any, Any]], problem: str, command: str = "dvc repro") -> Finding:
    """Check that the two values of each name are equal. The reason lists the names, or keys of them, that differ."""
    made, now = ({name: pair[place] for name, pair in pairs.items()} for place in (0, 1))
    differing = changes(made, now)
    return decide(not differing, len(differing), 0, f"{problem}: {listed(differing)}; run `{command}`")


def _register_validation(suite: Suite) -> None:
    @GATES.register(f"validation_{suite}", command=lambda case: case.evidence.show(case.workspace.validation(suite)))
    def judge(case: Case) -> Finding:
        """Check that a suite's report is open, and that report and bundle used the data of this workspace."""
        evidence = case.evidence
        report = documents.read(ValidationReport, case.workspace.validation(suite))
        digest = evidence.hash_of(suite)
        made_from = dict(evidence.facts.inputs).get(suite, digest)  # predictions are not an input of the bundle
        reason = why_closed(case.workspace, suite, report, digest, evidence.params)
        if reason is None and made_from != digest:
            here = f"{case.workspace.directory_of(suite)} ({digest[:12]})"
            reason = f"the bundle was not made from {here}, but from {made_from[:12]}; run `dvc repro`"
        verdict: Verdict = "closed" if reason else "open"
        return Finding(verdict, verdict, "open", reason=reason)


for _suite in SUITES:
    _register_validation(_suite)


@GATES.register("evaluation", model="judged", command=show_evaluation)
def evaluation(case: Case) -> Finding:
    """Check that evaluation.json, the predictions and the bundle belong to the same model."""
    evidence = case.evidence
    facts = evidence.facts
    stated = evidence.evaluation
    pairs = {
        "evaluation.json": (facts.evaluation.model_dump(), stated.model_dump()),
        "inputs.model": (facts.inputs.model, stated.inputs.model),
        "inputs.features": (facts.inputs.features, stated.inputs.features),
        str(case.workspace.model): (facts.inputs.model, evidence.hash_of("model")),
    }
    problem = "the bundle was exported from another evaluation or model (was: in the bundle; is: here)"
    exported = _equal(pairs, problem, "dvc repro export")
    if exported.verdict == "closed":
        return exported
    gap = _largest_gap(evidence.judged_rows, stated)
    reason = f"evaluation.json does not follow from {case.workspace.predictions}; run `dvc repro`"
    return decide(gap <= _TOLERANCE, gap, _TOLERANCE, reason, len(evidence.judged_rows))


def _largest_gap(rows: pa.Table, stated: Evaluation) -> float:
    """Return the largest difference between a stated metric of the test rows and its value on the predictions.

    It is infinite if one of the two is undefined and the other is not.
    """
    label = rows["label"].to_numpy()
    user = rows["user"].to_numpy()
    gaps = [0.0]
    for column, metrics in {"prediction": stated.test, **dict(stated.floors)}.items():
        if metrics is None:
            gaps += [math.inf] if column in rows.column_names else []
        else:
            computed = summary(label, rows[column].to_numpy(), user)
            pairs = [(value, getattr(computed, name)) for name, value in metrics if value != getattr(computed, name)]
            gaps += [math.inf if None in pair else abs(pair[0] - pair[1]) for pair in pairs]
    return max(gaps)


@GATES.register("min_auc", model="crossfit", command=show_evaluation)
def min_auc(case: Case) -> Finding:
    """Judge that the AUC is at least `min_auc`."""
    return _at_least(case, "auc", case.limits.min_auc)


@GATES.register(
    "min_gauc", model="crossfit", command=show_evaluation, applies=lambda case: "gauc" in case.limits.metrics
)
def min_gauc(case: Case) -> Finding:
    """Judge that the GAUC is at least `min_gauc`. A log whose users see one impression each has none."""
    return _at_least(case, "gauc", case.limits.min_gauc)


def _at_least(case: Case, metric: Metric, limit: float) -> Finding:
    rows = case.evidence.crossfit_sample
    return from_estimate(within, measured(metric, rows), case.limits.confidence, limit, rows=len(rows))


@GATES.register("{metric}_over_popularity", model="judged", run="first", every_metric=True, command=show_evaluation)
def over_popularity(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate is better than popularity, or by a further metric that it is not certainly worse."""
    rows = case.evidence.judged_sample
    rule = within if metric == case.limits.metrics[0] else not_outside
    gain = measured(metric, rows, against="popularity")
    return _advised(case, metric, from_estimate(rule, gain, case.limits.confidence, 0.0, rows=len(rows)))


@GATES.register("{metric}_over_lr", model="judged", run="first", every_metric=True, command=show_evaluation)
def over_lr(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate is not certainly worse than LR, or by a further metric not by more than the margin.

    Counting costs nothing, so no model may lose to it. LR is another model, and a better one by the first metric may
    cost as much of a further one as a new champion may.
    """
    rows = case.evidence.judged_sample
    if "lr" not in rows.column_names:
        raise InputError("LR is not trained where a champion is continued; run once with train.start: scratch")
    gain = measured(metric, rows, against="lr")
    permitted = 0.0 if metric == case.limits.metrics[0] else margin_of(case.limits, gain)
    finding = from_estimate(not_outside, gain, case.limits.confidence, 0.0 - permitted, rows=len(rows))
    return _advised(case, metric, finding)


def _advised(case: Case, metric: Metric, finding: Finding) -> Finding:
    """Add what may help to a finding that closes because of GAUC."""
    if metric != "gauc" or finding.verdict != "closed":
        return finding
    return replace(finding, reason=f"{finding.reason}. {try_for_gauc(case.evidence.params)}")


@GATES.register("parity", model="shipped", command=lambda case: case.evidence.show(case.workspace.parity))
def parity(case: Case) -> Finding:
    """Check that the scoring paths of training and production give the same probabilities for this bundle."""
    version = case.evidence.version
    report = documents.read(ParityReport, case.workspace.parity)
    if report.bundle != version:
        reason = f"the report is about bundle {str(report.bundle)[:12]}; run `dvc repro check_parity`"
        return Finding("closed", str(report.bundle)[:12], version[:12], reason=reason)
    largest = report.max_abs_probability_diff
    reason = shown(report.reason or "the paths disagree, or not all were compared; see the report", quotes=False)
    return decide(report.agrees, largest, ATOL_PROBABILITY, reason, report.cases)


@GATES.register("refit", model="shipped", command=_refit)
def refit(case: Case) -> Finding:
    """Check that the exported model is the judged one, advanced over the test days as the refit report says."""
    evidence = case.evidence
    report = evidence.refit
    facts = evidence.facts
    learned_rows = sum(day.rows for day in report.days)
    lesson = report.crossfit
    pairs = {
        "the judged model": (facts.inputs.model, report.inputs.model),
        "the features": (facts.inputs.features, report.inputs.features),
        "the shipped model": (facts.inputs.shipped, report.shipped),
        "the shipped model here": (facts.inputs.shipped, evidence.hash_of("shipped")),
        "the cross-fitted predictions": (report.predictions, evidence.hash_of("crossfit")),
        "judged_until": (facts.judged_until, report.judged_until),
        "seen_until": (facts.seen_until, report.seen_until),
        "learned test rows": (len(evidence.judged_rows) if evidence.learned else 0, learned_rows),
        "cross-fitted rows": (len(evidence.crossfit_rows) if evidence.learned else None, lesson and lesson.rows),
    }
    return _equal(pairs, "the bundle was not exported after this refit")


@GATES.register("shipped", model="shipped", command=_refit)
def shipped(case: Case) -> Finding:
    """Check that the shipped model fits the rows it has just learned as a model does that has learned them.

    Cross-fitting judges what was learned from the test days, but not the shipped file, because other models make its
    predictions. A file that was damaged on the way, e.g. because rows of an embedding table moved, does not fit these
    rows. Other models, which have learned the rows too, show which AUC to expect. The AUC of the shipped model may be
    lower than theirs, but not significantly by more than half of what learning the rows gives. A part of this may be
    missing, because the shipped model learns more rows, and so forgets more of each. AUC is judged on the last day, or
    on more days if that one has too few users: little is left of the first days of a long lesson. The log loss must not
    be significantly worse than that of models that have not learned the rows, and the calibration not significantly
    outside the limits of `validate_predictions`.

    Raises:
        InputError: a score of the shipped model, or of the models that have learned the rows too, is not finite.
    """
    evidence = case.evidence
    rows = evidence.crossfit_sample
    if not evidence.learned:
        return Finding("open", 0.0, 0.0, reason="nothing was learned after the model was judged")
    if not all(np.isfinite(rows[name].to_numpy()).all() for name in ("shipped", "taught")):
        raise InputError("the shipped model, or one that has learned the rows too, gave a score that is not a number")
    confidence = evidence.limits.confidence
    last = _last_days(rows)
    auc_gap = measured("auc", last, "shipped", "taught").interval(confidence)
    worth_of_learning = measured("auc", last, "taught", "prediction").value
    permitted = float(np.clip(worth_of_learning / 2, MIN_MARGIN, evidence.limits.max_margin))
    log_loss_gap = measured("log_loss", rows, "shipped", "prediction").interval(confidence)
    low, high = evidence.params.validate_predictions.calibration
    calibration = Claim(measured("calibration_ratio", rows, "shipped").interval(confidence), low, high)
    problems = []
    if not (auc_gap.upper >= -permitted and log_loss_gap.lower <= 0):  # NaN closes
        problems.append("does not predict them like a model that has")
    if not_outside(calibration) == "closed":
        problems.append("is miscalibrated on them")
    if not problems:
        return Finding("open", auc_gap.point, -permitted, auc_gap, len(rows))
    reason = (
        f"the shipped model has learned these rows, but {' and '.join(problems)}. AUC on the last days minus that "
        f"of stand-ins that learned a part: {Claim(auc_gap, -permitted)}. Log loss minus that of stand-ins that "
        f"learned none: {Claim(log_loss_gap, -math.inf, 0.0).figure}. Mean prediction / CTR: {calibration.figure}, "
        f"expected {low:g} to {high:g} (validate_predictions.calibration). Run `dvc repro -f refit`"
    )
    return Finding("closed", auc_gap.point, -permitted, auc_gap, len(rows), reason)


def _last_days(rows: pa.Table) -> pa.Table:
    """Return the rows of the last day, or of as many days as it takes to know their AUC."""
    days = rows["timestamp"].to_numpy() // DAY_US
    parts = (rows.filter(pa.array(days >= day)) for day in np.unique(days)[::-1])
    return next((part for part in parts if math.isfinite(measured("auc", part, "shipped").standard_error)), rows)
