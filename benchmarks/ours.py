"""Our contestant: `din.train.fit`, `predict` and the exported graphs, on the same rows as the peers."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.directory import write_directory
from benchmarks.exported import ExportedModel
from benchmarks.measure import EPOCHS, Contestant, ContestantTimes, seconds
from benchmarks.roofline import Roofline, epoch_sizes
from benchmarks.workload import Workload, impressions, one_request
from din.base.artifacts import read_json
from din.features.packing import Packer
from din.model.artifact import Trained
from din.model.din import DIN
from din.params.overlays import edit
from din.params.train import Train
from din.train.checkpoint import Progress
from din.train.compute import computing
from din.train.fit import fit
from din.train.learner import Learner, StepInputs
from din.train.loader import evaluation_batches
from din.train.predict import predict
from din_start.params.defaults import defaults

VALID_SHARE = 0.15
"""The validation rows per training row in `train_stage`. In Electronics: two for each of 192,403 users, per 2.6 M."""
SCORING_BATCH = 1024
ONNX_BATCH = 256  # small enough for a core's cache


def settings(workload: Workload, epochs: int) -> Train:
    """Return the defaults of `train` with the sizes of the workload."""
    train = Train()
    learning = replace(
        train.learning, batch_size=workload.batch, seed=workload.seed, epochs=epochs, patience=epochs, metric="auc"
    )
    return replace(
        train,
        model=replace(train.model, embedding_dim=workload.dim),
        learning=learning,
        compute=replace(train.compute, threads=torch.get_num_threads()),
    )


def build(workload: Workload, candidates: int = 500) -> Contestant:
    """Return our contestant. The roofline is measured before and after training."""
    rows = impressions(workload)
    request = one_request(workload, rows, candidates)
    features = write_directory(Path(mkdtemp()), workload, rows)
    params = settings(workload, EPOCHS)
    roofline = Roofline(features, params, epoch_sizes(features, params))
    matmuls = [seconds(roofline.run)]
    trained: list[Trained] = []
    with computing(params.compute):
        pass  # compiles the native operations if they are missing, so that this is not timed: 2 s, once

    def train() -> ContestantTimes:
        with computing(params.compute) as compute, counting_rows() as counter:
            learner, progress = fit(features, params, compute=compute)
        trained.append(learner.finish())
        return recorded(progress)._replace(rows=counter["trained"])

    def score() -> np.ndarray:
        with computing(params.compute) as compute:
            return predict(trained[0], features, "test", SCORING_BATCH, compute).probabilities

    def extra() -> dict[str, Any]:
        matmuls.append(seconds(roofline.run))
        with TemporaryDirectory() as folder:
            served = ExportedModel(*trained[0], params, features, Path(folder), torch.get_num_threads())
            shard = features.shard(0, "test")
            positions = np.arange(len(shard.impressions))
            batches = evaluation_batches(Packer(features), shard, positions, ONNX_BATCH)
            onnx = seconds(lambda: served.batch.run_all(batches))
            return {
                "roofline_seconds": min(matmuls),
                "onnx_score_per_second": len(rows.item) / onnx,
                **served.times(request, params),
            }

    return Contestant(version("din-ctr"), lambda module: isinstance(module, DIN), train, score, None, rows.label, extra)


@contextmanager
def counting_rows() -> Iterator[Counter[str]]:
    """Yield a counter whose `trained` counts the rows of training steps, which may call no module that has hooks."""
    counter: Counter[str] = Counter()
    step = Learner.step

    def counted(learner: Learner, inputs: StepInputs, rate: float) -> torch.Tensor:
        counter["trained"] += inputs.impressions
        return step(learner, inputs, rate)

    with patch.object(Learner, "step", counted):
        yield counter


def recorded(progress: Progress) -> ContestantTimes:
    """Return the trainer's own record of its times."""
    return ContestantTimes(
        progress.epoch_seconds, progress.settling_seconds, progress.validation_seconds, progress.start_seconds
    )


def train_stage(workload: Workload) -> dict[str, Any]:
    """Return the wall time of the whole stage `train` for one epoch, and of that, the epoch and its validation.

    The stage runs as DVC runs it, in a separate workspace. The time includes starting the interpreter, reading, the
    first compilation of native operations, the epoch, validation, the checkpoint, and saving the model. It does not
    include writing the features.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder)
        valid = int(VALID_SHARE * workload.rows)
        write_directory(root / "data/features", workload, impressions(workload), valid=valid)
        train = {
            "model": {"embedding_dim": workload.dim},
            "learning": {"batch_size": workload.batch, "seed": workload.seed, "epochs": 1},
            "compute": {"threads": 1},
        }
        edited = edit(defaults(), {"train": train}, "the benchmark")
        (root / "params.yaml").write_text(edited.text, encoding="utf-8")
        stage = seconds(lambda: subprocess.run([sys.executable, "-m", "din.cli", "train"], cwd=root, check=True))
        summary = read_json(root / "reports/training/summary.json")
        times = read_json(root / "reports/training/times.json")
    return {"stage_seconds": stage, "epoch_seconds": times["seconds"], "backend": summary["backend"]}
