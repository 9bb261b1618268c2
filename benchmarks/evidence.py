"""`make evidence`: measure every generated table, and write it into its page.

    make evidence                              an hour on two cores, at sizes that still decide
    make evidence ARGS=--full                  the largest sizes: a night and a day
    make evidence DATA=logs                    with the real logs that `python -m benchmarks.prepared` makes in logs/
    make evidence ARGS="--only month size"     these tables alone

`bench` and `serving` measure time, so each runs alone, on a machine that should do nothing else. The others run two at
a time, each on one core. A table that fails does not stop the others. An interrupted command continues: it leaves
tables that name today's commit and the same command, and most commands keep their finished cases.

    .din/evidence/NAME.txt    the output of each command
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.environments import ROOT, InstallError, python_of
from benchmarks.generated_tables import CHANGED, TABLES, commit
from benchmarks.harness import STORE

OUTPUT = STORE / "evidence"
_RUNS = (".din/runs/movielens-100k", ".din/runs/simulated")
_MONTH = ("data.until=2024-02-12", "data.window_days=14", "fetch.simulate.daily.impressions=10000")


@dataclass(frozen=True)
class Step:
    """A command that writes a generated table.

    Attributes:
        name: the name of the table, or "runs" for what other steps read.
        module: the module to run.
        arguments: its arguments, beside those of the attributes below.
        alone: whether it measures time, so that nothing may run beside it.
        full: whether it has an option `--full`.
        data: when it reads prepared logs; if they are "needed", it can do nothing without them.
        needs_java: whether it runs Spark.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ("--write",)
    alone: bool = False
    full: bool = True
    data: Literal["never", "full", "always", "needed"] = "never"
    needs_java: bool = False

    def line(self, full: bool, data: Path | None) -> list[str]:
        """Return the arguments of the command."""
        sizes = ["--full"] if full and self.full else []
        reads = self.data in ("always", "needed") or (self.data == "full" and full)
        logs = ["--data", str(data.resolve())] if data and reads else []
        return [*self.arguments, *sizes, *logs]


PLAN = (
    Step("runs", "benchmarks.runs", (), full=False),
    Step("bench", "benchmarks", alone=True),
    Step("serving", "benchmarks.serving", ("--registry", f"{_RUNS[0]}/registry", "--write"), alone=True),
    Step("defects", "benchmarks.defects.page", ()),
    Step("warranty", "benchmarks.warranty"),
    Step("quality", "benchmarks.quality", data="always"),
    Step(
        "kuairand",
        "benchmarks.prequential",
        data="needed",
        arguments=("docs/examples/kuairand-pure-prepared.yaml", "--write", "docs/daily.md"),
    ),
    Step("tuned", "benchmarks.tuned", data="full"),
    Step("ablation", "benchmarks.ablation", data="full"),
    Step("blend", "benchmarks.blend", data="always"),
    Step("drifts", "benchmarks.drifts"),
    Step("month", "benchmarks.month", full=False),
    Step("size", "benchmarks.size"),
    Step(
        "four-ways",
        "benchmarks.prequential",
        ("docs/examples/month.yaml", "--set", *_MONTH, "--write", "docs/simulated-logs.md"),
    ),
    Step("rates", "benchmarks.lessons", full=False, data="full"),
    Step("engines", "benchmarks.engines", needs_java=True),
    Step("attention", "benchmarks.attention", (*_RUNS, "--write"), full=False),
)
"""The steps. Those that don't run alone are in order of their time, the longest first."""


def main() -> int:
    """Measure the tables and return the exit code: 0 = all are written or left, 1 = a command failed, 2 = bad usage."""
    options = _options()
    began = time.monotonic()
    runs, *tables = PLAN
    asked = [step for step in tables if not options.only or step.name in options.only]
    todo = []
    for step in asked:
        if reason := left(step, options):
            print(f"{step.name}: left as it is: {reason}", flush=True)
        else:
            todo.append(step)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    alone = [step for step in todo if step.alone]
    others = [step for step in todo if not step.alone]
    if any(path in step.arguments or f"{path}/registry" in step.arguments for step in todo for path in _RUNS):
        alone.insert(0, runs)
    try:
        failed = [step.name for step in alone if not measured(step, options)] + _two_at_a_time(others, options)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    minutes = (time.monotonic() - began) / 60
    print(f"{len(todo)} tables in {minutes:.0f} minutes; failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def left(step: Step, options: argparse.Namespace) -> str | None:
    """Return why a table is not measured, or None if it is."""
    if step.data == "needed" and not options.data:
        return "its log must be prepared: DATA=FOLDER, as docs/public-logs.md says"
    if step.needs_java and not shutil.which("java"):
        return "Spark needs a Java runtime, such as `apt install openjdk-17-jre-headless`"
    table = TABLES[step.name]
    now = table.line(step.line(options.full, options.data)), commit()
    origin = table.parts().origin
    if not options.only and origin and origin.group("command", "commit") == now and not now[1].endswith(CHANGED):
        return f"it was measured at this commit; --only {step.name} measures it again"
    return None


def measured(step: Step, options: argparse.Namespace) -> bool:
    """Run a step, print a line about it, and return whether it succeeded."""
    began = time.monotonic()
    output = OUTPUT / f"{step.name}.txt"
    try:
        python = python_of("spark") if step.needs_java else sys.executable
        line = [python, "-m", step.module, *step.line(options.full, options.data)]
        environment = os.environ | {"PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}  # for `din`
        with output.open("w", encoding="utf-8") as file:
            code = subprocess.run(line, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT).returncode
        outcome = f"failed with exit code {code}; see {output.relative_to(ROOT)}" if code else "done"
    except InstallError as error:
        code, outcome = 1, f"failed, because its environment can't be installed: {error}"
    print(f"{step.name}: {(time.monotonic() - began) / 60:.1f} minutes, {outcome}", flush=True)
    return code == 0


def _two_at_a_time(steps: Sequence[Step], options: argparse.Namespace) -> list[str]:
    """Run steps on two cores, one core each, and return the names of those that failed."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    pool = ThreadPoolExecutor(len(cores), initializer=lambda: os.sched_setaffinity(0, {cores.pop()}))
    futures = {pool.submit(measured, step, options): step.name for step in steps}
    try:
        return [futures[done] for done in as_completed(futures) if not done.result()]
    finally:
        pool.shutdown(cancel_futures=True)  # start no further step after Ctrl-C


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [step.name for step in PLAN[1:]]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"these tables: {', '.join(names)}")
    parser.add_argument("--full", action="store_true", help="the largest sizes, which take many hours")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the folder of the prepared logs (DATA= of make)")
    options = parser.parse_args()
    if options.data and not options.data.is_dir():
        parser.error(f"--data {options.data}: expected the folder of the prepared logs")
    return options


if __name__ == "__main__":
    sys.exit(main())
