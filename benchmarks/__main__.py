"""`make bench`: measure all contestants in turns on the same rows, and print the tables. `--help` lists the options.

Each measurement is a process of its own, pinned to its cores. Contestants take `--repeats` turns and each keeps its
best, so that a minute of other load on the machine does not hit one contestant alone.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arguments import positive
from benchmarks.checks import check_factors, check_share, check_training
from benchmarks.environments import HOME, PEERS, ROOT, InstallError, python_of
from benchmarks.figures import TABLES, machine, publish
from benchmarks.measure import MARK, command
from benchmarks.report import OURS, markdown, merge
from benchmarks.rows import EPOCH_ROWS, WORKLOADS, Workload

VOCABULARIES = (10_000, 100_000, 1_000_000, 10_000_000)


def main() -> int:
    """Measure, refuse results that can't be right, print and write the tables, and return the exit code."""
    options = _options()

    def checked() -> str:
        text = markdown(measured(options))
        if options.rows == WORKLOADS[0].rows:  # fixed costs, which peers have more of, weigh more on fewer rows
            check_factors(text, TABLES["bench"].parts().tables)
        return text

    return publish("bench" if options.write else "", checked)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results; each is saved to the JSON file at once, so that a failure loses nothing.

    Raises:
        InputError: one can't be right.
    """
    results: dict[str, Any] = {"machine": machine(), "runs": {}}
    pythons: dict[str, str] = {}
    for peer in options.peers:
        try:
            pythons[peer] = python_of(peer)
        except InstallError as error:
            results.setdefault("not_installed", {})[peer] = str(error)
            print(f"{peer} can't be installed:\n{error}", flush=True)
    workloads = [replace(workload, rows=options.rows) for workload in WORKLOADS]
    for cores in options.cores:
        for workload in workloads:
            runs = results["runs"].setdefault(f"{workload.name}, {cores} core{'s' * (cores > 1)}", {})
            for _ in range(options.repeats):
                for name, line in _commands(pythons, workload, cores).items():
                    what = f"{name}, {workload.name}, {cores} core(s)"
                    found = _run(line, what, cores)
                    runs[name] = merge(runs.get(name), found)
                    _save(results, options.results)
                    if "error" not in found:
                        check_training(what, found, workload.rows)
            if "error" not in runs[OURS]:
                check_share(f"{workload.name}, {cores} core(s)", runs[OURS])
    if options.vocabularies:
        for size in VOCABULARIES:
            line = command(sys.executable, "benchmarks.ours:step_ms", replace(workloads[0], items=size), 1)
            results.setdefault("vocabulary", {})[str(size)] = _run(line, f"vocabulary of {size:,}", 1)
            _save(results, options.results)
    if options.full_epoch:
        line = command(sys.executable, "benchmarks.ours:train_stage", replace(WORKLOADS[1], rows=EPOCH_ROWS), 1)
        results["full_epoch"] = _run(line, f"an epoch of {EPOCH_ROWS:,} impressions", 1)
        _save(results, options.results)
    return results


def _commands(pythons: dict[str, str], workload: Workload, cores: int) -> dict[str, list[str]]:
    ours = {OURS: command(sys.executable, "benchmarks.ours:build", workload, cores)}
    return ours | {p: command(python, f"benchmarks.peers.{p}:build", workload, cores) for p, python in pythons.items()}


def _run(line: list[str], what: str, cores: int) -> dict[str, Any]:
    """Run one process and return its result, or `{"error"}`."""
    print(f"measuring {what}", flush=True)
    threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with TemporaryDirectory() as folder:  # holds its rows, logs and checkpoints, and is removed even if it is killed
        own = threads | {"TMPDIR": folder}
        done = subprocess.run(line, cwd=ROOT, env=os.environ | own, capture_output=True, text=True)
    found = next((text for text in done.stdout.splitlines() if text.startswith(MARK)), None)
    if found is not None:
        return json.loads(found.removeprefix(MARK))
    error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    print(f"  failed: {error}", flush=True)
    return {"error": error}


def _save(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=positive, default=20_000, help="impressions of a workload")
    parser.add_argument("--repeats", type=positive, default=2, help="turns of each contestant")
    parser.add_argument(
        "--cores",
        type=positive,
        nargs="+",
        default=[1, 2],
        help="one table for each of these numbers of cores",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        default=list(PEERS),
        choices=list(PEERS),
        help="the peers to measure, by default all; --peers without names measures none",
    )
    parser.add_argument(
        "--no-vocabularies", dest="vocabularies", action="store_false", help="skip the step times by table size"
    )
    parser.add_argument(
        "--no-full-epoch", dest="full_epoch", action="store_false", help="skip the epoch of 2.6 M impressions"
    )
    parser.add_argument("--results", type=Path, default=HOME / "results.json", help="write all figures to this file")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    if (short := next((w for w in WORKLOADS if options.rows % w.batch == 1), None)) is not None:
        parser.error(f"--rows {options.rows}: the peers fail on a last batch of one row (batches of {short.batch})")
    return options


if __name__ == "__main__":
    sys.exit(main())
