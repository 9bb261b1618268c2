"""Gates on the candidate alone: its reports, absolute limits, parity, size and latency.

Costs hashing what the reports judged, a few bootstraps, and timing one request.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from din.artifacts import hash_tree, read_json
from din.bundle import verify_bundle
from din.errors import InputError
from din.metrics import summary
from din.promotion.champion import FEATURES, RAW
from din.promotion.evidence import BUNDLE, EVALUATION, PREDICTIONS, REPORTS, SHOW, Evidence
from din.promotion.verdict import Check, Finding, from_interval, within

JUDGED = {"raw": RAW, "features": FEATURES, "predictions": PREDICTIONS}
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
        *(
            (
                f"validation_{name}",
                f"{SHOW} {REPORTS / 'validation' / name}.json",
                partial(_validation, evidence, name, judged),
            )
            for name, judged in JUDGED.items()
        ),
        ("evaluation", evaluation, partial(_evaluation, evidence)),
        ("min_auc", evaluation, partial(_limit, evidence, "auc", limits.min_auc)),
        ("min_gauc", evaluation, partial(_limit, evidence, "gauc", limits.min_gauc)),
        ("calibration", evaluation, partial(_limit, evidence, "calibration_ratio", *calibration)),
        ("parity", f"{SHOW} {REPORTS / 'parity.json'}", partial(_parity, evidence)),
        ("bundle_mb", f"du -ah {BUNDLE}", partial(_size, evidence)),
    ]
    if limits.max_latency_ms is not None:
        look = f"{SHOW} {BUNDLE / 'signature.json'}"
        gates.append(("latency_ms", look, partial(_latency, latency, limits.max_latency_ms)))
    return gates


def _validation(evidence: Evidence, name: str, judged: Path) -> Finding:
    report = read_json(REPORTS / "validation" / f"{name}.json")
    if report["input"] != (found := hash_tree(judged)):
        reason = f"the report judged another {judged} than the one here; run `dvc repro validate_{name}`"
        return Finding("closed", found[:12], str(report["input"])[:12], reason=reason)
    made_from = evidence.facts["inputs"].get(name, found)  # predictions are made later than what a bundle is made from
    if made_from != found:
        reason = f"the bundle was made from another {judged} than the one here; run `dvc repro`"
        return Finding("closed", found[:12], made_from[:12], reason=reason)
    failed = [e["name"] for e in report["expectations"] if not e["success"] and e["severity"] == "critical"]
    if report["verdict"] != "open":
        return Finding("closed", report["verdict"], "open", reason=f"failed: {', '.join(failed) or 'see the report'}")
    return Finding("open", "open", "open")


def _evaluation(evidence: Evidence) -> Finding:
    """evaluation.json, the predictions and the bundle speak of one model."""
    evaluation = read_json(EVALUATION)
    if evidence.facts["evaluation"] != evaluation:
        reason = "the bundle was exported with another evaluation.json; run `dvc repro export`"
        return Finding("closed", "differs", "same as the bundle's", reason=reason)
    made_from = {name: evidence.facts["inputs"][name] for name in ("features", "model")}
    if evaluation["inputs"] != made_from:
        reason = "evaluation.json is about another model or other features than the bundle's; run `dvc repro`"
        return Finding("closed", evaluation["inputs"]["model"][:12], made_from["model"][:12], reason=reason)
    rows, stated = evidence.rows, evaluation["test"]
    found = summary(*(rows[name].to_numpy() for name in ("label", "prediction", "user")))
    gap = float(np.max([abs(float(found[key]) - float(stated[key])) for key in _AGREED]))
    reason = None if gap <= _TOLERANCE else f"evaluation.json does not follow from {PREDICTIONS}; run `dvc repro`"
    return Finding("closed" if reason else "open", gap, _TOLERANCE, rows=len(rows), reason=reason)


def _limit(evidence: Evidence, metric: str, low: float, high: float = math.inf) -> Finding:
    interval = evidence.interval(metric, evidence.sample)
    threshold = low if math.isinf(high) else [low, high]
    return from_interval(within(interval, low, high), interval, threshold, len(evidence.sample))


def _parity(evidence: Evidence) -> Finding:
    report, limit = read_json(REPORTS / "parity.json"), evidence.params.check_parity.atol_probability
    if report["bundle"] != evidence.version:
        reason = f"the report is about bundle {str(report['bundle'])[:12]}; run `dvc repro check_parity`"
        return Finding("closed", str(report["bundle"])[:12], evidence.version[:12], reason=reason)
    reason = None if report["verdict"] == "open" else report.get("reason") or "the paths disagree; see the report"
    verdict = "closed" if reason else "open"
    return Finding(verdict, report["max_abs_probability_diff"], limit, rows=report["cases"], reason=reason)


def _size(evidence: Evidence) -> Finding:
    names = verify_bundle(BUNDLE)[1]
    observed = sum((BUNDLE / name).stat().st_size for name in names) / 1e6
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
