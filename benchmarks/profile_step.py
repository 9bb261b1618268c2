"""Where a training step's time goes, and how near it is to its matrix products alone (the roofline).

    .venv/bin/python benchmarks/profile_step.py data/features --set batch_size=256

Every part is timed on every batch several times, the smallest counts: other work on the machine only adds. The
products are those the step really does, forward and backward, recorded and then replayed alone.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML
from torch.utils._python_dispatch import TorchDispatchMode

from din.eventlog.reader import Features
from din.params import load
from din.train.fit import _Trainer

ADDMM, MM = torch.ops.aten.addmm.default, torch.ops.aten.mm.default


class Products(TorchDispatchMode):
    """Records the factors of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[tuple[torch.Tensor, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (ADDMM, MM):
            self.factors.append(tuple(torch.empty_strided(x.shape, x.stride()).normal_() for x in args[-2:]))
        return func(*args, **(kwargs or {}))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of params.yaml's block train")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    changes = {key: YAML(typ="safe").load(value) for key, value in (x.split("=", 1) for x in arguments.set)}
    params = replace(load().train, threads=1, **changes)
    trainer = _Trainer(Features(arguments.features), params, None)
    trainer.model.train()
    batches = list(islice(trainer.loader.epoch(0), arguments.batches))

    def smallest(part: Callable[[Any], Any], inputs: list[Any]) -> float:
        times = np.full((arguments.repeats, len(inputs)), np.inf)
        for repeat in range(arguments.repeats):
            for i, x in enumerate(inputs):
                start = time.perf_counter()
                part(x)
                times[repeat, i] = time.perf_counter() - start
        return 1000 * float(times.min(0).mean())

    def replay(factors: list[tuple[torch.Tensor, ...]]) -> None:
        for left, right in factors:
            torch.mm(left, right)

    recorded = []
    for batch in batches:
        with Products() as products:
            trainer._step(batch, 1e-4)
        recorded.append(products.factors)
    shard = trainer.features.shard(0, "train")
    rows = [np.random.default_rng(i).choice(len(shard.impressions), len(b.packed)) for i, b in enumerate(batches)]
    parts = {
        "step": smallest(lambda batch: trainer._step(batch, 1e-4), batches),
        "its matrix products alone": smallest(replay, recorded),
        "packing (another thread)": smallest(lambda r: trainer.loader._pack(shard, r, 0, 0), rows),
    }
    impressions = np.mean([len(batch.packed) for batch in batches])
    behaviours = np.mean([len(batch.packed.segment) for batch in batches])
    print(f"{impressions:.0f} impressions, {behaviours:.0f} behaviours a batch; {torch.__version__}, one thread")
    for name, milliseconds in parts.items():
        print(f"{name:28}{milliseconds:8.2f} ms{1000 * impressions / milliseconds:12,.0f} impressions/s")
    print(f"roofline share {parts['its matrix products alone'] / parts['step']:.0%}")


if __name__ == "__main__":
    with torch.random.fork_rng():
        main()
