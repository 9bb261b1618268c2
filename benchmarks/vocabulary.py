"""Time of one training step as the vocabulary grows, mini-batch aware regularisation on.

    python -m benchmarks.vocabulary '{"workload": {…}, "spread": 100}'

The rows stay the same; item i of 10,000 becomes item i·spread, so a step touches as many rows of a table that is so
many times larger. Most of such a run goes into making the table; steps alone are timed.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.directory import write_directory
from benchmarks.measure import EPOCHS, pin, say
from benchmarks.ours import TimedFeatures, settings
from benchmarks.rows import Workload, draw
from din.train.fit import fit

ITEMS = 10_000
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def step_ms(workload: Workload, spread: int) -> float:
    """Best epoch's mean time of a step, in ms."""
    with TemporaryDirectory() as folder:
        features = TimedFeatures(write_directory(Path(folder), workload, draw(workload), spread).root)
        params = settings(workload, EPOCHS)
        assert params.regularizer == "mini_batch_aware"
        fit(features, params)
    return 1e3 * min(features.epochs()[1:]) / -(-workload.rows // workload.batch)


def command(workload: Workload, size: int) -> list[str]:
    """The command line that measures a vocabulary of `size` items."""
    parsed = {"workload": asdict(workload) | {"items": ITEMS}, "spread": size // ITEMS}
    return [sys.executable, "-m", "benchmarks.vocabulary", json.dumps(parsed)]


if __name__ == "__main__":
    parsed = json.loads(sys.argv[1])
    pin(1)
    torch.set_num_threads(1)
    say({"step_ms": step_ms(Workload(**parsed["workload"]), parsed["spread"])})
