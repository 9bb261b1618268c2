"""Measure how much faster N processes train than one, in a workspace after `din featurize`.

    python -m benchmarks.processes --processes 2

One process and a team of N take turns on the features and parameters of the workspace. Each process has one thread and
one core, which its loader shares. A turn is an epoch, so both sides train on the same impressions. The first turn warms
up, and the best of the others counts. `batch_size` counts per process, as in training. Both sides use
`train.compute.backend`.
"""

import argparse
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
import torch.multiprocessing as multiprocessing

from benchmarks.arguments import positive
from benchmarks.measure import say
from din import cores
from din.errors import InputError
from din.features.packing import Packer
from din.features.reader import Features
from din.params import Train, load
from din.train.compute import Compute, computing
from din.train.distributed import ALONE, joined
from din.train.launch import environments
from din.train.learner import Learner
from din.train.loader import TrainingLoader, prefetch
from din.train.memory import keep_freed_memory


class Turn(NamedTuple):
    """The wall time of an epoch, and the CPU time of all its processes."""

    seconds: float
    cpu_seconds: float


def worker(pipe: Connection, environment: dict[str, str], features: Path, params: Train, core: int) -> None:
    """Start a process of the team on one core, and let it train what arrives through the pipe."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
    os.environ |= environment
    team = nullcontext(ALONE) if params.compute.processes == 1 else joined(torch.device("cpu"))
    with team as ranks, computing(params.compute, ranks) as compute:
        take_turns(pipe, Features(features), params, compute)


def take_turns(pipe: Connection, features: Features, params: Train, compute: Compute) -> None:
    """Train each epoch whose number arrives through the pipe and send back a Turn, until None arrives."""
    keep_freed_memory()
    learning = params.learning
    packer = Packer(features, learning.unknown_rate)
    loader = TrainingLoader(features, packer, learning.batch_size, learning.seed, compute.ranks)
    learner = Learner(features, packer, params, compute)
    learner.model.train()
    while (epoch := pipe.recv()) is not None:
        started = time.perf_counter()
        cpu = time.process_time()
        for inputs in prefetch(map(learner.inputs, loader.epoch(epoch))):
            learner.step(inputs, learning.learning_rate)
        pipe.send(Turn(time.perf_counter() - started, time.process_time() - cpu))


class Team:
    """Processes that train together and wait on pipes between turns."""

    def __init__(self, features: Path, params: Train) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        for rank, environment in enumerate(environments(params.compute.processes)):
            pipe, theirs = context.Pipe()
            context.Process(target=worker, args=(theirs, environment, features, params, rank), daemon=True).start()
            theirs.close()  # so that reading fails if the worker ends
            self.pipes.append(pipe)

    def turn(self, epoch: int) -> Turn:
        """Train one epoch and return the slowest process's seconds and the CPU seconds of all."""
        for pipe in self.pipes:
            pipe.send(epoch)
        turns = [pipe.recv() for pipe in self.pipes]
        return Turn(max(turn.seconds for turn in turns), sum(turn.cpu_seconds for turn in turns))

    def end(self) -> None:
        """Let every process finish."""
        for pipe in self.pipes:
            pipe.send(None)


def compare(workspace: Path, processes: int, turns: int) -> dict[str, float]:
    """Return the impressions per second of one process and of the team, and their ratio by wall time and by CPU time.

    Raises:
        InputError: the workspace has no features.
    """
    path = workspace / "data/features"
    params = load(workspace / "params.yaml").train
    impressions = sum(Features(path).split_rows("train"))
    teams = [
        Team(path, replace(params, compute=replace(params.compute, threads=1, processes=size)))
        for size in (1, processes)
    ]
    rounds = [[team.turn(epoch) for team in teams] for epoch in range(turns + 1)]
    for team in teams:
        team.end()
    one, many = ([min(times) for times in zip(*of_team, strict=True)] for of_team in zip(*rounds[1:], strict=True))
    return {
        "processes": processes,
        "one_per_second": impressions / one[0],
        "team_per_second": impressions / many[0],
        "ratio": one[0] / many[0],
        "cpu_ratio": processes * one[1] / many[1],
    }


def command(workspace: str) -> list[str]:
    """Return the command line that compares two processes with one."""
    return [sys.executable, "-m", "benchmarks.processes", workspace]


def main() -> None:
    """Compare, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", nargs="?", type=Path, default=Path(), help="the folder of params.yaml and data/")
    parser.add_argument("--processes", type=positive, default=2, help="processes of the team, one core each")
    parser.add_argument("--turns", type=positive, default=5, help="epochs of each after the one that warms up")
    options = parser.parse_args()
    allowed = cores.available()
    if options.processes > allowed:
        parser.error(f"--processes {options.processes}: only {allowed} cores here, and each takes one")
    try:
        found = compare(options.workspace, options.processes, options.turns)
    except InputError as error:
        parser.error(str(error))
    print(
        f"1 process {found['one_per_second']:,.0f} impressions/s, {options.processes} {found['team_per_second']:,.0f}:"
    )
    print(f"{found['ratio']:.2f} times as fast; {found['cpu_ratio']:.2f} by CPU time, as on idle cores without waiting")
    say(found)


if __name__ == "__main__":
    main()
