"""Profile a training step, and compare it with its matrix products alone (the roofline).

    python -m benchmarks.profile_step data/features --torch

The block `train` of params.yaml says what a step is; `roofline.py` computes the products of the model `din`. Every part
runs on every batch several times, the parts in turn, on one thread. The smallest CPU time of a batch counts, since
other load on the machine only adds to it.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import positive
from benchmarks.roofline import Roofline
from din.features.packing import Packer
from din.features.reader import Features
from din.model.embedding import to_tensors
from din.ops import backend
from din.params import Train, load
from din.train.compute import Compute, computing
from din.train.learner import Learner
from din.train.loader import TrainingBatch, TrainingLoader
from din.train.memory import keep_freed_memory


def main() -> None:
    """Profile, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_step", description="Profile a training step.")
    parser.add_argument("features", type=Path, help="what `din featurize` writes: data/features")
    parser.add_argument("--batches", type=positive, default=10, help="different ones")
    parser.add_argument("--repeats", type=positive, default=20, help="turns of each")
    parser.add_argument("--torch", action="store_true", help="also the step through the references, in torch")
    arguments = parser.parse_args()
    keep_freed_memory()
    params = load(Path("params.yaml")).train
    if params.model.name != "din":
        sys.exit(f"error: train.model.name: {params.model.name}; the roofline is that of din")
    params = replace(params, compute=replace(params.compute, threads=1))
    with computing(params.compute) as compute:
        profile(Features(arguments.features), params, compute, arguments)


def profile(features: Features, params: Train, compute: Compute, arguments: argparse.Namespace) -> None:
    """Time the parts of a step and print them."""
    learning = params.learning
    packer = Packer(features, learning.unknown_rate)
    learner = Learner(features, packer, params, compute)
    loader = TrainingLoader(features, packer, learning.batch_size, learning.seed)
    batches = list(islice(loader.epoch(0), arguments.batches))
    shard = features.shard(0, "train")
    ready = list(map(learner.inputs, batches))
    learner.model.train()
    sizes = [(len(batch.packed.segment), len(batch.packed)) for batch in batches]
    roofline = Roofline(features, params, sizes)

    def forward(batch: TrainingBatch) -> None:
        rows = torch.from_numpy(batch.rows)
        learner.model(learner.table.index_select(0, rows).requires_grad_(), to_tensors(batch.packed, rows))

    def pack(batch: TrainingBatch) -> None:
        loader.pack(shard, np.random.default_rng(0).choice(len(shard.impressions), len(batch.packed)), 0, (0,))

    parts: dict[str, Callable[[int], Any]] = {
        "step": lambda i: learner.step(ready[i], learning.learning_rate),
        "its matrix products alone": roofline.run_batch,
        "its forward pass": lambda i: forward(batches[i]),
        "packing one batch, cold": lambda i: pack(batches[i]),
    }

    def by_reference() -> Callable[[int], None]:
        reference = Learner(features, packer, params, compute)
        reference.model.train()

        def step(i: int) -> None:
            with backend.using("reference"):
                reference.step(ready[i], learning.learning_rate)

        return step

    if arguments.torch:
        parts["torch's step"] = by_reference()
    smallest = {name: np.full(len(batches), np.inf) for name in parts}
    for _ in range(arguments.repeats):
        for i in range(len(batches)):
            for name, part in parts.items():
                start = time.thread_time()
                part(i)
                smallest[name][i] = min(smallest[name][i], time.thread_time() - start)

    seconds = {name: times.mean() for name, times in smallest.items()}
    behaviours, impressions = np.mean(sizes, 0)
    print(f"{impressions:.0f} impressions with {behaviours:.0f} behaviours a batch, torch {torch.__version__}")
    for name, value in seconds.items():
        print(f"{name:28}{1000 * value:8.2f} ms{impressions / value:12,.0f} impressions/s")
        if "step" in name:
            print(f"{'  roofline share':28}{seconds['its matrix products alone'] / value:8.0%}")


if __name__ == "__main__":
    main()
