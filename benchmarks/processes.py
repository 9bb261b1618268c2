"""How much faster do N processes train than one? Run in a workspace after `din featurize`.

    python benchmarks/processes.py --processes 2 --rounds 20

One process and a team of N, one thread each, take turns on the features and parameters of the workspace; the ratio of
impressions per second is taken within each turn, so that a machine that others use too can still answer. `--pin` ties
every process to a core of its own: without it, one process already uses a second core to pack its batches.
"""

import argparse
import os
import statistics
import time
from dataclasses import replace
from itertools import chain, count, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
import torch.multiprocessing as multiprocessing

from din.eventlog.packing import Packer
from din.eventlog.reader import Features
from din.params import Train, load
from din.train.distributed import ALONE, Ranks, joined
from din.train.launch import environments
from din.train.learner import Learner
from din.train.loader import TrainingLoader, prefetch
from din.train.memory import keep_freed_memory


class Turn(NamedTuple):
    """What one process did in a turn."""

    impressions: int  # of all ranks
    seconds: float
    cpu_seconds: float


def worker(pipe: Connection, environment: dict[str, str], params: Train, core: int | None) -> None:
    """Train as many steps as the pipe asks for, and answer with a Turn; None ends it."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    os.environ |= environment
    if params.processes == 1:
        take_turns(pipe, params, ALONE)
    else:
        with joined(torch.device("cpu")) as ranks:
            take_turns(pipe, params, ranks)


def take_turns(pipe: Connection, params: Train, ranks: Ranks) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    features = Features()
    packer = Packer(features, params.unknown_rate)
    loader = TrainingLoader(features, packer, params.batch_size, params.seed, ranks)
    learner = Learner(features, packer, params, ranks=ranks)
    learner.model.train()
    batches = prefetch(map(learner.inputs, chain.from_iterable(loader.epoch(epoch) for epoch in count())))
    while (steps := pipe.recv()) is not None:
        started, cpu, impressions = time.perf_counter(), time.process_time(), 0
        for batch in islice(batches, steps):
            learner.step(batch, 0, params.learning_rate)
            impressions += batch.impressions
        pipe.send(Turn(impressions, time.perf_counter() - started, time.process_time() - cpu))


class Team:
    """Processes that train together and wait on pipes between turns."""

    def __init__(self, params: Train, pin: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        for rank, environment in enumerate(environments(params.processes)):
            pipe, theirs = context.Pipe()
            context.Process(
                target=worker, args=(theirs, environment, params, rank if pin else None), daemon=True
            ).start()
            self.pipes.append(pipe)

    def turn(self, steps: int) -> Turn:
        for pipe in self.pipes:
            pipe.send(steps)
        turns = [pipe.recv() for pipe in self.pipes]
        return Turn(turns[0].impressions, max(turn.seconds for turn in turns), sum(turn.cpu_seconds for turn in turns))

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--pin", action="store_true")
    arguments = parser.parse_args()
    params = replace(load(Path("params.yaml")).train, threads=1, processes=1)
    params = replace(params, batch_size=arguments.batch_size or params.batch_size)
    one, many = (Team(replace(params, processes=n), arguments.pin) for n in (1, arguments.processes))
    pairs = []
    for number in range(arguments.rounds + 1):
        pair = one.turn(arguments.steps), many.turn(arguments.steps)
        if number:  # the first one warms up
            pairs.append(pair)
    for team in (one, many):
        team.end()
    rates = [[turn.impressions / turn.seconds for turn in pair] for pair in pairs]
    costs = [[1e6 * turn.cpu_seconds / turn.impressions for turn in pair] for pair in pairs]
    ratios = sorted(team / solo for solo, team in rates)
    for name, at in (("1 process", 0), (f"{arguments.processes} processes", 1)):
        best, cpu = max(rate[at] for rate in rates), statistics.median(cost[at] for cost in costs)
        print(f"{name:12} best {best:9,.0f} impressions/s, median CPU {cpu:6.1f} µs per impression")
    best = max(team for _, team in rates) / max(solo for solo, _ in rates)
    print(f"ratio: best over best {best:.2f}, pairs: median {statistics.median(ratios):.2f}, best {ratios[-1]:.2f}")
    print(f"bound by CPU time: {arguments.processes * min(c[0] for c in costs) / min(c[1] for c in costs):.2f}")


if __name__ == "__main__":
    main()
