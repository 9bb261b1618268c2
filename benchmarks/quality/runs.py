"""Features once per log, then rows and seeds over processes of one thread; finished runs are kept and found again."""

import contextlib
import copy
import hashlib
import io
import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
from ruamel.yaml import YAML

from benchmarks.quality.configurations import ROOT, Log, Row
from din.artifacts import atomic_path, hash_tree, read_json, write_json
from din.errors import InputError
from din.eventlog.reader import Features
from din.metrics.summary import summary
from din.train import checkpoint
from din.train.fit import fit
from din.train.predict import predict

STORE = ROOT / ".din" / "quality"
EVALUATION_BATCH = 1024

Figures = dict[tuple[str, str], list[dict[str, Any]]]  # (log, row name): one record for each seed


def features_of(log: Log, store: Path = STORE) -> Path:
    """The log's feature directory; `din fetch` and `din featurize` in a workspace of its own where it is missing.

    Raises:
        InputError: a stage failed; its output is above.
    """
    blocks = json.dumps([log.derive, *(log.params[key] for key in ("data", "fetch", "featurize"))], sort_keys=True)
    workspace = store / "logs" / f"{log.name}-{hashlib.sha256(blocks.encode()).hexdigest()[:12]}"
    workspace.mkdir(parents=True, exist_ok=True)
    with (workspace / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(_derived(log, workspace), file)
    for stage in ("fetch", "featurize"):
        done = workspace / "data/features/manifest.json"
        if stage == "featurize" and done.exists() and read_json(done)["raw"] == hash_tree(workspace / "data/raw"):
            continue
        if subprocess.run([sys.executable, "-m", "din.cli", stage], cwd=workspace).returncode:
            raise InputError(f"din {stage} failed for the log {log.name}, see above; its workspace is {workspace}")
    return workspace / "data/features"


def run_all(logs: dict[str, Log], rows: list[Row], seeds: int, jobs: int, store: Path = STORE) -> Figures:
    """The figures of every row with seeds 1 … `seeds`; what is kept in `store` is not run again."""
    folders = {name: features_of(logs[name], store) for name in dict.fromkeys(row.log for row in rows)}
    figures: Figures = {(row.log, row.name): [] for row in rows}
    waiting: list[tuple[Row, Path]] = []
    # Seed by seed, so that a table of fewer seeds is complete early.
    for seed in range(1, seeds + 1):
        for row in rows:
            seeded = replace(row, train=replace(row.train, seed=seed, threads=1))
            kept = store / "runs" / f"{checkpoint.directory(folders[row.log], seeded.train).name}.json"
            if kept.exists():
                figures[row.log, row.name].append(read_json(kept))
            else:
                waiting.append((seeded, kept))
    total, done, started = len(rows) * seeds, len(rows) * seeds - len(waiting), time.monotonic()
    print(f"{total} runs, {done} of them kept from before", flush=True)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        futures = {pool.submit(run, folders[row.log], row, kept): row for row, kept in waiting}
        for finished, future in enumerate(as_completed(futures), 1):
            row, found = futures[future], future.result()
            figures[row.log, row.name].append(found)
            left = (time.monotonic() - started) / finished * (len(waiting) - finished) / 60
            print(
                f"{done + finished} of {total}, {left:.0f} min left: {row.log}, {row.name}, seed {row.train.seed}: "
                f"validation AUC {found['valid']['auc']:.4f} in {found['cpu_seconds']} CPU s",
                flush=True,
            )
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure or Ctrl-C: end what runs, start no other
    return figures


def run(features: Path, row: Row, kept: Path) -> dict[str, Any]:
    """Train one row with one seed, score validation and test, and keep the figures in `kept`."""
    began = time.process_time()
    opened = Features(features)
    with contextlib.redirect_stdout(io.StringIO()):
        trained, progress = fit(opened, row.train)
    record: dict[str, Any] = {"log": row.log, "row": row.name, "seed": row.train.seed, "epoch": progress.best_epoch + 1}
    for split in ("valid", "test"):
        found = predict(trained, opened, split, EVALUATION_BATCH)
        record[split] = summary(found.rows["label"], found.probabilities, found.rows["user"])
    record["cpu_seconds"] = round(time.process_time() - began)
    write_json(kept, record)
    return record


def _derived(log: Log, workspace: Path) -> dict[str, Any]:
    """The log's params with derived tables, written to the workspace where they are missing, in place of its own."""
    params = copy.deepcopy(log.params)
    table = params["fetch"]["table"]
    for name, query in log.derive.items():
        source, target = table[name], workspace / f"{name}.parquet"
        if not target.exists():
            with atomic_path(target) as temporary, duckdb.connect() as connection:
                raw = connection.read_csv(source)  # noqa: F841 (the query's `raw`)
                connection.sql(query).write_parquet(str(temporary))
        table[name] = str(target)
    return params
