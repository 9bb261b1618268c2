"""Judge the seed of training: retrain the candidate with other seeds, and write reports/seeds.json.

The gate's intervals say how far other test users would move a figure. This says how far another seed would have moved
it. Features and parameters are the candidate's, and so are the test rows. The seed of `featurize` stays, so the split
does too. The cost is that of the trainings, one after another in one process.
"""

import math
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din import documents
from din.artifacts import hash_tree, write_json
from din.document_types import Bounded, Evaluation, Judged, Luck, Metrics, RankingMetric, SeedReport, SeedResult
from din.errors import InputError, listed, shown
from din.metrics.estimates import MIN_USERS, Estimate, Interval, difference, estimate
from din.metrics.luck import between_two, lasting, standard_deviation
from din.metrics.summary import summary
from din.model import artifact
from din.names import Digest
from din.params import Params, Train, parse
from din.params.blocks import types_of
from din.promotion.printing import print_table
from din.train.compute import computing
from din.train.run import job_of
from din.train.seeds import Finished, other_seeds, train_seed
from din.workspace import Workspace

METRICS: tuple[RankingMetric, ...] = ("auc", "gauc")


def judge_seeds(workspace: Workspace, params: Params, count: int) -> None:
    """Train with `count` ≥ 2 other seeds, write reports/seeds.json, and print it as a table and in words.

    Raises:
        InputError: the workspace holds no candidate of today's parameters and features, or a training diverged.
    """
    with computing(params.train.compute) as compute, job_of(workspace, params, compute) as job:
        inputs = _checked_inputs(workspace, job.settings)
        own_seed = job.settings.learning.seed
        trainings: list[Finished] = []
        for number, seed in enumerate(other_seeds(own_seed, count), 1):
            print(f"training {number} of {count}: seed {seed}", flush=True)
            finished = train_seed(job, seed, workspace.seed_trainings, params.evaluate.batch_size)
            trainings.append(finished)
            figures = [f"{metric.upper()} {_estimate(metric, finished.rows).value:.4f}" for metric in METRICS]
            print(f"seed {seed}: {', '.join(figures)} on the test rows", flush=True)
    candidate = pq.read_table(workspace.predictions / "test.parquet")
    report = _report(candidate, trainings, own_seed, inputs, params.gate.confidence)
    write_json(workspace.seeds, report)
    _print_table(report)
    for metric in METRICS:
        print("\n".join(in_words(metric, report)), flush=True)


def in_words(metric: RankingMetric, report: SeedReport) -> list[str]:
    """Return sentences for people who don't read tables, one a line."""
    name = metric.upper()
    luck = report["luck"][metric]
    if None in (luck["seeds"]["value"], luck["users"], luck["users_of_difference"]):
        return [f"{name}: undefined; it needs {MIN_USERS} test users of each kind, with clicks and without"]
    share = 100 * (2 * report["confidence"] - 1)
    return [
        f"{name}: another seed moves it by about {_with_bounds(luck['seeds'])}. With unlimited test users, it would "
        f"still move it by {_with_bounds(luck['lasting'])}.",
        f"    Other test users would move it by about ±{_shown(luck['users'])}. Both sides of a comparison are judged "
        f"on the same users, which leaves ±{_shown(luck['users_of_difference'])}.",
        f"    Two trainings that differ only in the seed are less than {_shown(luck['between_two'])} apart in "
        f"{share:.0f} % of cases. A smaller gain of other parameters may be luck of the seed.",
    ]


def _checked_inputs(workspace: Workspace, settings: Train) -> Judged:
    """Return the hashes of features and model, after checking that the candidate was made with these settings.

    Raises:
        InputError: it was made with other parameters, or evaluation.json is about another model or other features.
    """
    config = artifact.read_config(workspace.model)
    made = parse(Train, config["train"], workspace.model)
    values = {key: (attrgetter(key)(made), attrgetter(key)(settings)) for key in types_of(Train)}
    differing = [f"train.{key} was {shown(was)}, is {shown(now)}" for key, (was, now) in values.items() if was != now]
    if differing:
        raise InputError(
            f"{workspace.model}: trained with other parameters than params.yaml holds now: {listed(differing)}; "
            "run `dvc repro evaluate`"
        )
    inputs: Judged = {
        "features": Digest(hash_tree(workspace.features)),
        "model": Digest(hash_tree(workspace.model)),
    }
    if documents.read(Evaluation, workspace.evaluation)["inputs"] != inputs:
        raise InputError(
            f"{workspace.evaluation}: about another model or other features than this workspace holds; "
            "run `dvc repro evaluate`"
        )
    return inputs


def _report(candidate: pa.Table, trainings: list[Finished], seed: int, inputs: Judged, confidence: float) -> SeedReport:
    return {
        "confidence": confidence,
        "candidate": {"seed": seed, "inputs": inputs, "test": _metrics(candidate)},
        "seeds": [_result(finished, candidate, confidence) for finished in trainings],
        "luck": {metric: _luck(metric, candidate, trainings, confidence) for metric in METRICS},
    }


def _result(finished: Finished, candidate: pa.Table, confidence: float) -> SeedResult:
    differences: dict[RankingMetric, Bounded] = {
        metric: _bounded(_difference(metric, finished, candidate).interval(confidence)) for metric in METRICS
    }
    return {**finished.training, "test": _metrics(finished.rows), "differences": differences}


def _luck(metric: RankingMetric, candidate: pa.Table, trainings: list[Finished], confidence: float) -> Luck:
    own = _estimate(metric, candidate)
    values = [_estimate(metric, finished.rows).value for finished in trainings]
    errors = [_difference(metric, finished, candidate).standard_error for finished in trainings]
    seeds = standard_deviation(values, confidence)
    return {
        "seeds": _bounded(seeds),
        "lasting": _bounded(lasting(seeds, errors)),
        "users": _defined(own.standard_error),
        "users_of_difference": _defined(float(np.sqrt(np.mean(np.square(errors))))),
        "between_two": _defined(between_two(seeds.point, len(trainings), confidence)),
    }


def _metrics(rows: pa.Table) -> Metrics:
    found: Any = summary(rows["label"].to_numpy(), rows["prediction"].to_numpy(), rows["user"].to_numpy())
    return found


def _estimate(metric: RankingMetric, rows: pa.Table) -> Estimate:
    return estimate(metric, rows["label"].to_numpy(), rows["prediction"].to_numpy(), rows["user"].to_numpy())


def _difference(metric: RankingMetric, finished: Finished, candidate: pa.Table) -> Estimate:
    """Return the metric of a training minus the candidate's."""
    return difference(
        metric,
        candidate["label"].to_numpy(),
        finished.rows["prediction"].to_numpy(),
        candidate["prediction"].to_numpy(),
        candidate["user"].to_numpy(),
    )


def _bounded(interval: Interval) -> Bounded:
    return {"value": _defined(interval.point), "interval": (_defined(interval.lower), _defined(interval.upper))}


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print_table(report: SeedReport) -> None:
    columns = ["seed", "AUC", "GAUC", "log loss", "calibration", "epochs", "seconds", "AUC − candidate", "GAUC − …"]
    candidate = report["candidate"]
    rows = [[f"{candidate['seed']} (candidate)", *_cells(candidate["test"]), None, None, None, None]]
    for one in report["seeds"]:
        differences = [_difference_cell(one["differences"][metric]) for metric in METRICS]
        rows.append([one["seed"], *_cells(one["test"]), one["epochs"], round(one["seconds"]), *differences])
    print_table(f"{len(report['seeds'])} trainings with other seeds, on the test rows", columns, rows)


def _cells(test: Metrics) -> list[float | None]:
    return [test["auc"], test["gauc"], test["log_loss"], test["calibration_ratio"]]


def _difference_cell(found: Bounded) -> str:
    low, high = found["interval"]
    if found["value"] is None or low is None or high is None:
        return "–"
    return f"{found['value']:+.4f} [{low:+.4f}, {high:+.4f}]"


def _with_bounds(found: Bounded) -> str:
    low, high = found["interval"]
    return f"±{_shown(found['value'])} ({_shown(low)} to {_shown(high)})"


def _shown(value: float | None) -> str:
    """Return a figure with two digits, never as a power of ten."""
    if value is None:
        return "–"
    return np.format_float_positional(value, precision=2, fractional=False, trim="-")
