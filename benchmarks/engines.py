"""Measure what `featurize` costs on DuckDB and on Spark, on the simulated log of `benchmarks.size`.

    python -m benchmarks.engines --impressions 10000000

Spark runs in the process of `featurize`, with two threads. Each engine is a case and has a workspace of its own
beside that of the log, `.din/engines/IMPRESSIONS/ENGINE`, with its output in `ENGINE.txt`.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks import size
from benchmarks.environments import ROOT
from benchmarks.generated_tables import publish
from benchmarks.harness import STORE, StudyCase, parsed, positive, results, table
from benchmarks.size import Cost
from din.base.workspace import Workspace
from din.params.blocks import to_json
from din.params.reading import load

ENGINES = {"duckdb": "DuckDB", "spark": "Spark, `local[2]`"}
_EVERY_S = 0.5


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description="Measure featurize on Spark.")
    parser.add_argument("--impressions", type=positive, default=1_000_000, help="the size of the log")
    parser.add_argument("--write", action="store_true", help="write the table to docs/spark.md")
    options = parsed(parser, full={"impressions": 10_000_000})
    return publish(
        "engines" if options.write else "", lambda: engine_table(options.impressions, costs(options.impressions))
    )


def costs(impressions: int) -> dict[str, Cost]:
    """Run the missing cases on a log of this size, fetched first if need be, and return the cost of each engine."""
    fetch = StudyCase("fetch", size.cost_of_stage, (impressions, "fetch", size.code_of("fetch")))
    cases = [
        StudyCase(engine, cost_of_featurize, (impressions, engine, size.code_of("featurize"))) for engine in ENGINES
    ]
    _, *measured = results(STORE / "engines" / f"{impressions}", [fetch, *cases])
    return dict(zip(ENGINES, measured, strict=True))


def cost_of_featurize(kept: Path, impressions: int, engine: str, digest: str) -> Cost:
    """Build the features of the log in `workspace`, beside the document; see `cost_of_stage` for the digest.

    Returns:
        The cost. Its memory is that of all processes together.

    Raises:
        RuntimeError: the stage failed.
    """
    log, folder = kept.parent / "workspace", kept.parent / engine
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(log / "data/raw", folder / "data/raw", copy_function=os.link)
    params = to_json(load(log / "params.yaml"))
    params["featurize"]["engine"] = engine
    (folder / "params.yaml").write_text(json.dumps(params))
    (folder / "spark-defaults.conf").write_text("spark.master local[2]\nspark.ui.showConsoleProgress false\n")
    environment = {name: value for name, value in os.environ.items() if name != "SPARK_REMOTE"}
    environment |= {"PYTHONPATH": str(ROOT), "SPARK_CONF_DIR": str(folder), "PYSPARK_PYTHON": sys.executable}
    cpu: dict[int, float] = {}
    memory = 0
    started = time.perf_counter()
    with (kept.parent / f"{engine}.txt").open("w", encoding="utf-8") as output:
        process = psutil.Popen(
            shlex.split(size.COMMANDS["featurize"]),
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                memory = max(memory, _measure(process, cpu))
                time.sleep(_EVERY_S)
        finally:
            for member in _tree(process):
                member.kill()
    if process.returncode:
        raise RuntimeError(f"featurize failed with exit code {process.returncode}; see {output.name}")
    wall = time.perf_counter() - started
    features = sum(path.stat().st_size for path in Workspace(folder).features.rglob("*") if path.is_file())
    return Cost(wall, sum(cpu.values()), memory / 1e9, {"data/features": features / 1e9})


def engine_table(impressions: int, cost_by_engine: Mapping[str, Cost]) -> str:
    """Return the table, given the number of impressions and the cost of each engine."""
    rows = [
        [
            ENGINES[engine],
            f"{cost.cpu:.0f}",
            f"{cost.wall:.0f}",
            f"{cost.memory_gb:.1f}",
            f"{cost.disk_gb['data/features']:.2f}",
        ]
        for engine, cost in cost_by_engine.items()
    ]
    return table([f"{impressions:,} impressions", "CPU, s", "wall, s", "peak memory, GB", "features, GB"], rows)


def _measure(process: psutil.Process, cpu: dict[int, float]) -> int:
    """Update the CPU seconds by process, and return the bytes of all, with shared ones counted once."""
    memory = 0
    for member in _tree(process):
        with suppress(psutil.Error):  # it has ended
            times = member.cpu_times()
            cpu[member.pid] = times.user + times.system
            memory += member.memory_full_info().pss
    return memory


def _tree(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that it has started, directly or not."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    sys.exit(main())
