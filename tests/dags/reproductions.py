"""Promote versions of a growing log, half of them by Airflow, and reproduce each one elsewhere.

    python tests/dags/reproductions.py --count 10

Each version has its own day and parameters. Its reproduction starts in an empty folder with an empty cache, and builds
the native operations anew. Each version prints one line, and the command exits 1 unless all are reproduced bit for bit.
A version takes about two minutes of CPU, or four if Airflow makes it.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1] / "pipeline"), str(Path(__file__).parents[2])]  # run as a script

from daily_log import FIRST, DailyLog, days
from local_airflow import Airflow
from workspace import ROOT, Workspace

EARLIER_DAYS = 6
WIDE_GATES = {  # each version is to be promoted, however little it learned
    "validate_predictions.min_calibration": 0.3,
    "validate_predictions.max_calibration": 3.0,
    "validate_predictions.max_log_loss_over_constant": 1.2,
    "gate.max_champion_drop": 0.5,
    "gate.max_gain": 0.5,
}
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"train.learning.seed": 2},
    {"train.model.embedding_dim": 12},
    {"train.learning.batch_size": 128},
    {"train.model.hidden": [24, 12], "train.learning.seed": 3},
)


@dataclass(frozen=True)
class Reproduction:
    """One version and its reproduction.

    Attributes:
        maker: the runner that made it, `dvc repro` or `Airflow`.
        day: the last day of its log.
        params: the parameters that differ from the committed ones.
        version: the promoted bundle, or an empty text if the run promoted none.
        origin: the place from which the reproduction had the raw log.
        code: the exit code of `din reproduce`.
        seconds: the time that it took.
        printed: the output of the command that ended it.
    """

    maker: str
    day: date
    params: dict[str, Any]
    version: str
    origin: str
    code: int
    seconds: float
    printed: str

    def __str__(self) -> str:
        result = "equal bits" if self.code == 0 else f"exit code {self.code}"
        params = json.dumps(self.params) if self.params else "as committed"
        made = f"{self.maker:9} {self.day} {self.version[:12]:12} {params}"
        return f"{made}: {result} in {self.seconds:.0f} s, {self.origin}"


def reproductions(root: Path, count: int) -> Iterator[Reproduction]:
    """Promote `count` versions by Airflow and `dvc repro` in turn, and reproduce each right after its promotion.

    Airflow comes first on each day, so the raw log of its version is in the scheduler's remote alone.
    """
    for name in ("log", "repository", "home"):
        (root / name).mkdir()
    ends = days(FIRST, EARLIER_DAYS + (count + 1) // 2)
    log = DailyLog(root / "log", len(ends))
    for day in ends[:EARLIER_DAYS]:
        log.land(day)
    repository = log.repository(root / "repository", WIDE_GATES)
    committed = (repository.root / "params.yaml").read_text()
    airflow = Airflow(root / "home", repository.root)
    airflow.prepare()
    for number in range(count):
        day = ends[EARLIER_DAYS + number // 2]
        if number % 2 == 0:
            log.land(day)
        params = VARIANTS[number % len(VARIANTS)]
        maker = "dvc repro" if number % 2 else "Airflow"
        (repository.root / "params.yaml").write_text(committed)
        before = _promotions(repository)
        made = _by_dvc(repository, day, params) if number % 2 else _by_airflow(airflow, day, params)
        records = _promotions(repository)
        if records == before:
            yield Reproduction(maker, day, params, "", "nothing was promoted", 1, 0.0, made)
        else:
            yield _reproduced(repository, root / f"elsewhere-{number}", maker, day, params, records)


def _promotions(repository: Workspace) -> list[dict[str, Any]]:
    """Return the records of the registry."""
    paths = sorted((repository.root / "registry" / "table" / "promotions").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def _by_dvc(repository: Workspace, day: date, params: dict[str, Any]) -> str:
    """Run the pipeline and promote, as a person does, and return the output."""
    repository.set({"data.until": day.isoformat(), **params})
    printed = ""
    for command in (("dvc", "repro"), ("din", "promote")):
        done = repository.run(*command, PYTHONPATH=str(repository.root))
        printed += done.stdout + done.stderr
    return printed


def _by_airflow(airflow: Airflow, day: date, params: dict[str, Any]) -> str:
    """Run the DAG, and return its output."""
    form = {"until": day.isoformat(), "overrides": params}
    done = airflow.run("dags", "test", "din_ctr", "--conf", json.dumps(form))
    return done.stdout + done.stderr


def _reproduced(
    repository: Workspace,
    elsewhere: Path,
    maker: str,
    day: date,
    params: dict[str, Any],
    records: list[dict[str, Any]],
) -> Reproduction:
    """Reproduce the newest promotion in a new folder."""
    elsewhere.mkdir()
    registry = str(repository.root / "registry")
    command = ("din", "reproduce", str(len(records)), "--registry", registry, "--repository", str(repository.root))
    start = time.monotonic()
    done = Workspace.at(elsewhere).run(*command, PYTHONPATH=str(ROOT), XDG_CACHE_HOME=str(elsewhere / "cache"))
    seconds = time.monotonic() - start
    found = re.search(r"data/raw: equal, from (.*)", done.stdout)
    place = found[1].removeprefix(f"{repository.root}/") if found else "nowhere"
    origin = f"raw log from {place}"
    version = records[-1]["version"]
    return Reproduction(maker, day, params, version, origin, done.returncode, seconds, done.stdout + done.stderr)


def main() -> None:
    """Parse the arguments, promote and reproduce, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10)
    options = parser.parse_args()
    equal = 0
    with tempfile.TemporaryDirectory() as folder:
        for found in reproductions(Path(folder), options.count):
            equal += found.code == 0
            print(found, flush=True)
            if found.code:
                print(found.printed[-4000:], flush=True)
    print(f"{equal} of {options.count} reproduced bit for bit")
    sys.exit(equal != options.count)


if __name__ == "__main__":
    main()
