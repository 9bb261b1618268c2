"""Time the whole stage `train` for one epoch on one core, with as many impressions as Amazon Electronics.

Run by `make bench`: `din train` as dvc runs it, in a workspace of its own: from the interpreter's start over reading,
building the native operations at their first use, the epoch, validation and the checkpoint to the saved model. Writing
the features is not counted.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import pin, say, seconds
from benchmarks.rows import Workload
from benchmarks.workspace import write_workspace
from din.artifacts import read_json

VALID_SHARE = 0.15  # as for Electronics: two rows of each of 192,403 users, compared with 2.6 M


def run(workload: Workload) -> dict[str, Any]:
    """Return the wall time of the stage, and the part of it that the epoch and its validation took."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write_workspace(root, workload, int(VALID_SHARE * workload.rows), learning={"epochs": 1})
        command = [sys.executable, "-m", "din.cli", "train"]
        codes: list[int] = []
        stage = seconds(lambda: codes.append(subprocess.run(command, cwd=root).returncode))
        if code := codes[0]:
            sys.exit(code)
        summary = read_json(root / "reports/training/summary.json")
        times = read_json(root / "reports/training/times.json")
    return {"stage_seconds": stage, "epoch_seconds": times["seconds"], "backend": summary["backend"]}


def command(workload: Workload) -> list[str]:
    """Return the command line that measures a workload."""
    return [sys.executable, "-m", "benchmarks.train_stage", json.dumps(asdict(workload))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", type=json.loads, help='as JSON: {"name": …, "rows": …}, see benchmarks/rows.py')
    workload = Workload(**parser.parse_args().workload)
    pin(1)
    say(run(workload))
