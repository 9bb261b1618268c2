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
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.checks import check_factors, check_share, check_training
from benchmarks.environments import HOME, PEERS, ROOT, InstallError, python_of
from benchmarks.generated_tables import TABLES, publish
from benchmarks.harness import parsed, positive
from benchmarks.measure import MARK, command
from benchmarks.report import OURS, markdown, merge
from benchmarks.workload import EPOCH_ROWS, WORKLOADS, Workload


def main() -> int:
    """Measure, refuse impossible results, print the tables, write them if asked to, and return the exit code."""
    options = _options()

    def checked() -> str:
        text = markdown(measured(options))
        if options.rows == WORKLOADS[0].rows:  # with fewer rows, the peers' higher fixed costs weigh more
            check_factors(text, TABLES["bench"].parts().tables)
        return text

    return publish("bench" if options.write else "", checked)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results. Each one is saved to results.json immediately, so that a failure loses nothing.

    Raises:
        InputError: a result is impossible.
    """
    results: dict[str, Any] = {"runs": {}}
    workloads = [replace(workload, rows=options.rows) for workload in WORKLOADS]
    for cores in options.cores:
        for workload in workloads:
            place = f"{workload.name}, {cores} core{'s' * (cores > 1)}"
            runs = results["runs"].setdefault(place, {})
            for _ in range(options.repeats):
                for name in (OURS, *options.peers):
                    result = _run(name, "build", workload, cores)
                    runs[name] = merge(runs.get(name), result)
                    _save(results)
                    if "error" not in result:
                        check_training(f"{name}, {place}", result, workload.rows)
            if "error" not in runs[OURS]:
                check_share(place, runs[OURS])
    if options.full_epoch:
        results["full_epoch"] = _run(OURS, "train_stage", replace(WORKLOADS[1], rows=EPOCH_ROWS), 1)
        _save(results)
    return results


def _run(name: str, function: str, workload: Workload, cores: int) -> dict[str, Any]:
    """Run a contestant's function in a separate process, and return its result, or `{"error"}`."""
    print(f"measuring {name}, {workload.name}, {workload.rows:,} rows, {cores} core(s)", flush=True)
    try:
        python = sys.executable if name == OURS else python_of(name)
    except InstallError as error:
        return {"error": f"it can't be installed: {error}"}
    module = "benchmarks.ours" if name == OURS else f"benchmarks.peers.{name}"
    return run(command(python, f"{module}:{function}", workload, cores), cores)


def run(line: list[str], cores: int) -> dict[str, Any]:
    """Run a command of `benchmarks.measure`, and return its result, or `{"error"}`."""
    threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with TemporaryDirectory() as folder:  # for its rows, logs and checkpoints; removed even if the process is killed
        environment = threads | {"TMPDIR": folder}
        done = subprocess.run(line, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    result = next((text for text in done.stdout.splitlines() if text.startswith(MARK)), None)
    if result is not None:
        return json.loads(result.removeprefix(MARK))
    error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    print(f"  failed: {error}", flush=True)
    return {"error": error}


def _save(results: dict[str, Any]) -> None:
    HOME.mkdir(exist_ok=True)
    (HOME / "results.json").write_text(json.dumps(results, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=positive, default=20_000, help="impressions of a workload")
    parser.add_argument("--repeats", type=positive, default=2, help="turns of each contestant")
    parser.add_argument("--cores", type=positive, nargs="+", default=[1], help="one table for each number of cores")
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=PEERS, help="default: all; no name: none")
    parser.add_argument("--full-epoch", action="store_true", help="also train an epoch of 2.6 M impressions")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    options = parsed(parser, full={"repeats": 3, "full_epoch": True})
    if (short := next((w for w in WORKLOADS if options.rows % w.batch == 1), None)) is not None:
        parser.error(f"--rows {options.rows}: the peers fail on a last batch of one row (batches of {short.batch})")
    return options


if __name__ == "__main__":
    sys.exit(main())
