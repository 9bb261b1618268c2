"""The stage `check_parity`: check that production and training compute the same probability for the same impression.

    torch    the shipped model on feature shards
    onnx     batch.onnx on the same packed features: checks the export
    scorer   the bundle on requests built from data/raw: checks its inputs, too
             `score` (request.onnx) and `score_many` (batch.onnx)

The verdict is closed if a path fails or can't be compared, or if all outputs are alike, which proves nothing. An
impression takes about half a millisecond. Bit equality is not demanded, since onnxruntime does not promise it. Logits
must agree up to `atol_logit` (relative beyond 1, as float32 has 24 bits), probabilities up to `atol_probability`, and
AUC up to `MAX_AUC_DELTA` and the pairs that are tied within `atol_logit`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from din.artifacts import write_json
from din.document_types import PATHS
from din.errors import GateClosed, InputError
from din.features.packing import PackedBatch
from din.features.reader import Features
from din.metrics.ranking import auc
from din.model import artifact
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.params import CheckParity, Params
from din.serve.cases import Case, real_cases
from din.serve.scorer import BATCH_GRAPH, Graph, Scorer
from din.workspace import Workspace

MAX_AUC_DELTA = 1e-5

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The scores of one path for all cases, [N] each."""

    logits: Vector
    probabilities: Vector


def check_parity(workspace: Workspace, params: Params) -> None:
    """Compare all paths and write `reports/parity.json`.

    Raises:
        GateClosed: the paths differ or can't be compared. The report is written nevertheless.
        InputError: features, model or raw log are missing.
    """
    workspace.parity.unlink(missing_ok=True)  # an older verdict must not survive if the check fails
    features = artifact.known(Features(workspace.features), workspace.shipped)
    trained = artifact.load(features, workspace.shipped)
    settings = params.check_parity
    real, edges = real_cases(features, workspace.raw, settings.max_impressions, settings.seed)
    report: dict[str, Any] = {"verdict": "closed", "bundle": None, "paths": list(PATHS)}
    report["cases"] = sum(len(case.packed) for case in real) + len(edges)
    report |= {"max_abs_probability_diff": None, "max_abs_logit_diff": None, "auc_delta": None, "std": None}
    report |= {"flips": None, "worst": None}
    try:
        scorer = Scorer.open(workspace.bundle)
        report["bundle"] = scorer.version
        found = {
            "torch": _torch(trained, real + edges),
            "onnx": _onnx(workspace.bundle / BATCH_GRAPH, real + edges),
            "score": _scorer(scorer, real + edges, many=False),
            "score_many": _scorer(scorer, real + edges, many=True),
        }
        report |= compare(found, real, edges, settings)
    except Exception as error:  # a bundle that can't be opened or can't answer may fail in any way
        report["reason"] = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    report["verdict"] = "closed" if report["reason"] else "open"
    write_json(workspace.parity, report)
    if report["reason"]:
        closed = f"{_table(report)}\nclosed: {report['reason']}\nSee `worst` in {workspace.parity}."
        raise GateClosed(closed, workspace.parity)
    print(f"{_table(report)}\nopen: {report['cases']:,} cases agree on {', '.join(PATHS)}")


def compare(found: dict[str, Scores], real: list[Case], edges: list[Case], settings: CheckParity) -> dict[str, Any]:
    """Return the measured part of the report, with the failures as `reason`, or None.

    Args:
        found: the scores of each path.
        real: the cases from the log, which come first in the scores.
        edges: the edge cases.
        settings: the tolerances.

    Raises:
        InputError: a path gave another number of answers.
    """
    torch_ = found["torch"]
    others = {name: scores for name, scores in found.items() if name != "torch"}
    for name, scores in others.items():
        if scores.logits.shape != torch_.logits.shape:
            raise InputError(f"{name} gave {scores.logits.shape} answers to {torch_.logits.shape} impressions")
    by_logit = {name: np.abs(scores.logits - torch_.logits) for name, scores in others.items()}
    by_probability = {name: np.abs(scores.probabilities - torch_.probabilities) for name, scores in others.items()}
    scale = _scale(torch_.logits, real + edges)
    count = sum(len(case.packed) for case in real)
    labels = np.concatenate([case.packed.labels for case in real])
    base = auc(labels, torch_.logits[:count])
    deltas = {name: abs(auc(labels, scores.logits[:count]) - base) for name, scores in others.items()}
    near = tied_share(labels, torch_.logits[:count], settings.atol_logit)
    flips = sum(_flips(torch_, scores, real, edges, settings.atol_logit) for scores in others.values())
    std = float(torch_.probabilities[:count].std())

    def worst(values: dict[str, Vector]) -> float:
        return max(float(v.max()) for v in values.values())

    checks = {
        "outputs are all alike (their std is below check_parity.min_std): nothing is proven": std >= settings.min_std,
        "logits differ": worst({n: v / scale for n, v in by_logit.items()}) <= settings.atol_logit,
        "probabilities differ": worst(by_probability) <= settings.atol_probability,
        "AUC differs, or can't be computed": max(deltas.values()) < MAX_AUC_DELTA + near,
        "the order of candidates differs": flips == 0,
    }
    failed = [reason for reason, holds in checks.items() if not holds]
    at = int(np.argmax(np.max([*by_probability.values()], axis=0)))
    return {
        "max_abs_probability_diff": worst(by_probability),
        "max_abs_logit_diff": worst(by_logit),
        "auc_delta": None if np.isnan(base) else max(deltas.values()),
        "std": std,
        "flips": flips,
        "worst": _describe(at, found, real + edges),
        "reason": "; ".join(failed) or None,
    }


def _scale(logits: Vector, cases: list[Case]) -> Vector:
    """Return the scale of differences of logits, [N]: the largest logit of the same case, but at least 1.

    Candidates of a case share their inputs. If these are extreme, sums of large numbers cancel in float32, and a small
    logit has as large an error as a large one.
    """
    ends = np.cumsum([len(case.packed) for case in cases])
    parts = np.split(np.abs(logits), ends[:-1])
    return np.concatenate([np.full(len(part), max(1.0, part.max(initial=0.0))) for part in parts])


def tied_share(labels: NDArray[Any], logits: Vector, tie: float) -> float:
    """Return the share of pairs of a click and a non-click that rounding may order either way, or NaN without pairs."""
    clicked = logits[labels == 1]
    other = np.sort(logits[labels != 1])
    if not len(clicked) or not len(other):
        return np.nan
    near = np.searchsorted(other, clicked + tie, "right") - np.searchsorted(other, clicked - tie, "left")
    return float(near.sum() / (len(clicked) * len(other)))


def _torch(trained: Trained, cases: list[Case]) -> Scores:
    def logits(packed: PackedBatch) -> Vector:
        return trained.model(trained.table, to_tensors(packed)).double().numpy()

    with torch.inference_mode():
        found = np.concatenate([logits(case.packed) for case in cases if len(case.packed)])
    return Scores(found, np.exp(-np.logaddexp(0, -found)))


def _onnx(path: Path, cases: list[Case]) -> Scores:
    graph = Graph(path, threads=1)
    found = (np.concatenate([graph.run(case.packed, output) for case in cases]) for output in ("logit", "probability"))
    return Scores(*found)


def _scorer(scorer: Scorer, cases: list[Case], many: bool) -> Scores:
    """Return the scores of `score_many` on full requests, or of `score` on bare ones, which the bundle completes."""
    if many:
        requests = [request for case in cases for request in case.requests]
        found = (np.concatenate(scorer.score_many(requests, output)) for output in ("logit", "probability"))
    else:
        requests = [request for case in cases for request in case.bare]
        found = (
            np.concatenate([scorer.score(request, output) for request in requests])
            for output in ("logit", "probability")
        )
    return Scores(*found)


def _flips(one: Scores, other: Scores, real: list[Case], edges: list[Case], tie: float) -> int:
    """Count pairs of candidates of one request that the two order differently and that are further apart than a tie."""
    at = sum(len(case.packed) for case in real)
    flips = 0
    for case in edges:
        mine, theirs = (scores.logits[at : at + len(case.packed)] for scores in (one, other))
        flips += int(((mine[:, None] - mine > tie) & (theirs[:, None] < theirs)).sum())
        at += len(case.packed)
    return flips


def _describe(at: int, found: dict[str, Scores], cases: list[Case]) -> dict[str, Any]:
    """Return row `at` with its inputs and the scores of every path."""
    answers = {
        name: {"logit": float(scores.logits[at]), "probability": float(scores.probabilities[at])}
        for name, scores in found.items()
    }
    for case in cases:
        for request in case.requests:
            if at < len(request["candidates"]):
                plain = json.loads(json.dumps(request, default=str), parse_constant=str)
                return {"case": case.name, "candidate": at, "request": plain, **answers}
            at -= len(request["candidates"])
    raise AssertionError(at)


def _table(report: dict[str, Any]) -> str:
    keys = ("max_abs_probability_diff", "max_abs_logit_diff", "auc_delta", "std", "flips")
    return "\n".join(f"{key:26}{report[key] if report[key] is None else format(report[key], '.3g')}" for key in keys)
