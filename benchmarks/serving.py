"""Measure the time of a request, and `din serve` under load.

    make run && python -m benchmarks.serving --write

First, requests of many sizes, on one thread: `Scorer` from raw ids, its C kernels, request.onnx, the same model in
PyTorch, and a padded graph (`benchmarks.exported`). The weights are random, because they don't change the time. Then
wrk loads a server with a champion (`benchmarks.load`).
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.directory import write_directory
from benchmarks.environments import ROOT
from benchmarks.exported import ExportedModel, PaddedGraph, products_alone
from benchmarks.generated_tables import publish
from benchmarks.harness import parsed, positive, table
from benchmarks.load import goodput_table, load_table, wrk
from benchmarks.workload import Workload, impressions
from din.base.workspace import Workspace
from din.features.packing import TableLayout
from din.model.model import build
from din.params.reading import load
from din.params.train import Train
from din.release.registry.cache import scorer_of

CANDIDATES = (1, 10, 100, 500, 2_000)
LENGTHS = (0, 10, 50, 100, 1_000)
TO_THE_PRODUCTS = ((500, 100), (500, 1_000))
"""The requests that are compared with their products alone: candidates and behaviours."""
_PRODUCTS = "products_ms"
_LOG = Workload("long", "short", max_history=max(LENGTHS), batch=256, rows=1_000)
_SECONDS = 1.0
"""The time for the turns of a request, if the least turns take no longer."""
_LEAST_TURNS, _MOST_TURNS = 3, 31
_PRODUCTS_TURNS = 15
"""The least turns of a request that is compared with its products alone."""

Runs = Mapping[str, Callable[[], Any]]
Times = Mapping[str, NDArray[np.float64]]
"""The CPU time of each way in ms, by turn."""


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description="Time requests and the server.")
    job = load(ROOT / "params.yaml")
    registry = Workspace(ROOT).located(job.promote.registry)
    parser.add_argument("--registry", default=registry, help="with the champion that is loaded")
    parser.add_argument("--model", default=job.model_name, help="its name in the registry")
    parser.add_argument("--seconds", type=positive, default=10, help="of each load")
    parser.add_argument("--goodput", action="store_true", help="only overload the server, and print its goodput")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/results.md")
    options = parsed(parser, full={"seconds": 20})

    def tables() -> str:
        wrk()
        if options.goodput:
            return goodput_table(options.registry, options.model, options.seconds)
        scorer = scorer_of(options.registry, options.model)  # before the minutes of the other tables
        return f"{request_table()}\n{load_table(scorer, options.registry, options.model, options.seconds)}"

    return publish("serving" if options.write else "", tables)


def request_table() -> str:
    """Time requests of all sizes, and return the table."""
    torch.set_num_threads(1)
    measured = {}
    for candidates, length, runs in ways():
        print(f"timing {candidates:,} candidates × {length:,} behaviours", flush=True)
        measured[candidates, length] = in_turns(runs)
    head = ["candidates", "behaviours", "`Scorer`, ms", "ids, ms", "in C, ms", "to the products", "request.onnx, ms"]
    rows = []
    for shape, times in measured.items():
        raw, ours, *others = (times[f"request_{way}_ms"] for way in ("raw", "packed", "onnx", "torch", "padded"))
        medians = [f"{np.median(ms):.2f}" for ms in (raw, raw - ours, ours, *others)]
        medians.insert(3, f"{np.median(ours / times[_PRODUCTS]):.2f}×" if _PRODUCTS in times else "")
        rows.append([*(f"{size:,}" for size in shape), *medians])
    return table([*head, "PyTorch, ms", "padded, ms"], rows)


def ways(log: Workload = _LOG) -> Iterator[tuple[int, int, Runs]]:
    """Yield the numbers of candidates and behaviours of each request, with functions that score it, by way."""
    train = Train()
    width = 2 * train.model.embedding_dim
    padded = PaddedGraph(width, train, threads=1)
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        features = write_directory(Path(folder) / "features", log, impressions(log))
        model, rows = build(features.fields, TableLayout.of(features.fields, features.rows), train)
        exported = ExportedModel(model, rows, train, features, Path(folder) / "bundle", threads=1)
        for candidates, length in product(CANDIDATES, LENGTHS):
            history, shown = (random.integers(1, log.items + 1, size).tolist() for size in (length, candidates))
            runs = exported.runs({"user": {"user_id": 1}, "history": history, "candidates": shown})
            runs["request_padded_ms"] = padded.on(candidates, length)
            if (candidates, length) in TO_THE_PRODUCTS:
                runs[_PRODUCTS] = products_alone(candidates, length, width, train, threads=1)
            yield candidates, length, runs


def in_turns(runs: Runs) -> Times:
    """Return the CPU time of each function in ms, by turn. They take turns, so other load on the machine hits all."""
    warm = sum(_cpu_ms(run) for run in runs.values())
    least = _PRODUCTS_TURNS if _PRODUCTS in runs else _LEAST_TURNS
    turns = int(np.clip(1e3 * _SECONDS / warm, least, _MOST_TURNS))
    rounds = [[_cpu_ms(run) for run in runs.values()] for _ in range(turns)]
    return dict(zip(runs, np.array(rounds).T, strict=True))


def _cpu_ms(run: Callable[[], Any]) -> float:
    start = thread_time()
    run()
    return 1e3 * (thread_time() - start)


if __name__ == "__main__":
    sys.exit(main())
