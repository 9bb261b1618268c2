"""Our contestant: `din.train.fit`, `predict` and the exported graphs, on the same rows as the peers."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import torch

from benchmarks.directory import write_directory
from benchmarks.environments import ROOT
from benchmarks.measure import EPOCHS, Contestant, Training, seconds
from benchmarks.roofline import Roofline, epoch_sizes
from benchmarks.rows import Rows, Workload
from benchmarks.serving import Served
from din.features.packing import Packer
from din.model.artifact import Trained
from din.model.din import DIN
from din.params import Train, load
from din.train.checkpoint import Progress
from din.train.compute import computing
from din.train.fit import fit
from din.train.loader import evaluation_batches
from din.train.predict import predict

SCORING_BATCH = 1024
ONNX_BATCH = 256  # several pieces that fit into a core's cache are faster than one that doesn't


def settings(workload: Workload, epochs: int) -> Train:
    """Return the repository's own parameters with the workload's sizes."""
    train = load(ROOT / "params.yaml").train
    learning = replace(
        train.learning, batch_size=workload.batch, seed=workload.seed, epochs=epochs, patience=epochs, metric="auc"
    )
    return replace(
        train,
        model=replace(train.model, embedding_dim=workload.dim),
        learning=learning,
        compute=replace(train.compute, threads=torch.get_num_threads()),
    )


def build(workload: Workload, rows: Rows, request: Rows) -> Contestant:
    """Return our contestant; the roofline is measured before and after training."""
    features = write_directory(Path(mkdtemp()), workload, rows)
    params = settings(workload, EPOCHS)
    roofline = Roofline(features, params, epoch_sizes(features, params))
    matmuls = [seconds(roofline.run)]
    trained: list[Trained] = []
    with computing(params.compute):
        pass  # builds the native operations where they are missing: 2 s, once on a machine, which don't count

    def train() -> Training:
        with computing(params.compute) as compute:
            model, progress = fit(features, params, compute=compute)
        trained.append(model)
        return recorded(progress)

    def score() -> np.ndarray:
        with computing(params.compute) as compute:
            return predict(trained[0], features, "test", SCORING_BATCH, compute).probabilities

    def extra() -> dict[str, Any]:
        matmuls.append(seconds(roofline.run))
        with TemporaryDirectory() as folder:
            served = Served(*trained[0], features, Path(folder), torch.get_num_threads())
            shard = features.shard(0, "test")
            positions = np.arange(len(shard.impressions))
            batches = evaluation_batches(Packer(features), shard, positions, ONNX_BATCH)
            onnx = seconds(lambda: served.batch.run_all(batches, "probability"))
            return {
                "roofline_seconds": min(matmuls),
                "onnx_score_per_second": len(rows.item) / onnx,
                **served.times(request, params),
            }

    return Contestant(version("din-ctr"), lambda module: isinstance(module, DIN), train, score, None, rows.label, extra)


def recorded(progress: Progress) -> Training:
    """Return the trainer's own record of its times."""
    return Training(
        progress.epoch_seconds, progress.settling_seconds, progress.validation_seconds, progress.start_seconds
    )
