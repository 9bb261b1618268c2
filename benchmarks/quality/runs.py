"""Make features once per log, then run rows and seeds in processes of one thread; finished runs are kept and reused."""

import contextlib
import copy
import hashlib
import io
import itertools
import json
import math
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.environments import ROOT
from benchmarks.logs import TABLES
from benchmarks.quality.configurations import Log, Row
from din.artifacts import MANIFEST, atomic_path, hash_tree, read_json, sha256_file, write_json
from din.errors import InputError
from din.features.reader import Features
from din.metrics.ranking import auc, gauc
from din.metrics.summary import summary
from din.params import Train
from din.train import checkpoint
from din.train.compute import computing
from din.train.evaluate import oracle
from din.train.fit import fit
from din.train.predict import EVALUATION_BATCH, Predictions, predict
from din.workspace import Workspace

STORE = ROOT / ".din" / "quality"
FINALISTS = 0.2  # the share of tries that are rerun with more seeds
FINAL_SEEDS = (1, 2, 3)

Figures = dict[tuple[str, str], list[dict[str, Any]]]  # (log, row name): one record for each seed


def features_of(log: Log, store: Path = STORE) -> Path:
    """Return the log's feature directory, made by `din fetch` and `din featurize` in a workspace of its own.

    Raises:
        InputError: a stage failed; its output comes before.
    """
    blocks = [log.derive, *(log.params[key] for key in ("data", "fetch", "featurize"))]
    read = [Path(log.params["fetch"]["table"][table]) for table in log.derive]
    files = [sha256_file(path) for path in (*sorted((ROOT / "din" / "featurize").glob("*.py")), *read)]
    key = hashlib.sha256(json.dumps([blocks, files], sort_keys=True).encode()).hexdigest()[:12]
    slug = re.sub(r"\W+", "-", log.name)  # a comma would split the path into two
    workspace = Workspace(store / "logs" / f"{slug}-{key}")
    workspace.root.mkdir(parents=True, exist_ok=True)
    with workspace.params.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(_derived(log, workspace.root), file)
    for stage in ("fetch", "featurize"):
        done = workspace.features / MANIFEST
        if stage == "featurize" and done.exists() and read_json(done)["raw"] == hash_tree(workspace.raw):
            continue
        if subprocess.run([sys.executable, "-m", "din.cli", stage], cwd=workspace.root).returncode:
            raise InputError(
                f"din {stage} failed for the log {log.name} (see above); its workspace is {workspace.root}"
            )
    return workspace.features


def choose(rows: list[Row], folders: dict[str, Path], jobs: int, store: Path = STORE) -> tuple[list[Row], Figures]:
    """Choose each row's best try by validation AUC; also return its records of seed 1, in the order of its tries.

    If the best `FINALISTS` are more than one, they are rerun with `FINAL_SEEDS`, and the best mean is chosen: on a
    small log, seeds differ by more than most tries.
    """

    def valid(trains: Sequence[Sequence[Train]], seed: int) -> list[list[dict[str, Any]]]:
        """Run each row's configurations and return their records."""
        seeded = [
            replace(row, train=_seeded(train, seed)) for row, own in zip(rows, trains, strict=True) for train in own
        ]
        records = iter(_run_each(seeded, ("valid",), folders, jobs, store / "tries"))
        return [list(itertools.islice(records, len(own))) for own in trains]

    first = valid([row.tries for row in rows], 1)
    finalists = [
        _best(row.tries, [[record] for record in own], math.ceil(len(own) * FINALISTS))
        for row, own in zip(rows, first, strict=True)
    ]
    by_seed = [valid([own if len(own) > 1 else [] for own in finalists], seed) for seed in FINAL_SEEDS]
    chosen = []
    for row, own, *records in zip(rows, finalists, *by_seed, strict=True):
        best = _best(own, list(zip(*records, strict=True)), 1) if len(own) > 1 else own
        chosen += [replace(row, train=best[0]) if best else row]
    return chosen, {(row.log, row.name): own for row, own in zip(rows, first, strict=True) if own}


def run_all(rows: list[Row], seeds: int, folders: dict[str, Path], jobs: int, store: Path = STORE) -> Figures:
    """Return the figures of every row with seeds 1 … `seeds`, on validation and test rows."""
    # Seed by seed, so that a table of fewer seeds is complete early.
    seeded = [replace(row, train=_seeded(row.train, seed)) for seed in range(1, seeds + 1) for row in rows]
    records = _run_each(seeded, ("valid", "test"), folders, jobs, store / "runs")
    return {(row.log, row.name): records[place :: len(rows)] for place, row in enumerate(rows)}


def run(features: Path, row: Row, splits: Sequence[str], kept: Path) -> dict[str, Any]:
    """Train one row with its seed, score `splits`, and keep the figures in `kept`."""
    began = time.process_time()
    opened = Features(features)
    with contextlib.redirect_stdout(io.StringIO()), computing(row.train.compute) as compute:
        trained, progress = fit(opened, row.train, compute=compute)
    seed = row.train.learning.seed
    record: dict[str, Any] = {"log": row.log, "row": row.name, "seed": seed, "epoch": progress.best_epoch + 1}
    for split in splits:
        found = predict(trained, opened, split, EVALUATION_BATCH)
        record[split] = summary(found.rows["label"], found.probabilities, found.rows["user"])
        record[split]["popularity"] = _popularity(found, opened)
        record[split]["oracle"] = oracle(found, Workspace(features.parents[1]).truth)
        if split == "test":
            record["predictions"] = str(kept.with_suffix(".parquet"))
            with atomic_path(kept.with_suffix(".parquet")) as temporary:
                pq.write_table(found.table(), temporary)
    record["cpu_seconds"] = round(time.process_time() - began)
    write_json(kept, record)
    return record


def _popularity(found: Predictions, features: Features) -> dict[str, float]:
    """Return AUC and GAUC of the items' popularity in training on the same rows."""
    scores = features.popularity()[found.rows["item"]]
    label = found.rows["label"]
    return {"auc": auc(label, scores), "gauc": gauc(label, scores, found.rows["user"]).value}


def _best(tries: Sequence[Train], runs: Sequence[Sequence[dict[str, Any]]], count: int) -> list[Train]:
    """Return the `count` tries with the highest mean validation AUC over their runs; equal ones keep their order."""
    means = [sum(run["valid"]["auc"] for run in own) / len(own) for own in runs]
    order = sorted(range(len(tries)), key=lambda place: -means[place])
    return [tries[place] for place in order[:count]]


def _run_each(
    rows: list[Row], splits: Sequence[str], folders: dict[str, Path], jobs: int, kept: Path
) -> list[dict[str, Any]]:
    """Return one record for each row, in order. A run whose record is in `kept` is not run again."""
    rows = [replace(row, train=replace(row.train, compute=replace(row.train.compute, threads=1))) for row in rows]
    paths = [kept / f"{_identity(folders[row.log], row.train)}.json" for row in rows]
    waiting = [(row, path) for row, path in zip(rows, paths, strict=True) if not path.exists()]
    done = len(rows) - len(waiting)
    started = time.monotonic()
    if rows:
        print(f"{len(rows)} runs, scored on {' and '.join(splits)}, {done} of them kept from before", flush=True)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        futures = {pool.submit(run, folders[row.log], row, splits, path): row for row, path in waiting}
        for finished, future in enumerate(as_completed(futures), 1):
            row = futures[future]
            found = future.result()
            left = (time.monotonic() - started) / finished * (len(waiting) - finished) / 60
            print(
                f"{done + finished} of {len(rows)}, {left:.0f} min left: {row.log}, {row.name}, "
                f"seed {row.train.learning.seed}: validation AUC {found['valid']['auc']:.4f} "
                f"in {found['cpu_seconds']} CPU s",
                flush=True,
            )
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure or Ctrl-C, no further run starts
    return [read_json(path) for path in paths]


def _identity(features: Path, train: Train) -> str:
    with computing(train.compute) as compute:
        return checkpoint.directory(features, train, compute)


def _seeded(train: Train, seed: int) -> Train:
    return replace(train, learning=replace(train.learning, seed=seed))


def _end_with_parent() -> None:
    """End this worker when its parent ends for any reason; finished runs are on disk."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _derived(log: Log, workspace: Path) -> dict[str, Any]:
    """Return the log's parameters with its derived tables, which are written to the workspace if they are missing."""
    params = copy.deepcopy(log.params)
    table = params["fetch"]["table"]
    files = {name: table[name] for name in TABLES if table[name]}
    for name, query in log.derive.items():
        target = workspace / f"{name}.parquet"
        if not target.exists():
            with atomic_path(target) as temporary, duckdb.connect() as connection:
                for each, file in files.items():
                    connection.read_csv(file).create_view(each)
                connection.sql(query).write_parquet(str(temporary))
        table[name] = str(target)
    return params
