"""The registry under deterministic simulation: a sample of the histories of `make simulate`, and planted bugs."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from simulate import find
from simulation.bugs import BUGS, Bug
from simulation.history import play

ROOT = Path(__file__).parents[2]
SECONDS = 3
LEAST = 100
QUICK = (
    "the record is appended before the bundle is stored",
    "the manifest is stored first",
    "a record is put, not created",
    "nonces are not compared",
    "the seal is written before the record",
    "gc ignores the grace period",
    "gc keeps only the champion's bundle",
    "gc removes the manifest last",
)
"""Bugs that a few histories find."""


def test_no_history_breaks_a_rule() -> None:
    """Play as many histories as fit in some seconds; `make simulate` plays more."""
    start = time.monotonic()
    seed = 0
    while seed < LEAST or time.monotonic() < start + SECONDS:
        world = play(seed)
        assert world.violation is None, "\n".join([*world.lines(), f"seed {seed}: {world.violation}"])
        seed += 1


def test_a_seed_is_one_history() -> None:
    """Another process, with another order of sets, plays the same steps, byte for byte."""
    code = "from simulation.history import play\nfor seed in range(12): print(*play(seed).lines(), sep='\\n')"
    path = f"{ROOT}:{ROOT}/tests:{ROOT}/tests/registry"
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1] and printed[0].count(b"\n") > 1_000


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.name, marks=() if bug.name in QUICK else pytest.mark.slow) for bug in BUGS]
)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    """One of the first thousand histories breaks a rule."""
    assert find(bug)
