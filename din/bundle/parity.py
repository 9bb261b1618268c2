"""The stage `check_parity`: check that production and training compute the same probability for the same impression.

    torch    the shipped model on feature shards
    onnx     batch.onnx on the same packed features: checks the export
    scorer   the bundle on requests built from data/raw, in onnxruntime: checks the encoding too
             `score` (request.onnx) and `score_many` (batch.onnx)
    native   the same requests in C kernels, if the model has a native form and this machine a C compiler

Bit equality is not required, because onnxruntime does not promise it. Logits, probabilities and AUC must agree within
the tolerances in `din.bundle.agreement`. The candidates of a request must keep their order, unless their logits differ
by less than the tolerance. For extreme numbers, which no log contains, only the codes must agree, and all paths must
give a score: DIN multiplies its inputs with each other, so at 100 standard deviations float32 is too imprecise for two
programs to agree.

The bundle's golden requests must agree too, because each server repeats this check.

The verdict is closed if a path fails or can't be compared, or if all outputs are alike, which proves nothing. An
impression takes about half a millisecond.
"""

import json
import sys
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from din.base.artifacts import write_json
from din.base.errors import GateClosed, InputError, is_of_this_machine, listed, shown
from din.base.workspace import Workspace
from din.bundle.agreement import (
    ATOL_LOGIT,
    ATOL_PROBABILITY,
    AUC_DELTA,
    MIN_STD,
    PATHS,
    PORTABLE,
    ParityPath,
    ParityReport,
)
from din.bundle.cases import ParityCase, real_cases
from din.bundle.contents import verify_bundle
from din.bundle.encode import Encoder
from din.bundle.golden import difference, read_golden
from din.bundle.golden_writer import torch_scores
from din.bundle.limits import Limits
from din.bundle.scorer import BATCH_GRAPH, Graph, Scorer, Scores, Vector
from din.features.packing import PackedBatch
from din.features.reader import Features
from din.metrics.ranking import auc
from din.model import artifact
from din.params.reading import Params
from din.schema import Group

MOST_IMPRESSIONS = 10_000  # drawn from the log; edge cases come on top
_SEED = 3  # draws the impressions
_LONG = 20  # elements of a list that a behaviour of the report states in full
T = TypeVar("T")
_FIGURES = ("max_abs_probability_diff", "max_abs_logit_diff", "auc_delta", "std", "flips")


def check_parity(workspace: Workspace, params: Params) -> None:
    """Compare all paths and write `reports/parity.json`.

    Raises:
        GateClosed: the paths differ or can't be compared. The report is written first.
        InputError: the features, the model or the raw log are missing.
    """
    workspace.parity.unlink(missing_ok=True)  # leave no older verdict behind if the check fails
    features = artifact.known(Features(workspace.features), workspace.shipped)
    trained = artifact.load(features, workspace.shipped)
    ages = trained.model.reads_ages
    real, edges = real_cases(features, workspace.raw, MOST_IMPRESSIONS, _SEED, ages=ages)
    version = None
    measured: dict[str, Any] = dict.fromkeys((*_FIGURES, "worst", "reason"))
    cases = real + edges
    paths: tuple[ParityPath, ...] = PORTABLE
    try:
        bundle = verify_bundle(workspace.bundle)
        version = bundle.version
        graph = Graph(workspace.bundle / BATCH_GRAPH)
        by_path = {
            "torch": torch_scores(trained, (case.packed for case in cases)),
            "onnx": Scores.joined([_scored("batch.onnx", case, graph.run, case.packed) for case in cases]),
        }
        scorers = {"": Scorer(bundle, native=False)}
        kernels = Scorer(bundle)
        if kernels.native:
            paths = PATHS
            scorers["native_"] = kernels
        for prefix, scorer in scorers.items():
            scorer = scorer.within(Limits(history=sys.maxsize))  # edges are longer than any request
            path = f"{prefix}score"
            alone = [_scored(path, case, scorer.both, request) for case in cases for request in case.bare]
            by_path[path] = Scores.joined(alone)
            many = scorer.both_of_many([request for case in cases for request in case.requests])
            by_path[f"{prefix}score_many"] = Scores.joined(many)
        measured = compare(by_path, real, edges)
        encoder = Encoder(workspace.bundle)
        extreme = [case for case in edges if case.extreme]
        fields = differing_fields(encoder, real if measured["reason"] else extreme)
        codes = f"a request gets other codes than featurize stores for {listed(fields)}" if fields else None
        golden = read_golden(workspace.bundle)
        differences = [difference(scorer, golden) for scorer in scorers.values()]
        measured["reason"] = "; ".join(filter(None, (measured["reason"], *differences, codes))) or None
    except Exception as error:  # a broken bundle can raise anything
        if is_of_this_machine(error):
            raise
        measured["reason"] = _cause(error)
    report = ParityReport(
        verdict="closed" if measured["reason"] else "open",
        bundle=version,
        paths=paths,
        cases=sum(len(case.packed) for case in real) + len(edges),
        **measured,
    )
    write_json(workspace.parity, report)
    if report.reason:
        worst = f"\nSee `worst` in {workspace.parity}." if report.worst else ""
        raise GateClosed(f"{_table(report)}\nclosed: {report.reason}{worst}", workspace.parity)
    print(f"{_table(report)}\nopen: {report.cases:,} cases agree on {', '.join(paths)}")


def _scored(path: str, case: ParityCase, score: Callable[[T], Scores], asked: T) -> Scores:
    """Return the scores that a path gives to a case, or to one of its requests.

    Raises:
        InputError: the path fails. The message names it and the case.
    """
    try:
        return score(asked)
    except Exception as error:  # a broken bundle can raise anything
        if is_of_this_machine(error):
            raise
        raise InputError(f"{path} can't score the case {case.name!r}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def compare(by_path: dict[str, Scores], real: list[ParityCase], edges: list[ParityCase]) -> dict[str, Any]:
    """Return the measured part of the report. `reason` has the failed checks, or is None.

    Args:
        by_path: the scores of each path.
        real: the cases from the log, which come first in the scores.
        edges: the edge cases. Scores of extreme ones are not compared.

    Raises:
        InputError: a path gave a different number of scores.
    """
    torch_ = by_path["torch"]
    others = {name: scores for name, scores in by_path.items() if name != "torch"}
    for name, scores in others.items():
        if scores.logits.shape != torch_.logits.shape:
            raise InputError(f"{name} gave {scores.logits.shape} answers to {torch_.logits.shape} impressions")
    cases = real + edges
    compared = np.repeat([not case.extreme for case in cases], [len(case.packed) for case in cases])
    scale = np.maximum(1, np.abs(torch_.logits))
    logits = _largest([scores.logits for scores in others.values()], torch_.logits, compared)
    probabilities = _largest([scores.probabilities for scores in others.values()], torch_.probabilities, compared)
    count = sum(len(case.packed) for case in real)
    labels = np.concatenate([case.packed.labels for case in real])
    base = auc(labels, torch_.logits[:count])
    deltas = [abs(auc(labels, scores.logits[:count]) - base) for scores in others.values()]
    near = tied_share(labels, torch_.logits[:count], ATOL_LOGIT)
    flips = sum(_flips(torch_.logits[count:], scores.logits[count:], edges) for scores in others.values())
    std = float(torch_.probabilities[:count].std())
    checks = {
        f"outputs are all alike (their std is below {MIN_STD}): nothing is proven": std >= MIN_STD,
        "logits differ": (logits / scale).max() <= ATOL_LOGIT,
        "probabilities differ": probabilities.max() <= ATOL_PROBABILITY,
        "AUC differs, or can't be computed": np.max(deltas) < AUC_DELTA + near,
        "the order of candidates differs": flips == 0,
    }
    failed = [reason for reason, holds in checks.items() if not holds]
    return {
        "max_abs_probability_diff": float(probabilities.max()),
        "max_abs_logit_diff": float(logits.max()),
        "auc_delta": None if np.isnan(base) else float(np.max(deltas)),
        "std": std,
        "flips": flips,
        "worst": _describe(int(probabilities.argmax()), by_path, cases),
        "reason": "; ".join(failed) or None,
    }


def _largest(others: list[Vector], torch_: Vector, compared: NDArray[np.bool_]) -> Vector:
    """Return the largest difference [N] of any path from PyTorch, or 0 for scores that are not compared.

    NaN in any path gives NaN, which fails every tolerance.
    """
    return np.where(compared, np.max(np.abs(np.array(others) - torch_), axis=0), 0.0)


def differing_fields(encoder: Encoder, cases: list[ParityCase]) -> list[str]:
    """Return the fields whose codes in the features differ from the codes that the encoder computes for requests."""
    fields: dict[str, None] = {}
    for case in cases:
        logged = _codes([case.packed])
        asked = _codes(encoder.pack(case.requests))
        fields |= {name: None for (name, of), codes in logged.items() if not _same(codes, asked.get((name, of)))}
    return list(fields)


def _same(codes: list[list[float]], other: list[list[float]] | None) -> bool:
    """Return whether codes are equal, up to rounding: both sides standardise numbers on their own."""
    if other is None or [len(code) for code in codes] != [len(code) for code in other]:
        return False
    return np.allclose(list(chain.from_iterable(codes)), list(chain.from_iterable(other)), rtol=1e-5)


def _codes(pieces: Iterable[PackedBatch]) -> dict[tuple[str, str], list[list[float]]]:
    """Return the table rows (and weights) that each field looks up, separately for candidates and histories."""
    by_field: dict[tuple[str, str], list[list[float]]] = {}
    for packed in pieces:
        for group, lookups in packed.lookups.items():
            for name, lookup in lookups.items():
                owners = {"candidates": packed.candidate, "history": packed.behaviour}
                places = owners if group is Group.ITEM else {str(group): np.arange(len(lookup))}
                codes = lookup.of_owners()
                for of, chosen in places.items():
                    by_field.setdefault((name, of), []).extend(codes[at] for at in chosen)
    return by_field


def tied_share(labels: NDArray[Any], logits: Vector, tie: float) -> float:
    """Return the share of (click, non-click) pairs whose logits differ by at most `tie`, or NaN without pairs."""
    clicked = logits[labels == 1]
    other = np.sort(logits[labels != 1])
    if not len(clicked) or not len(other):
        return np.nan
    near = np.searchsorted(other, clicked + tie, "right") - np.searchsorted(other, clicked - tie, "left")
    return float(near.sum() / (len(clicked) * len(other)))


def _flips(logits: Vector, other_logits: Vector, edges: list[ParityCase]) -> int:
    """Count the pairs of candidates of a case that two paths rank differently, not counting ties.

    A pair is tied if its logits differ by at most the mean of their two tolerances.

    Args:
        logits, other_logits: [N] the logits of the edge cases by each path.
        edges: the edge cases. Extreme ones do not count.
    """
    ends = np.cumsum([len(case.packed) for case in edges])[:-1]
    flips = 0
    for case, reference, other in zip(edges, *(np.split(part, ends) for part in (logits, other_logits)), strict=True):
        allowed = ATOL_LOGIT * np.maximum(1, np.abs(reference))
        tie = (allowed[:, None] + allowed) / 2
        flips += 0 if case.extreme else int(((reference[:, None] - reference > tie) & (other[:, None] < other)).sum())
    return flips


def _describe(at: int, by_path: dict[str, Scores], cases: list[ParityCase]) -> dict[str, Any]:
    """Return impression `at` of all cases with its request and the scores of every path."""
    answers = {
        name: {"logit": float(scores.logits[at]), "probability": float(scores.probabilities[at])}
        for name, scores in by_path.items()
    }
    for case in cases:
        for request in case.requests:
            if at < len(request["candidates"]):
                brief = request | {"history": [_cut(behaviour) for behaviour in request["history"]]}
                plain = json.loads(json.dumps(brief, default=str), parse_constant=str)
                return {"case": case.name, "candidate": at, "request": plain, **answers}
            at -= len(request["candidates"])
    raise AssertionError(at)


def _cut(behaviour: dict[str, Any]) -> dict[str, Any]:
    """Return a behaviour with its long lists cut, because the report of a history of vectors would be too large."""
    return {
        name: shown(value) if isinstance(value, list) and len(value) > _LONG else value
        for name, value in behaviour.items()
    }


def _table(report: ParityReport) -> str:
    figures = {key: getattr(report, key) for key in _FIGURES}
    return "\n".join(f"{key:26}{value if value is None else format(value, '.3g')}" for key, value in figures.items())
