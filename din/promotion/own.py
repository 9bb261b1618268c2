"""Gates on the candidate alone: its reports, absolute limits, parity, size and latency.

Costs hashing what the reports judged, a few bootstraps, and timing one request.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from din import documents
from din.artifacts import MANIFEST
from din.errors import InputError, shown
from din.forms import PATHS, Expectation, ParityReport, RawManifest, ValidationReport
from din.metrics import summary
from din.params import to_json
from din.promotion.champion import RAW
from din.promotion.evidence import BUNDLE, DATA, EVALUATION, PARITY, PREDICTIONS, SHOW, VALIDATIONS, Evidence
from din.promotion.verdict import Check, Finding, from_interval, within

REQUIRED = {
    "raw": ("files_match_manifest", "rows", "sequence_unique", "label_0_or_1", "timestamp_plausible"),
    "features": ("files_match_manifest", "built_from_this_raw_log", "history_before_impression", "splits_apart"),
    "predictions": ("columns", "test_prediction_not_null", "test_rows_of_features", "test_calibration_ratio"),
}
"""Expectations without which a suite's report proves nothing."""
LATENCY = "latency_ms"
_AGREED = ("rows", "auc", "gauc", "log_loss", "calibration_ratio")
_TOLERANCE = 1e-6

Latency = Callable[[Path], float]


def measure_latency(bundle: Path) -> float:
    """Time of one large request in ms, by `din.serve.latency`."""
    from din.serve.latency import request_ms  # `max_latency_ms: null` needs no onnxruntime

    return request_ms(bundle)


def own_gates(evidence: Evidence, latency: Latency) -> list[Check]:
    """All of them; `latency` only where it has a limit."""
    limits, evaluation = evidence.limits, f"{SHOW} {EVALUATION}"
    calibration = (limits.min_calibration, limits.max_calibration)
    gates: list[Check] = [
        ("made_from", f"{SHOW} {BUNDLE / 'facts.json'}", partial(_made_from, evidence)),
        *(
            (f"validation_{suite}", f"{SHOW} {path}", partial(_validation, evidence, suite, path))
            for suite, path in VALIDATIONS.items()
        ),
        ("evaluation", evaluation, partial(_evaluation, evidence)),
        ("min_auc", evaluation, partial(_limit, evidence, "auc", limits.min_auc)),
        ("min_gauc", evaluation, partial(_limit, evidence, "gauc", limits.min_gauc)),
        ("calibration", evaluation, partial(_limit, evidence, "calibration_ratio", *calibration)),
        ("parity", f"{SHOW} {PARITY}", partial(_parity, evidence)),
        ("bundle_mb", f"du -ah {BUNDLE}", partial(_size, evidence)),
    ]
    if limits.max_latency_ms is not None:
        look = f"{SHOW} {BUNDLE / 'signature.json'}"
        gates.append((LATENCY, look, partial(_latency, latency, limits.max_latency_ms)))
    return gates


def _made_from(evidence: Evidence) -> Finding:
    """Log and bundle were made by the parameters as they are now, for the namespace that they name."""
    params, facts = evidence.params, evidence.facts
    log = documents.read(RawManifest, RAW / MANIFEST)
    pairs = {
        "fetch.source": (log["source"], params.fetch.source),
        "data.until": (log["until"], to_json(params.data)["until"]),
        "promote.model_name": (facts["model_name"], params.model_name),
        **_pairs("featurize", facts["params"]["featurize"], to_json(params.featurize)),
        **_pairs("train", facts["params"]["train"], to_json(params.train)),
    }
    differing = [f"{key} was {shown(made)}, is {shown(now)}" for key, (made, now) in pairs.items() if made != now]
    if not differing:
        return Finding("open", 0, 0)
    reason = f"made by other parameters than params.yaml holds now: {'; '.join(differing)}; run `dvc repro`"
    return Finding("closed", len(differing), 0, reason=reason)


def _pairs(block: str, made: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {f"{block}.{key}": (made.get(key), now.get(key)) for key in sorted(made.keys() | now.keys())}


def _validation(evidence: Evidence, suite: str, path: Path) -> Finding:
    """A suite's report judged the data that lies here, and its own findings say that it is open."""
    report = documents.read(ValidationReport, path)
    judged, found = DATA[suite], evidence.hash_of(suite)
    if report["input"] != found:
        reason = f"the report judged another {judged} than the one here; run `dvc repro validate_{suite}`"
        return Finding("closed", found[:12], report["input"][:12], reason=reason)
    made_from = dict(evidence.facts["inputs"]).get(suite, found)  # a bundle is made before its rows are predicted
    if made_from != found:
        reason = f"the bundle was made from another {judged} than the one here; run `dvc repro`"
        return Finding("closed", found[:12], str(made_from)[:12], reason=reason)
    if missing := set(REQUIRED[suite]) - {entry["name"] for entry in report["expectations"]}:
        reason = f"the report lacks {', '.join(sorted(missing))}; run `dvc repro validate_{suite}`"
        return Finding("closed", len(report["expectations"]), None, reason=reason)
    critical = [entry for entry in report["expectations"] if entry["severity"] == "critical"]
    if failed := [entry["name"] for entry in critical if not _holds(entry)]:
        return Finding("closed", "closed", "open", reason=f"failed: {', '.join(failed)}")
    if report["verdict"] != "open":
        return Finding("closed", report["verdict"], "open", reason="the report is closed though nothing in it failed")
    return Finding("open", "open", "open")


def _holds(entry: Expectation) -> bool:
    """Whether an expectation succeeded, and its figure, where it has one, bears that out."""
    observed, bounds = entry["observed"], entry["threshold"]
    if not entry["success"]:
        return False
    if not isinstance(observed, int | float):
        return bounds.keys() <= {"in"} or observed is not None
    low, high = bounds.get("min"), bounds.get("max")
    return (low is None or observed >= low) and (high is None or observed <= high)


def _evaluation(evidence: Evidence) -> Finding:
    """evaluation.json, the predictions and the bundle speak of one model."""
    evaluation = evidence.evaluation
    if evidence.facts["evaluation"] != evaluation:
        reason = "the bundle was exported with another evaluation.json; run `dvc repro export`"
        return Finding("closed", "differs", "same as the bundle's", reason=reason)
    made_from = evidence.facts["inputs"]
    if evaluation["inputs"] != {"features": made_from["features"], "model": made_from["model"]}:
        reason = "evaluation.json is about another model or other features than the bundle's; run `dvc repro`"
        return Finding("closed", evaluation["inputs"]["model"][:12], made_from["model"][:12], reason=reason)
    if (found := evidence.hash_of("model")) != made_from["model"]:
        reason = f"the bundle was made from another model than {DATA['model']} holds; run `dvc repro export`"
        return Finding("closed", found[:12], made_from["model"][:12], reason=reason)
    rows, stated = evidence.rows, evaluation["test"]
    measured = summary(*(rows[name].to_numpy() for name in ("label", "prediction", "user")))
    gap = float(np.max([abs(_number(measured[key]) - _number(stated[key])) for key in _AGREED]))
    reason = None if gap <= _TOLERANCE else f"evaluation.json does not follow from {PREDICTIONS}; run `dvc repro`"
    return Finding("closed" if reason else "open", gap, _TOLERANCE, rows=len(rows), reason=reason)


def _number(figure: float | None) -> float:
    return math.nan if figure is None else float(figure)


def _limit(evidence: Evidence, metric: str, low: float, high: float = math.inf) -> Finding:
    interval = evidence.interval(metric, evidence.sample)
    threshold = low if math.isinf(high) else [low, high]
    return from_interval(within(interval, low, high), interval, threshold, len(evidence.sample))


def _parity(evidence: Evidence) -> Finding:
    report = documents.read(ParityReport, PARITY)
    limit = evidence.params.check_parity.atol_probability
    if report["bundle"] != evidence.version:
        reason = f"the report is about bundle {str(report['bundle'])[:12]}; run `dvc repro check_parity`"
        return Finding("closed", str(report["bundle"])[:12], evidence.version[:12], reason=reason)
    largest = report["max_abs_probability_diff"]
    agree = largest is not None and largest <= limit and report["cases"] > 0 and report["paths"] == list(PATHS)
    if agree and report["verdict"] == "open":
        return Finding("open", largest, limit, rows=report["cases"])
    reason = report["reason"] or "the paths disagree, or not all were compared; see the report"
    return Finding("closed", largest, limit, rows=report["cases"], reason=reason)


def _size(evidence: Evidence) -> Finding:
    observed = sum((BUNDLE / name).stat().st_size for name in evidence.bundle.files) / 1e6
    limit = evidence.limits.max_bundle_mb
    return Finding("open" if observed <= limit else "closed", observed, limit)


def _latency(measure: Latency, limit: float) -> Finding:
    try:
        observed = round(measure(BUNDLE), 1)  # more digits are noise
    except Exception as error:  # a bundle that can't answer may fail in any way, and has no latency
        raise InputError(f"the bundle can't answer a request: {error!r}") from error
    if observed <= limit:
        return Finding("open", observed, limit)
    reason = "one request takes too long: shorten featurize.max_history, or make train.hidden smaller"
    return Finding("closed", observed, limit, reason=reason)
