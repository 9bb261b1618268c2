"""Time a training step with mini-batch aware regularisation as the vocabulary grows. Run by `make bench`.

The impressions stay the same. Item i of 10,000 becomes item i·spread, so a step touches the same number of rows of a
table that is `spread` times as large. Most of a run goes into making the table; only the steps are timed.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.directory import write_directory
from benchmarks.measure import EPOCHS, pin, say
from benchmarks.ours import settings
from benchmarks.rows import Workload, draw
from din.ops import backend
from din.train.compute import computing
from din.train.fit import fit

ITEMS = 10_000
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def step_ms(workload: Workload, spread: int) -> dict[str, Any]:
    """Return the mean time of a step in the best epoch, in ms, and the backend, chosen as in training."""
    params = settings(workload, EPOCHS)
    assert params.learning.regularizer == "mini_batch_aware"
    with TemporaryDirectory() as folder, computing(params.compute) as compute:
        native = backend.identity() is not None
        features = write_directory(Path(folder), workload, draw(workload), spread)
        _, progress = fit(features, params, compute=compute)
    steps = -(-workload.rows // workload.batch)
    return {"step_ms": 1e3 * min(progress.epoch_seconds[1:]) / steps, "backend": "native" if native else "reference"}


def command(workload: Workload, size: int) -> list[str]:
    """Return the command line that measures a vocabulary of `size` items."""
    parsed = {"workload": asdict(workload) | {"items": ITEMS}, "spread": size // ITEMS}
    return [sys.executable, "-m", "benchmarks.vocabulary", json.dumps(parsed)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=json.loads, help='as JSON: {"workload": {"name": …}, "spread": 100}')
    parsed = parser.parse_args().settings
    pin(1)
    torch.set_num_threads(1)
    say(step_ms(Workload(**parsed["workload"]), parsed["spread"]))
