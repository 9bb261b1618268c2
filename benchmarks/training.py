"""One training as `python -m benchmarks.quality` runs it, apart from how the features of its log were made."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from din.base.workspace import Workspace
from din.contracts.facts import Metrics, Oracle
from din.features.reader import Features
from din.metrics.estimates import Estimate, Metric, difference
from din.params.train import Train
from din.train.compute import computing
from din.train.evaluate import oracle
from din.train.fit import fit
from din.train.predict import EVALUATION_BATCH, predict


@dataclass(frozen=True)
class QualityRun:
    """The figures of a training, and its scores of the test rows. The oracle is known for simulated logs only."""

    epoch: int
    valid: Metrics
    test: Metrics
    oracle: Oracle | None
    predictions: Path

    def less(self, base: "QualityRun", metric: Metric) -> Estimate:
        """Return this run's metric on the test rows less that of another one."""
        rows = pq.read_table(self.predictions)
        scores = rows["prediction"], pq.read_table(base.predictions, columns=["prediction"])["prediction"]
        return difference(metric, rows["label"], *scores, rows["user"])


def run(kept: Path, features: Path, train: Train) -> QualityRun:
    """Train once, with early stopping on the validation rows, and score the test rows.

    Args:
        kept: the document of the case.
        features: the feature directory.
        train: the training parameters, with the seed.
    """
    opened = Features(features)
    with contextlib.redirect_stdout(io.StringIO()), computing(train.compute) as compute:
        learner, progress = fit(opened, train, compute=compute)
    valid, test = (predict(learner.finish(), opened, split, EVALUATION_BATCH) for split in ("valid", "test"))
    true_metrics = oracle(test, Workspace(features.parents[1]).truth)
    predictions = kept.with_suffix(".parquet")
    pq.write_table(test.table().select(["user", "label", "prediction"]), predictions)
    return QualityRun(progress.best_epoch + 1, valid.metrics, test.metrics, true_metrics, predictions)
