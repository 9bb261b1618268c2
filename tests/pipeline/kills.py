"""Kill `dvc repro` repeatedly during training, and check that every rerun ends with the same bits.

    python tests/pipeline/kills.py --count 50

Each kill prints one line with the moment, the victim and the result of the rerun. The command exits 1 unless all
results are equal. A kill takes one training on a small simulated log, about ten seconds.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from workspace import Workspace, kill, wait_for

from din.artifacts import hash_tree

VICTIMS = ("dvc", "stage", "group")


class Kill(NamedTuple):
    """One kill.

    Attributes:
        at: seconds after the stage began.
        victim: the killed process.
        resumed: whether the rerun resumed from a checkpoint of the killed stage, or of one that outlived its dvc.
        equal: whether the rerun gave the same bits.
    """

    at: float
    victim: str
    resumed: bool
    equal: bool


def kills(workspace: Workspace, count: int, seed: int) -> Iterator[Kill]:
    """Train undisturbed, then kill and rerun `count` times; moments are uniform over the undisturbed stage."""
    chance = random.Random(seed)
    _repro(workspace, "validate_features")
    before = (workspace.root / "dvc.lock").read_bytes()
    process = _start(workspace)
    start = time.monotonic()
    wait_for(lambda: workspace.stage_pid() is None, 600)
    duration = time.monotonic() - start
    if process.wait():
        sys.exit((workspace.root / "run.log").read_text())
    reference = _model(workspace)
    for number in range(count):
        victim = VICTIMS[number % len(VICTIMS)]
        at = _kill(workspace, before, victim, chance, duration)
        printed = _repro(workspace, "train")
        yield Kill(at, victim, "resuming at epoch" in printed, _model(workspace) == reference)


def _kill(workspace: Workspace, lock: bytes, victim: str, chance: random.Random, duration: float) -> float:
    """Kill a new training at a random moment, and return the moment; if training has ended, draw another one."""
    while True:
        _forget(workspace, lock)
        process = _start(workspace)
        at = chance.uniform(0, duration)
        time.sleep(at)
        if process.poll() is None and workspace.stage_pid() is not None:
            kill(process, workspace, victim)
            return at
        process.wait()


def _start(workspace: Workspace) -> subprocess.Popen[bytes]:
    """Start dvc, and return it once its stage has begun."""
    process = workspace.start("dvc", "repro", "train")
    log = workspace.root / "run.log"
    wait_for(lambda: "Running stage 'train'" in log.read_text() and workspace.stage_pid() is not None)
    return process


def _model(workspace: Workspace) -> str:
    return hash_tree(workspace.root / "models/din")


def _repro(workspace: Workspace, stage: str) -> str:
    """Run `dvc repro` and return its output."""
    done = workspace.run("dvc", "repro", stage)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def _forget(workspace: Workspace, lock: bytes) -> None:
    """Let the next repro train anew, with the earlier lock and without run-cache and checkpoint."""
    (workspace.root / "dvc.lock").write_bytes(lock)
    (workspace.root / "run.log").unlink(missing_ok=True)
    for path in (".dvc/cache/runs", ".din/checkpoints"):
        shutil.rmtree(workspace.root / path, ignore_errors=True)


def main() -> None:
    """Parse the arguments, kill, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}; first one undisturbed training", flush=True)
    equal = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, found in enumerate(kills(Workspace(Path(folder)), options.count, options.seed), 1):
            equal += found.equal
            state = "from a checkpoint" if found.resumed else "from the start"
            result = "equal" if found.equal else "DIFFERENT"
            print(f"{number:3} {found.victim:5} after {found.at:5.2f} s, {state:17}: {result}", flush=True)
    print(f"{equal} of {options.count} bit-equal")
    sys.exit(equal != options.count)


if __name__ == "__main__":
    main()
