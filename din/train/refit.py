"""The stage `refit`: turn the model that was judged into the one that is shipped.

The judged model has learned everything before the test days, and its metrics are known. If rows are held out by time,
one pass over the test days teaches it these days too. Before each day, the pass scores the day's rows. These *next-day
predictions* are what the model would have answered on that day, had it been in production since the day before.

    models/shipped/                 the model
    reports/next_day/test.parquet   the test rows with their next-day `prediction`, and `shipped`, the model's own
    reports/refit.json              what was learned
    reports/training/refit_times.json   how long the pass took

Without a pass the judged model is shipped as it is, and both columns hold its predictions.
"""

import shutil
import time
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from din import documents
from din.artifacts import hash_tree, replace_directory, write_json
from din.document_types import Evaluation, Judged, LearnedDay, RefitReport, TrainingTimes
from din.errors import InputError
from din.features.days import in_order_of_files
from din.features.packing import Packer
from din.features.reader import Features
from din.model import artifact
from din.model.artifact import Trained
from din.names import Digest
from din.params import Params, Train, parse
from din.train.advance import advance
from din.train.compute import Compute, computing
from din.train.learned import advances
from din.train.learner import Learner
from din.train.machine import describe
from din.train.predict import COLUMNS, EVALUATION_BATCH, predict
from din.workspace import Workspace


def refit(workspace: Workspace, params: Params) -> None:
    """Write `models/shipped/`, `reports/next_day/`, `reports/refit.json` and `reports/machine/refit.json`.

    The pass runs in one process, whatever `train.compute.processes` is.

    Raises:
        InputError: features, model or predictions are missing, or don't fit each other, or the loss is not finite.
    """
    with computing(params.train.compute) as compute:
        _refit(workspace, compute)


def _refit(workspace: Workspace, compute: Compute) -> None:
    opened = Features(workspace.features)
    inputs: Judged = {
        "features": Digest(hash_tree(opened.root)),
        "model": Digest(hash_tree(workspace.model)),
    }
    if documents.read(Evaluation, workspace.evaluation, "run `dvc repro evaluate`")["inputs"] != inputs:
        raise InputError(f"{workspace.evaluation}: about another model or other features; run `dvc repro evaluate`")
    config = artifact.read_config(workspace.model)
    settings = parse(Train, config["train"], workspace.model / "config.json")
    judged_until = datetime.fromisoformat(config["seen_until"])
    began, cpu_began = time.monotonic(), time.process_time()
    if advances(opened, settings):
        rows, days, seen_until = _advance(workspace, settings, judged_until, compute)
    else:
        rows, days, seen_until = _unchanged(workspace), [], judged_until
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
    with replace_directory(workspace.next_day) as folder:
        pq.write_table(rows, folder / "test.parquet")
    report: RefitReport = {
        "judged_until": judged_until.isoformat(),
        "seen_until": seen_until.isoformat(),
        "days": days,
        "inputs": inputs,
        "shipped": Digest(hash_tree(workspace.shipped)),
    }
    write_json(workspace.refit, report)
    write_json(workspace.machine_of("refit"), describe(compute))
    times: TrainingTimes = {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "samples_per_second": round(len(rows) / seconds, 1) if days else None,
    }
    write_json(workspace.refit_times, times)
    print(f"the shipped model has learned rows until {seen_until}", flush=True)


def _unchanged(workspace: Workspace) -> pa.Table:
    """Ship the judged model, and return the test rows with its predictions."""
    with replace_directory(workspace.shipped) as folder:
        shutil.copytree(workspace.model, folder, dirs_exist_ok=True)
    rows = pq.read_table(workspace.predictions / "test.parquet", columns=[*COLUMNS, "prediction"])
    return rows.append_column("shipped", rows["prediction"])


def _advance(
    workspace: Workspace, settings: Train, judged_until: datetime, compute: Compute
) -> tuple[pa.Table, list[LearnedDay], datetime]:
    """Advance the judged model over the test days, save it, and return the rows, the days, and the end of the last."""
    features = artifact.known(Features(workspace.features), workspace.model)
    learner = Learner(features, Packer(features), settings, compute)
    learner.load_state(artifact.read_state(workspace.model))
    done = advance(learner, settings, "test", compute, judged_until)
    if done.until is None:
        raise InputError(
            f"{workspace.model}: the model has learned rows until {judged_until}, and {features.root} has no later "
            "test rows; run `dvc repro train`"
        )
    learner = done.learner
    chosen = in_order_of_files([day.rows for day in done.days])
    trained = Trained(learner.model.eval(), learner.table)
    own = predict(trained, learner.features, "test", EVALUATION_BATCH, compute, chosen)
    artifact.save(trained, settings, learner.features, workspace.shipped, done.until, learner.optimizers())
    rows = done.predictions.table(shipped=own.probabilities)
    return rows, [day.to_json() for day in done.days], done.until
