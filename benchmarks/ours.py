"""Our contestant: `din.train.fit`, `predict` and the exported graphs, on the same rows as the peers."""

from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.directory import write_directory
from benchmarks.environments import ROOT
from benchmarks.measure import EPOCHS, Contestant, seconds
from benchmarks.roofline import Roofline, epoch_sizes
from benchmarks.rows import Rows, Workload
from benchmarks.serving import Served
from din.features.packing import Packer
from din.features.reader import Features, Shard
from din.model.artifact import Trained
from din.params import Train, load
from din.train.compute import computing
from din.train.fit import fit
from din.train.loader import evaluation_batches
from din.train.predict import predict

SCORING_BATCH = 1024
ONNX_BATCH = 256  # several pieces that fit into a core's cache are faster than one that doesn't


class TimedFeatures(Features):
    """A feature directory of one shard that records when each split is read, which bounds an epoch in time."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[str, float]] = []

    def shard(self, number: int, split: str) -> Shard:
        """Record the time, then read the shard."""
        self.reads.append((split, perf_counter()))
        return super().shard(number, split)

    def epochs(self) -> list[float]:
        """Return the seconds of each training epoch so far, without its validation."""
        return [
            end - start for (split, start), (after, end) in pairwise(self.reads) if (split, after) == ("train", "valid")
        ]


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
    written = write_directory(Path(mkdtemp()), workload, rows)
    features = TimedFeatures(written.root)
    params = settings(workload, EPOCHS)
    roofline = Roofline(written, params, epoch_sizes(written, params))
    trained: list[Trained] = []
    matmuls: list[float] = []

    def train() -> list[float]:
        matmuls.append(seconds(roofline.run))
        with computing(params.compute) as compute:
            trained.append(fit(features, params, compute=compute)[0])
        matmuls.append(seconds(roofline.run))
        return features.epochs()

    def score() -> np.ndarray:
        return predict(trained[0], features, "test", SCORING_BATCH).probabilities

    def extra() -> dict[str, Any]:
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

    return Contestant(version("din-ctr"), train, score, None, rows.label, extra)
