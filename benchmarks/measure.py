"""One contestant in one process: pinned to its cores, measured, reported as one line of JSON. Run by `make bench`."""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from benchmarks.rows import Rows, Workload, draw, one_request

MARK = "RESULT "
EPOCHS = 3  # the first warms up
REPEATS = 15


class Contestant(NamedTuple):
    """A model with its data, ready to run.

    train: `EPOCHS` epochs; returns the seconds of each. score: probabilities of all rows in the order of `labels`.
    request: scores one user's 500 candidates; None where its time is in `extra`. extra: further figures.
    """

    version: str
    train: Callable[[], list[float]]
    score: Callable[[], np.ndarray]
    request: Callable[[], Any] | None
    labels: np.ndarray
    extra: Callable[[], dict[str, Any]] = dict


def pin(cores: int) -> None:
    """Keep this process on so many cores, where the system can; one core holds the loader's thread too."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def peak_mb() -> float:
    """The most memory that this process has held."""
    import resource  # not on Windows

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def timed_epochs(epoch: Callable[[], Any]) -> list[float]:
    """A contestant's `train` from what trains one epoch."""
    return [seconds(epoch) for _ in range(EPOCHS)]


def best_ms(runs: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """Best time of each in ms, measured in turns, so that what else the machine does hits all alike."""
    rounds = [[seconds(run) for run in runs.values()] for _ in range(repeats)]
    return {name: 1e3 * min(times) for name, times in zip(runs, zip(*rounds, strict=True), strict=True)}


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, ties in any order: enough to see that a contestant has learned."""
    rank = np.empty(len(scores))
    rank[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    clicks = labels.sum()
    return float((rank[labels == 1].sum() - clicks * (clicks + 1) / 2) / (clicks * (len(labels) - clicks)))


def measure(contestant: Contestant) -> dict[str, Any]:
    """Train, score all rows, answer a request; then what the contestant adds. The first epoch warms up."""
    first, *warm = contestant.train()
    found: list[np.ndarray] = []
    score = seconds(lambda: found.append(np.asarray(contestant.score(), np.float64).reshape(-1)))
    (probabilities,), rows = found, len(contestant.labels)
    assert probabilities.shape == (rows,) and ((probabilities >= 0) & (probabilities <= 1)).all()
    memory = peak_mb()
    return {
        "version": contestant.version,
        "train_per_second": rows / min(warm),
        "epoch_seconds": min(warm),
        "first_epoch_seconds": first,
        "score_per_second": rows / score,
        "peak_mb": memory,
        "auc": auc(contestant.labels, probabilities),
        **(best_ms({"request_ms": contestant.request}) if contestant.request else {}),
        **contestant.extra(),
    }


def say(result: dict[str, Any]) -> None:
    """Hand a result to the process that waits for it."""
    print(MARK + json.dumps(result), flush=True)


def main() -> None:
    """Measure the contestant of a module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", help="such as benchmarks.peers.fuxictr")
    parser.add_argument("settings", type=json.loads, help='as JSON: {"workload": {"name": …}, "cores": 1}')
    given = parser.parse_args()
    workload, cores = Workload(**given.settings["workload"]), given.settings["cores"]
    pin(cores)
    import torch

    torch.set_num_threads(cores)
    rows: Rows = draw(workload)
    say(measure(importlib.import_module(given.module).build(workload, rows, one_request(workload, rows))))


def command(python: str, module: str, workload: Workload, cores: int) -> list[str]:
    """The command line of `main`."""
    return [python, "-m", "benchmarks.measure", module, json.dumps({"workload": asdict(workload), "cores": cores})]


if __name__ == "__main__":
    main()
