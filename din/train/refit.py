"""The stage `refit`: turn the judged model into the shipped one, and judge the days that it learns on the way.

The judged model has learned everything before the test days, and its metrics are known. If rows are held out by time,
it learns the test days too, in one pass. Afterwards it must not be judged on them. Other models are judged in its
place, and each learns the same *new days* from a part of the users; see `din.train.crossfit`. The new days are those
that the model learns in passes: the test days, or, if it continues a champion, all days since.

    models/shipped/                        the model
    reports/crossfit/predictions.parquet   the rows of the new days and their probabilities:
        prediction    by models that have not learned the row's user
        taught        by models that have
        shipped       by the shipped model
    reports/refit.json                     the days that were learned
    reports/training/refit_times.json      the duration of the pass with the cross-fitting

Without a pass the judged model is shipped unchanged, and all three are its predictions of the test rows.
"""

import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from din.base import documents
from din.base.artifacts import hash_tree, replace_directory, write_json
from din.base.errors import InputError
from din.base.names import Digest
from din.base.workspace import Workspace
from din.contracts.facts import Evaluation, EvaluationInputs
from din.features.day_rows import DayRows, days_of, in_order_of_files
from din.features.reader import Features
from din.model import artifact
from din.params.blocks import parse
from din.params.reading import Params
from din.params.train import Train
from din.schema import SPLITS, SplitName
from din.train.advance import advance
from din.train.compute import Compute, computing
from din.train.crossfit import FOLDS, CrossFitted, cross_fit
from din.train.fit import advances
from din.train.learner import Learner
from din.train.machine import describe
from din.train.predict import COLUMNS, predict
from din.train.results import CrossFit, DayReport, RefitReport, TrainingTimes


def refit(workspace: Workspace, params: Params) -> None:
    """Write `models/shipped/`, `reports/crossfit/`, `reports/refit.json` and `reports/machine/refit.json`.

    Raises:
        InputError: features, model or predictions are missing, or don't fit each other, or the loss is not finite.
    """
    with computing(params.train.compute) as compute:
        _refit(workspace, compute)


@dataclass(frozen=True)
class _Shipped:
    """The shipped model, and how it predicts.

    Attributes:
        rows: the rows that it is judged on, with their probabilities.
        seen_until: the time of the last row that it has learned.
        days: the test days that it has learned, in order.
        crossfit: how `rows` were predicted. None: it is the judged model.
    """

    rows: pa.Table
    seen_until: datetime
    days: list[DayReport]
    crossfit: CrossFit | None


def _refit(workspace: Workspace, compute: Compute) -> None:
    opened = Features(workspace.features)
    inputs = EvaluationInputs(features=Digest(hash_tree(opened.root)), model=Digest(hash_tree(workspace.model)))
    if documents.read(Evaluation, workspace.evaluation, "run `dvc repro evaluate`").inputs != inputs:
        raise InputError(f"{workspace.evaluation}: about another model or other features; run `dvc repro evaluate`")
    config = artifact.read_config(workspace.model)
    settings = parse(Train, config.train, workspace.model / "config.json")
    judged_until = datetime.fromisoformat(config.seen_until)
    began, cpu_began = time.monotonic(), time.process_time()
    if advances(opened, settings):
        shipped = _advance(workspace, settings, judged_until, compute)
    else:
        shipped = _unchanged(workspace, judged_until)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
    with replace_directory(workspace.crossfit) as folder:
        pq.write_table(shipped.rows, folder / "predictions.parquet")
    report = RefitReport(
        judged_until=judged_until.isoformat(),
        seen_until=shipped.seen_until.isoformat(),
        days=shipped.days,
        crossfit=shipped.crossfit,
        inputs=inputs,
        shipped=Digest(hash_tree(workspace.shipped)),
        predictions=Digest(hash_tree(workspace.crossfit)),
    )
    write_json(workspace.refit, report)
    write_json(workspace.machine_of("refit"), describe(compute))
    learned = sum(day.rows for day in shipped.days)
    times = TrainingTimes(
        seconds=round(seconds, 3),
        cpu_seconds=round(cpu_seconds, 3),
        samples_per_second=round(learned / seconds, 1) if learned else None,
    )
    write_json(workspace.refit_times, times)
    print(f"the shipped model has learned rows until {shipped.seen_until}", flush=True)


def _unchanged(workspace: Workspace, judged_until: datetime) -> _Shipped:
    with replace_directory(workspace.shipped) as folder:
        shutil.copytree(workspace.model, folder, dirs_exist_ok=True)
    rows = pq.read_table(workspace.predictions / "test.parquet", columns=[*COLUMNS, "prediction"])
    for name in ("taught", "shipped"):
        rows = rows.append_column(name, rows["prediction"])
    return _Shipped(rows, judged_until, [], None)


def _advance(workspace: Workspace, settings: Train, judged_until: datetime, compute: Compute) -> _Shipped:
    features = Features(workspace.features)
    judged = _saved(features, workspace.model, settings, compute)
    done = advance(judged, "test", judged_until)
    if done.until is None:
        raise InputError(
            f"{workspace.model}: the model has learned rows until {judged_until}, and {features.root} has no later "
            "test rows; run `dvc repro train`"
        )
    learner = done.learner
    artifact.save(learner.finish(), settings, learner.features, workspace.shipped, done.until, learner.optimizers())
    champion = workspace.model / artifact.START
    start = champion if champion.exists() else workspace.model
    after = datetime.fromisoformat(artifact.read_config(start).seen_until)
    days = [day for split in SPLITS for day in days_of(features, split, after)]
    crossfitted = cross_fit(partial(_saved, features, start, settings, compute), days)
    rows = _judging_rows(workspace, features, days, crossfitted, compute)
    crossfit = CrossFit(folds=FOLDS, after=after.isoformat(), rows=len(rows))
    return _Shipped(rows, done.until, [day.report for day in done.days], crossfit)


def _judging_rows(
    workspace: Workspace,
    features: Features,
    days: list[DayRows],
    crossfitted: dict[SplitName, CrossFitted],
    compute: Compute,
) -> pa.Table:
    """Return the rows of the new days with their cross-fitted probabilities, and with the saved shipped model's.

    Training days that lack negatives are learned but left out here, since their CTR is not that of the log.
    """
    known_features = artifact.known(features, workspace.shipped)
    shipped = artifact.load(known_features, workspace.shipped)
    tables = []
    for split, predictions in crossfitted.items():
        if split == "train" and features.kept_negatives < 1:
            continue
        chosen = in_order_of_files([day for day in days if day.split == split])
        by_shipped = predict(shipped, known_features, split, compute=compute, chosen=chosen)
        tables.append(
            predictions.unseen.table(taught=predictions.taught.probabilities, shipped=by_shipped.probabilities)
        )
    return pa.concat_tables(tables)


def _saved(features: Features, source: Path, settings: Train, compute: Compute) -> Learner:
    """Return a saved model with the state of its optimizers, ready to learn more days of `features`."""
    known_features = artifact.known(features, source)
    learner = Learner(known_features, settings, compute)
    learner.load_state(artifact.read_state(source))
    learner.attach(artifact.load_blend(known_features, source))
    return learner
