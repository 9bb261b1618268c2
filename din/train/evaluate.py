"""The stage `evaluate`: metrics on validation and test rows, and the floors that a model must beat on the test rows.

A model is judged on rows that it has not learned. It scores the validation rows before its pass over the validation
days, and the test rows after it. Its blend was fitted on validation rows, so it scores these without. The gains from
the pass and from the blend are measured on the test rows.

The floors are `popularity` (each item's smoothed CTR in training) and `lr` (see `floor`). `oracle` is the AUC of the
true probabilities, which are known for simulated logs only.
"""

from datetime import datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from din.base.artifacts import hash_tree, replace_directory, write_json
from din.base.names import Digest
from din.base.printing import print_table
from din.base.workspace import Workspace
from din.contracts.facts import (
    Bounded,
    Evaluation,
    EvaluationInputs,
    Floors,
    Gain,
    LearnedUntil,
    Oracle,
    Ranking,
    RankingMetric,
    Slices,
)
from din.features.reader import Features
from din.metrics.estimates import difference
from din.metrics.learned_rows import TrainingExtent, unseen
from din.metrics.ranking import auc, gauc
from din.metrics.slices import slice_table
from din.model import artifact
from din.params.blocks import parse
from din.params.reading import Params
from din.params.train import LearningParams, ModelParams, Train
from din.schema import SplitName
from din.train.compute import Compute, computing
from din.train.learn import Snapshot, learn
from din.train.machine import describe
from din.train.plots import few_metrics, write_tables
from din.train.predict import Predictions, predict

_LR_EPOCHS = 20  # at most; the best epoch is usually one of the first few
_LR_STEPS = 4_096  # in an epoch, at most: linear weights of a large log need no more, and larger batches are faster
_CONFIDENCE = 0.975  # of each bound of a gain


def evaluate(workspace: Workspace, params: Params) -> None:
    """Write the metrics, the predictions, the data of `dvc metrics` and `dvc plots`, and a description of the machine.

    They are `reports/evaluation.json`, `reports/predictions/{valid,test}.parquet`, `reports/metrics.json`,
    `reports/plots/` and `reports/machine/evaluate.json`.

    Raises:
        InputError: features or model are missing, or do not fit each other.
    """
    with computing(params.train.compute) as compute:
        _evaluate(workspace, params, compute)


def _evaluate(workspace: Workspace, params: Params, compute: Compute) -> None:
    features = Features(workspace.features)
    judged = _saved(features, workspace.model)
    before = validation_model(workspace)
    passed = before.seen_until < judged.seen_until
    valid = _predict(before, "valid", compute, blend=False)
    test = _predict(judged, "test", compute)
    unblended = _predict(judged, "test", compute, blend=False) if judged.trained.model.blend else test
    lr = None if _continues(workspace.model) else _floor(features, params, compute)
    popularity = features.popularity()[test.rows["item"]]

    report = Evaluation(
        valid=valid.metrics if len(valid.logits) else None,
        test=test.metrics,
        learned_until=LearnedUntil(valid=before.seen_until.isoformat(), test=judged.seen_until.isoformat()),
        advance=_gains(_predict(before, "test", compute, blend=False), unblended) if passed else None,
        blend=_gains(unblended, test) if judged.trained.model.blend else None,
        floors=Floors(popularity=_ranking(test, popularity), lr=lr and lr.metrics),
        inputs=EvaluationInputs(features=Digest(hash_tree(features.root)), model=Digest(hash_tree(workspace.model))),
        oracle=oracle(test, workspace.truth),
        slices=Slices(test=slice_table(test.rows, test.probabilities, features)),
    )
    floors = {"popularity": popularity} | ({"lr": lr.probabilities} if lr else {})
    with replace_directory(workspace.predictions) as folder:
        pq.write_table(valid.table(), folder / "valid.parquet")
        pq.write_table(test.table(**floors), folder / "test.parquet")
    with replace_directory(workspace.plots) as folder:
        write_tables(folder, report.slices.test, test.rows["label"], test.probabilities)
    write_json(workspace.metrics, few_metrics(report))
    write_json(workspace.evaluation, report)
    write_json(workspace.machine_of("evaluate"), describe(compute))
    _print(report)


def validation_model(workspace: Workspace) -> Snapshot:
    """Return the model that scores the validation rows: as it was before its pass over the validation days, if any.

    Raises:
        InputError: features or model are missing, or do not fit each other.
    """
    before = workspace.model / artifact.BEFORE
    return _saved(Features(workspace.features), before if before.exists() else workspace.model)


def _saved(features: Features, source: Path) -> Snapshot:
    known_features = artifact.known(features, source)
    seen_until = datetime.fromisoformat(artifact.read_config(source).seen_until)
    return Snapshot(artifact.load(known_features, source), known_features, seen_until, {})


def _continues(model: Path) -> bool:
    """Return whether a saved model is a continued champion. The epochs of LR would cost more than the continuation."""
    return parse(Train, artifact.read_config(model).train, model).continues is not None


def _floor(features: Features, params: Params, compute: Compute) -> Predictions:
    """Train LR on the rows that the model has learned, and score the test rows."""
    print("fitting the floor lr", flush=True)
    settings = floor(params, sum(features.split_rows("train")))
    learned = learn(features, settings, compute=compute)
    return _predict(learned.judged, "test", compute)


def floor(params: Params, rows: int) -> Train:
    """Return the settings of the floor LR: logistic regression over the same fields, trained by the same loop.

    They are the defaults, except for a few that suit linear weights, so that nothing tuned for the candidate can
    cripple the floor. It shares three settings with the candidate: `train.compute`, whether it learns held-out days,
    and the metric that chooses its best epoch, since not every metric is defined on every log.

    Args:
        rows: the number of training rows.
    """
    learning = LearningParams(
        initial_item_bias="zero",
        learning_rate=0.01,
        batch_size=max(LearningParams.batch_size, rows // _LR_STEPS),
        epochs=_LR_EPOCHS,
        metric=params.train.learning.metric,
        regularization=1.0,
        penalty="decoupled",
        advance=params.train.learning.advance,
    )
    return Train(model=ModelParams(name="lr"), learning=learning, compute=params.train.compute)


def _predict(model: Snapshot, split: SplitName, compute: Compute, *, blend: bool = True) -> Predictions:
    """Score the rows of a split that the model can't have learned."""
    chosen = unlearned(model, split)
    return predict(model.trained, model.features, split, compute=compute, chosen=chosen, blend=blend)


def unlearned(model: Snapshot, split: SplitName) -> list[np.ndarray]:
    """Return the positions, in each shard of a split, of the rows that the model can't have learned."""
    features = model.features
    extent = TrainingExtent.of_features(features, model.seen_until)
    times = (features.timestamps(number, split) for number in range(features.manifest.shards))
    return [np.flatnonzero(unseen(extent, extent, of_shard)) for of_shard in times]


def _gains(before: Predictions, after: Predictions) -> dict[RankingMetric, Gain]:
    """Return the changes on the test rows that the pass over the validation days or the blend made."""
    label, user = after.rows["label"], after.rows["user"]
    gains: dict[RankingMetric, Gain] = {}
    for metric in get_args(RankingMetric):
        interval = difference(metric, label, after.probabilities, before.probabilities, user).interval(_CONFIDENCE)
        gains[metric] = Gain(
            before=getattr(before.metrics, metric),
            after=getattr(after.metrics, metric),
            difference=Bounded(
                value=_defined(interval.point), interval=(_defined(interval.lower), _defined(interval.upper))
            ),
        )
    return gains


def _print(report: Evaluation) -> None:
    test = report.test
    figures = {"model": test, **dict(report.floors), "oracle": report.oracle}
    columns = ("auc", "gauc", "log_loss")
    rows = [[name, *(getattr(metrics, key, None) for key in columns)] for name, metrics in figures.items() if metrics]
    title = f"{test.rows:,} test rows, {test.users:,} users, CTR {test.ctr:.4f}"
    print_table(title, ("", "AUC", "GAUC", "log loss"), rows)
    for cause, gains in {"Learning the validation days": report.advance, "The blend": report.blend}.items():
        if gains:
            changes = ", ".join(f"{metric.upper()} {_told(gain)}" for metric, gain in gains.items())
            print(f"{cause} changed it by {changes}.", flush=True)


def _told(gain: Gain) -> str:
    low, high = gain.difference.interval
    if low is None or high is None:
        return "an undefined amount"
    return f"{gain.difference.value:+.4f} [{low:+.4f}, {high:+.4f}]"


def oracle(predictions: Predictions, truth: Path) -> Oracle | None:
    """Return the AUC of the true probabilities on the same rows, or None if they are not known.

    Sampled negatives have no true probability. Rows of one class have no AUC.
    """
    if not truth.exists() or predictions.rows["sampled"].any():
        return None
    sequence = predictions.rows["sequence"]
    near = (pc.field("sequence") >= sequence.min()) & (pc.field("sequence") <= sequence.max())
    table = pq.read_table(truth, columns=["sequence", "probability"], filters=near).sort_by("sequence")
    places = np.searchsorted(table["sequence"].to_numpy(), sequence)
    value = _defined(auc(predictions.rows["label"], table["probability"].to_numpy()[places]))
    return None if value is None else Oracle(auc=value)


def _ranking(predictions: Predictions, scores: np.ndarray) -> Ranking:
    label = predictions.rows["label"]
    user = predictions.rows["user"]
    return Ranking(auc=_defined(auc(label, scores)), gauc=_defined(gauc(label, scores, user).value))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
