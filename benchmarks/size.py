"""Measure what each stage costs on simulated logs of growing size.

    python -m benchmarks.size --impressions 1000000 10000000 --rows 5000000 10000000

The log is that of docs/examples/month.yaml, with twenty days and twenty impressions per user. `fetch` also reads a CSV
file of ROWS events. Each stage is a process of its own and a case of the study, so an interrupted command continues.

    .din/size/IMPRESSIONS/workspace     the workspace of a log
    .din/size/IMPRESSIONS/output.txt    the output of its stages
    .din/size/csv-ROWS/                 the same for a CSV file
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from benchmarks.environments import ROOT
from benchmarks.generated_tables import publish
from benchmarks.harness import STORE, StudyCase, parsed, positive, results, table
from benchmarks.logs import MONTH, read_log
from din.base.workspace import Workspace
from din.params.blocks import to_json
from din.params.reading import Params
from din.stages import code
from din.stages.pipeline import stages_of

STUDY = STORE / "size"
DAYS = 20
PER_USER = 20
PER_ITEM = 1_000
FOLDERS = ("data/raw", "data/features", "models")
COMMANDS = {stage.name: stage.command for stage in stages_of(Workspace(ROOT)).values() if stage.name != "code"}
_STEPS = {
    "`fetch`, `featurize` and the suites of log and features": (
        "fetch",
        "validate_raw",
        "featurize",
        "validate_features",
    ),
    "`train`, an epoch": ("train",),
    "`evaluate` and `refit`": ("evaluate", "refit"),
}
_LARGER = (10**8, 10**9, 10**10)
_START_S = 1_704_067_200
_DAY_S = 86_400


class Cost(NamedTuple):
    """The cost of a stage.

    Attributes:
        wall: seconds.
        cpu: seconds, of all its processes.
        memory_gb: the peak memory of its largest process.
        disk_gb: the size of each of `FOLDERS` afterwards.
    """

    wall: float
    cpu: float
    memory_gb: float
    disk_gb: dict[str, float]


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description="Measure the stages on large logs.")
    sizes = (300_000, 1_500_000)
    parser.add_argument("--impressions", type=positive, nargs="+", default=sizes, help="the size of each log")
    rows = (1_000_000, 2_000_000)
    parser.add_argument("--rows", type=positive, nargs="+", default=rows, help="the size of each CSV file")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/results.md")
    full = {"impressions": (1_000_000, 10_000_000, 53_000_000), "rows": (5_000_000, 10_000_000)}
    options = parsed(parser, full)  # the largest log holds 10⁸ events
    return publish("size" if options.write else "", lambda: tables(options.impressions, options.rows))


def tables(impressions: Sequence[int], rows: Sequence[int]) -> str:
    """Run the missing stages on simulated logs and CSV files of these sizes, and return the tables."""
    logs = {size: costs(size) for size in impressions}
    files = {size: csv_cost(size) for size in rows}
    return f"{cost_table(logs)}\n{csv_table(files)}\n{extrapolated(*list(logs.items())[-1])}"


def costs(impressions: int) -> dict[str, Cost]:
    """Run the missing stages on a log of this size, in order, and return the cost of each."""
    stages = list(COMMANDS)
    cases = [
        StudyCase(name, cost_of_stage, (impressions, name, code_of(*stages[: n + 1]))) for n, name in enumerate(stages)
    ]
    return dict(zip(COMMANDS, results(STUDY / f"{impressions}", cases), strict=True))


def csv_cost(rows: int) -> Cost:
    """Fetch a CSV file of this size, unless that was done, and return the cost."""
    case = StudyCase("fetch", fetch_of_csv, (rows, code_of("fetch")))
    return results(STUDY / f"csv-{rows}", [case])[0]


def cost_of_stage(kept: Path, impressions: int, stage: str, digest: str) -> Cost:
    """Run a stage in the workspace beside its document, which the first stage makes.

    Other code of this or an earlier stage has another digest, so it is another case: the first stage empties the
    workspace.
    """
    workspace = kept.parent / "workspace"
    if stage == next(iter(COMMANDS)):
        log = {
            "users": impressions // PER_USER,
            "items": max(impressions // PER_ITEM, 1_000),
            "days": DAYS,
            "daily.impressions": impressions // DAYS,
        }
        values = {f"fetch.simulate.{key}": value for key, value in log.items()}
        values |= {"train.learning.epochs": 1, "train.learning.batch_size": 1_024, "promote.registry": "registry"}
        _make(workspace, values)
    return _run(stage, workspace)


def fetch_of_csv(kept: Path, rows: int, digest: str) -> Cost:
    """Fetch a CSV file with this number of events, which have six columns; see `cost_of_stage` for the digest."""
    workspace = kept.parent / "workspace"
    events = workspace / "events.csv"
    _make(workspace, {"fetch.source": "table", "fetch.table.events": str(events)})
    columns = {
        "user_id": f"hash(n) % {rows // PER_USER}",
        "item_id": f"hash(n + 1) % {rows // PER_ITEM}",
        "timestamp": f"{_START_S} + n * {DAYS * _DAY_S} // {rows}",
        "label": "CAST(hash(n + 2) % 5 = 0 AS INT)",
        "price": "hash(n + 3) % 1000 / 1000",
        "place": "'place ' || hash(n + 4) % 9",
    }
    selected = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    duckdb.sql(f"COPY (SELECT {selected} FROM range({rows}) AS t(n)) TO '{events}'")
    return _run("fetch", workspace)


def cost_table(logs: Mapping[int, Mapping[str, Cost]]) -> str:
    """Return the tables of time, memory and disk, given the cost of each stage by the number of impressions."""
    text = ""
    for title, of in (
        ("Wall time, s", lambda cost: f"{cost.wall:.0f}"),
        ("CPU time, s", lambda cost: f"{cost.cpu:.0f}"),
        ("Peak memory, GB", lambda cost: f"{cost.memory_gb:.1f}"),
    ):
        rows = [[f"`{stage}`", *(of(stages[stage]) for stages in logs.values())] for stage in COMMANDS]
        text += f"{table([title, *(f'{size:,} impressions' for size in logs)], rows)}\n"
    ends = [list(stages.values())[-1].disk_gb for stages in logs.values()]
    disk = [[f"`{name}/`", *(f"{end[name]:.2f}" for end in ends)] for name in FOLDERS]
    return text + table(["Disk, GB", *(f"{size:,} impressions" for size in logs)], disk)


def csv_table(files: Mapping[int, Cost]) -> str:
    """Return the table of `fetch`, given its cost by the number of rows of a CSV file."""
    rows = [[f"{size:,}", f"{cost.wall:.0f}", f"{1_000 * cost.memory_gb:.0f}"] for size, cost in files.items()]
    return table(["rows of CSV", "`fetch`, s", "peak memory, MB"], rows)


def extrapolated(impressions: int, costs: Mapping[str, Cost]) -> str:
    """Return a table of CPU hours and disk on larger logs, in proportion to the costs on the largest one."""
    rows = []
    for size in _LARGER:
        times = size / impressions
        hours = [times * sum(costs[stage].cpu for stage in stages) / 3600 for stages in _STEPS.values()]
        disk = times * sum(list(costs.values())[-1].disk_gb.values())
        rows.append([f"{size:,}", *(f"{value:.1f}" for value in hours), f"{disk:,.1f}"])
    title = f"**In proportion to the CPU time on {impressions:,} impressions, not measured**"
    head = ["impressions", *(f"{name}, h" for name in _STEPS), "disk, GB"]
    return f"{title}\n\n{table(head, rows)}"


def code_of(*stages: str) -> str:
    """Return a digest of all code that stages may import."""
    imports = [name for stage in stages for name in code.imports_of_command(COMMANDS[stage])]
    return code.digest(imports, [field.name for field in fields(Params)])


def _make(workspace: Path, values: Mapping[str, Any]) -> None:
    """Make a workspace with parameters by dotted key. JSON is YAML, too."""
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", workspace)
    params = read_log(MONTH, values={"data.until": None, **values})
    (workspace / "params.yaml").write_text(json.dumps(to_json(params)))


def _run(stage: str, workspace: Path) -> Cost:
    """Run a stage in a workspace.

    Raises:
        RuntimeError: the stage failed, or a suite closed on the log, which is sound. A model of one epoch may be
            refused.
    """
    output = workspace.parent / "output.txt"
    with output.open("a", encoding="utf-8") as file:
        started = time.perf_counter()
        process = subprocess.Popen(
            shlex.split(COMMANDS[stage]),
            cwd=workspace,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code and (exit_code != 3 or stage not in ("validate_predictions", "gate")):
        raise RuntimeError(f"{stage} failed with exit code {exit_code}; see {output}")
    sizes = {name: _bytes(workspace / name) / 1e9 for name in FOLDERS}
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, sizes)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
