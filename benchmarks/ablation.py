"""Measure what ages, long histories and the mean of several models are worth, and what they cost.

    python -m benchmarks.ablation --data logs --write

Two logs have the parameters that `din init` guesses for them, and MovieLens-100k those of params.yaml, all with
histories of 50 behaviours without ages. One thing changes at a time. Test rows are scored once for each seed.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from benchmarks import harness
from benchmarks.environments import ROOT
from benchmarks.exported import ExportedModel
from benchmarks.features import featurized
from benchmarks.generated_tables import publish
from benchmarks.harness import parsed, positive
from benchmarks.measure import best_ms
from benchmarks.quality import CONFIDENCE
from benchmarks.training import QualityRun, run
from benchmarks.tuned import DEFAULT, guessed
from din.bundle.encode import Encoder
from din.bundle.latency import CANDIDATES
from din.features.packing import TableLayout
from din.features.reader import Features
from din.metrics.estimates import Metric, difference, mean
from din.metrics.ranking import auc
from din.model.model import build
from din.params.blocks import parse, to_json
from din.params.overlays import nested, overlaid
from din.params.reading import Params, load
from din.params.train import Train

STORE = harness.STORE / "ablation"
LOGS = ("amazon-beauty", "ml-latest-small-2016")
BASE = "50 behaviours, no ages"
CHANGES: Mapping[str, Mapping[str, Any]] = {
    BASE: {"train.model.ages": False, "featurize.max_history": 50},
    "ages": {"train.model.ages": True, "featurize.max_history": 50},
    "200 behaviours": {"train.model.ages": False, "featurize.max_history": 200},
}
_METRICS: tuple[Metric, ...] = ("auc", "gauc")
_HEAD = ("change", "valid AUC", "test AUC", "AUC more", "GAUC more", "training, CPU s", "request, ms", "served, MB")


@dataclass(frozen=True)
class Trained:
    """A training and its costs.

    Attributes:
        run: the figures of the training.
        cpu_s: the CPU time of training and scoring, in seconds.
        request_ms: the time of a request from raw ids, with `CANDIDATES` candidates and the longest history.
        served_mb: the size of the graphs, weights and values that answer it.
    """

    run: QualityRun
    cpu_s: float
    request_ms: float
    served_mb: float


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description="What is each option worth?")
    parser.add_argument("--data", type=Path, help="the folder of the prepared logs; default: MovieLens-100k alone")
    parser.add_argument("--seeds", type=positive, default=1, help="of each row, by default %(default)s")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/tuning.md")
    options = parsed(parser, full={"seeds": 5})

    def measured() -> str:
        logs = {name: guessed(options.data / name) for name in LOGS if options.data} | {
            DEFAULT: load(ROOT / "params.yaml")
        }
        return text(logs, options.seeds, options.jobs)

    return publish("ablation" if options.write else "", measured)


def text(logs: Mapping[str, Params], seeds: int, jobs: int, store: Path = STORE) -> str:
    """Run the missing trainings, and return a table for each log.

    Raises:
        InputError: a log can't be read.
    """
    changed = {
        (log, change): parse(Params, overlaid(to_json(params), nested(values), change), change)
        for log, params in logs.items()
        for change, values in CHANGES.items()
    }
    features = featurized({_features(log, params): params for (log, _), params in changed.items()}, store, jobs)
    cases = []
    for (log, change), params in changed.items():
        for seed in range(1, seeds + 1):
            train = replace(params.train, learning=replace(params.train.learning, seed=seed))
            cases.append(
                harness.StudyCase(f"{log} {change} {seed}", trained, (features[_features(log, params)], train))
            )
    trainings = harness.results(store / "runs", cases, jobs)
    runs = {case: trainings[number * seeds : (number + 1) * seeds] for number, case in enumerate(changed)}
    return "\n".join(_table(log, {change: runs[log, change] for change in CHANGES}) for log in logs)


def trained(kept: Path, features: Path, train: Train) -> Trained:
    """Train and score once, and time a request.

    Args:
        kept: the document of the case.
        features: the feature directory.
        train: the training parameters, with the seed.
    """
    began = time.process_time()
    figures = run(kept, features, train)
    cpu_s = time.process_time() - began
    opened = Features(features)
    model, table = build(opened.fields, TableLayout.of(opened.fields, opened.rows), train)
    with TemporaryDirectory() as folder:
        exported = ExportedModel(model, table, train, opened, Path(folder), threads=1)
        encoder = Encoder(Path(folder), train.model.ages)
        request = encoder.example(max(CANDIDATES, encoder.max_history))
        request["candidates"] = request["candidates"][:CANDIDATES]
        scorer = exported.scorer
        times = best_ms({"request": lambda: scorer.run_all(encoder.pack_one(request, scorer.piece))})
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return Trained(figures, cpu_s, times["request"], size / 1e6)


def _features(log: str, params: Params) -> str:
    return f"{log} {params.featurize.max_history}"


def _table(log: str, rows: Mapping[str, Sequence[Trained]]) -> str:
    count = len(rows[BASE])
    test = pq.read_table(rows[BASE][0].run.predictions)
    scores = {change: [_scores(training.run) for training in trainings] for change, trainings in rows.items()}
    lines = []
    for change, trainings in rows.items():
        valid = np.array([training.run.valid.auc for training in trainings], np.float64)
        lines.append([change, f"{valid.mean():.4f}", *_gains(test, scores[change], scores[BASE]), *_costs(trainings)])
    if count > 1:
        together = [np.mean(scores[BASE], axis=0)] * count
        gains = _gains(test, together, scores[BASE])
        lines.append([f"the mean of {count} models", "", *gains, *_costs(rows[BASE], count)])
    return f"**{log}**: {test.num_rows:,} test rows, {count} seeds\n\n{harness.table(_HEAD, lines)}"


def _scores(run: QualityRun) -> NDArray[np.float32]:
    return pq.read_table(run.predictions)["prediction"].to_numpy()


def _gains(test: pa.Table, scores: Sequence[ArrayLike], base: Sequence[ArrayLike]) -> list[str]:
    """Return the mean AUC of some models, and what they have more than others on the same rows, seed by seed."""
    cells = [f"{np.mean([auc(test['label'], predictions) for predictions in scores]):.4f}"]
    for metric in _METRICS:
        pairs = zip(scores, base, strict=True)
        more = mean(
            [difference(metric, test["label"], predictions, other, test["user"]) for predictions, other in pairs]
        )
        cells.append(harness.interval(more.interval(CONFIDENCE)))
    return cells


def _costs(trainings: Sequence[Trained], models: int = 1) -> list[str]:
    """Return the costs of one model of these, or of several together."""
    return [
        f"{models * np.mean([training.cpu_s for training in trainings]):.0f}",
        f"{models * np.median([training.request_ms for training in trainings]):.1f}",
        f"{models * np.mean([training.served_mb for training in trainings]):.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
