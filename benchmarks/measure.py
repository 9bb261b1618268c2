"""Measure in one process, pinned to its cores, and print one line of JSON. Run by `make bench`."""

import argparse
import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from benchmarks.workload import Workload

MARK = "RESULT "
EPOCHS = 3  # the first one warms up
REPEATS = 15


class ContestantTimes(NamedTuple):
    """The times of a training in seconds, as recorded by the contestant.

    Attributes:
        epochs: the time of each epoch, without settling and validation.
        settling: the time to recompute statistics after the epochs.
        validation: the time of all validations.
        rest: the time of everything else, e.g. building the model.
        rows: the rows of all training steps, if the contestant counts them. None: a hook of its model counts them.
    """

    epochs: list[float]
    settling: float = 0.0
    validation: float = 0.0
    rest: float = 0.0
    rows: int | None = None


class Contestant(NamedTuple):
    """A model with its data, ready to run.

    Attributes:
        version: the version of its package.
        is_head: returns whether a module is the model's head, whose output has one entry per row.
        train: trains `EPOCHS` epochs.
        score: returns the probabilities [N] of all rows, in the order of `labels`.
        request: scores one user's 500 candidates. None if `extra` has its time.
        labels: [N] the labels of all rows.
        extra: returns further figures.
    """

    version: str
    is_head: Callable[[Any], bool]
    train: Callable[[], ContestantTimes]
    score: Callable[[], np.ndarray]
    request: Callable[[], Any] | None
    labels: np.ndarray
    extra: Callable[[], dict[str, Any]] = dict


def pin(cores: int) -> None:
    """Pin this process, with the loader's thread, to this number of cores, if the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def peak_mb() -> float:
    """Return the peak memory of this process in MB."""
    import resource  # not on Windows

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def seconds(run: Callable[[], Any]) -> float:
    """Return the wall time of one call in seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def timed_epochs(epoch: Callable[[], Any]) -> ContestantTimes:
    """Run and time `EPOCHS` epochs, for a contestant's `train`."""
    return ContestantTimes([seconds(epoch) for _ in range(EPOCHS)])


@contextmanager
def counting_rows(is_head: Callable[[Any], bool]) -> Iterator[Counter[str]]:
    """Yield a counter whose `trained` counts the rows of forward passes with gradients, so without settling."""
    import torch
    from torch.nn.modules.module import register_module_forward_hook

    counter: Counter[str] = Counter()

    def count(module: Any, _: Any, output: Any) -> None:
        if torch.is_grad_enabled() and is_head(module):
            counter["trained"] += len(output)

    hook = register_module_forward_hook(count)
    try:
        yield counter
    finally:
        hook.remove()


def best_ms(runs: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """Return the best time of each function in ms. They take turns, so that other load on the machine hits all."""
    rounds = [[seconds(run) for run in runs.values()] for _ in range(repeats)]
    return {name: 1e3 * min(times) for name, times in zip(runs, zip(*rounds, strict=True), strict=True)}


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the AUC, with ties in arbitrary order, which suffices to see whether a contestant has learned."""
    rank = np.empty(len(scores))
    rank[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    clicks = labels.sum()
    return float((rank[labels == 1].sum() - clicks * (clicks + 1) / 2) / (clicks * (len(labels) - clicks)))


def measure(contestant: Contestant) -> dict[str, Any]:
    """Train, score all rows and a request, and return the figures, with the contestant's own ones."""
    with counting_rows(contestant.is_head) as counter:
        started = time.perf_counter()
        training = contestant.train()
        whole = time.perf_counter() - started
    trained = counter["trained"] if training.rows is None else training.rows
    first, *warm = training.epochs
    started = time.perf_counter()
    probabilities = np.asarray(contestant.score(), np.float64).reshape(-1)
    score = time.perf_counter() - started
    rows = len(contestant.labels)
    assert probabilities.shape == (rows,) and ((probabilities >= 0) & (probabilities <= 1)).all()
    memory = peak_mb()
    return {
        "version": contestant.version,
        "training": {**training._asdict(), "epochs": sum(training.epochs), "whole": whole, "rows": trained},
        "train_per_second": rows / min(warm),
        "counted_per_second": rows / (min(warm) + (training.settling + training.validation) / EPOCHS),
        "epoch_seconds": min(warm),
        "first_epoch_seconds": first,
        "score_per_second": rows / score,
        "peak_mb": memory,
        "auc": auc(contestant.labels, probabilities),
        **(best_ms({"request_ms": contestant.request}) if contestant.request else {}),
        **contestant.extra(),
    }


def say(result: dict[str, Any]) -> None:
    """Print a result for the parent process."""
    print(MARK + json.dumps(result), flush=True)


def main() -> None:
    """Call a module's function with a workload. If it returns a contestant, measure it. Print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", help="e.g. benchmarks.peers.fuxictr:build")
    parser.add_argument("settings", type=json.loads, help='as JSON: {"workload": {"name": …}, "cores": 1}')
    options = parser.parse_args()
    workload = Workload(**options.settings["workload"])
    pin(options.settings["cores"])
    import torch

    torch.set_num_threads(options.settings["cores"])
    module, _, name = options.function.partition(":")
    result = getattr(importlib.import_module(module), name)(workload)
    say(result if isinstance(result, dict) else measure(result))


def command(python: str, function: str, workload: Workload, cores: int) -> list[str]:
    """Return the command line of `main`."""
    return [python, "-m", "benchmarks.measure", function, json.dumps({"workload": asdict(workload), "cores": cores})]


if __name__ == "__main__":
    main()
