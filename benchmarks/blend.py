"""Measure what the blend is worth, and each of its parts.

    python -m benchmarks.blend --data logs --write

The prepared logs have the parameters that `din init` guesses for them, and MovieLens-100k those of params.yaml. The
model is trained once for each seed. Each row of a table blends its logit with other columns, with weights from
validation rows. Test rows are scored once.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.environments import ROOT
from benchmarks.features import featurized
from benchmarks.generated_tables import publish
from benchmarks.harness import parsed, positive
from benchmarks.tuned import DEFAULT, guessed
from din.features.packing import TableLayout
from din.features.reader import Features
from din.metrics.ranking import auc, gauc
from din.model.blend import Blend
from din.params.reading import Params, load
from din.params.train import Train
from din.schema import SplitName
from din.train.blend import Weights, columns_of, statistics
from din.train.compute import computing
from din.train.learn import Snapshot, learn
from din.train.predict import predict

STORE = harness.STORE / "blend"
LOGS = ("amazon-beauty", "ml-latest-small-2016", "kuairand-pure")
COUNTS = ("impressions", "clicks", "popularity", "behaviours")
PARTS: Mapping[str, tuple[str, ...]] = {
    "weights alone": (),
    "counts": COUNTS,
    "neighbours": ("nearest", "near", "liked", "level", "taste"),
    "all": (*COUNTS, "nearest", "near", "liked", "level", "taste"),
}
_PLAIN = "the model alone"
_HEAD = (
    "beside the model's logit",
    "AUC",
    "GAUC",
    "AUC more",
    "GAUC more",
    "AUC more, worst seed",
    "GAUC more, worst seed",
)


@dataclass(frozen=True)
class Ranked:
    """AUC and GAUC of the test rows of one seed."""

    auc: float
    gauc: float


@dataclass(frozen=True)
class _Rows:
    """The rows of a split that the model has not learned, with the columns of a blend.

    Attributes:
        label, user: [N].
        columns: [N, K].
        names: the names of the columns.
    """

    label: NDArray[np.float64]
    user: NDArray[np.int32]
    columns: NDArray[np.float64]
    names: list[str]

    @classmethod
    def of(cls, model: Snapshot, statistics: Blend, split: SplitName) -> "_Rows":
        """Score a split, and read the columns of its rows."""
        features = model.features
        placed = statistics.placed(features.fields, TableLayout.of(features.fields, features.rows))
        chosen = [np.arange(rows) for rows in features.split_rows(split)]
        predictions = predict(model.trained, features, split)
        logits = predictions.logits - features.offset(split)
        columns = columns_of(placed, features, split, logits, chosen)
        label = predictions.rows["label"].astype(np.float64)
        return cls(label, predictions.rows["user"], columns, statistics.record.columns)

    def with_parts(self, names: Collection[str]) -> NDArray[np.float64]:
        """Return the columns with these names, after the model's logit."""
        return self.columns[:, [at for at, name in enumerate(self.names) if at == 0 or name in names]]

    def ranked(self, scores: NDArray[np.float64]) -> Ranked:
        """Return the metrics of scores of these rows."""
        return Ranked(auc(self.label, scores), gauc(self.label, scores, self.user).value)


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blend", description="What is the blend worth?")
    parser.add_argument("--data", type=Path, help="the folder of the prepared logs; default: MovieLens-100k alone")
    parser.add_argument("--seeds", type=positive, default=2, help="of each row, by default %(default)s")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/tuning.md")
    options = parsed(parser, full={"seeds": 5})

    def measured() -> str:
        logs = {DEFAULT: load(ROOT / "params.yaml")}
        logs |= {name: guessed(options.data / name) for name in LOGS if options.data}
        return text(logs, options.seeds, options.jobs)

    return publish("blend" if options.write else "", measured)


def text(logs: Mapping[str, Params], seeds: int, jobs: int, store: Path = STORE) -> str:
    """Run the missing trainings, and return a table for each log.

    Raises:
        InputError: a log can't be read.
    """
    features = featurized(logs, store, jobs)
    cases = []
    for log, params in logs.items():
        for seed in range(1, seeds + 1):
            settings = replace(
                params.train,
                model=replace(params.train.model, blend=False),
                learning=replace(params.train.learning, seed=seed),
            )
            cases.append(harness.StudyCase(f"{log} {seed}", ranked, (features[log], settings)))
    runs = harness.results(store / "runs", cases, jobs)
    return "\n".join(_table(log, runs[at * seeds : (at + 1) * seeds]) for at, log in enumerate(logs))


def ranked(kept: Path, features: Path, train: Train) -> dict[str, Ranked]:
    """Train once, and return the metrics of the model alone, and with each part of the blend.

    Args:
        kept: the document of the case.
        features: the feature directory.
        train: the training parameters, without a blend and with the seed.
    """
    opened = Features(features)
    with contextlib.redirect_stdout(io.StringIO()), computing(train.compute) as compute:
        learned = learn(opened, train, compute=compute)
    of_items = statistics(opened)
    valid = _Rows.of(learned.before or learned.judged, of_items, "valid")
    test = _Rows.of(learned.judged, of_items, "test")
    rows_per_user = len(valid.label) / len(np.unique(valid.user))
    metrics = {_PLAIN: test.ranked(test.columns[:, 0])}
    for part, names in PARTS.items():
        weights = Weights.fitted(valid.with_parts(names), valid.label, rows_per_user, opened.offset("valid"))
        metrics[part] = test.ranked(weights.parts(test.with_parts(names)).sum(1))
    return metrics


def _table(log: str, runs: Sequence[Mapping[str, Ranked]]) -> str:
    lines = []
    for part in (_PLAIN, *PARTS):
        figures = np.array([[run[part].auc, run[part].gauc] for run in runs])
        more = figures - [[run[_PLAIN].auc, run[_PLAIN].gauc] for run in runs]
        mean = [f"{figure:.4f}" for figure in figures.mean(0)]
        lines.append([part, *mean, *(f"{gain:+.4f}" for gain in (*more.mean(0), *more.min(0)))])
    return f"**{log}**: {len(runs)} seeds\n\n{harness.table(_HEAD, lines)}"


if __name__ == "__main__":
    sys.exit(main())
