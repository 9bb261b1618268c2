"""Let the pipeline run on sound days of simulated logs, to see how long each champion stays.

    python -m benchmarks.waiting --users 250 1000

The first day to be promoted is trained from scratch, and every later one continues the champion. A refused day is
learned and judged with the next ones, and every comparison with the champion spends a part of the permitted error. Each
day is a case of a study, so an interrupted command continues.

    .din/waiting/USERS/log, live, registry     the log, the workspace and the registry of a log
    .din/waiting/USERS/output.txt              the output of the stages
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.generated_tables import publish
from benchmarks.lessons import DAY, Site, simulated

USERS = (250, 1_000, 5_000)
"""The users per day of each log."""
IMPRESSIONS = 5
"""The impressions per user on a usual day."""
DAYS = 60
WINDOW_DAYS = 14


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description="See how long champions stay.")
    parser.add_argument("--users", type=harness.positive, nargs="+", default=USERS, help="users per day of each log")
    given = parser.parse_args()
    return publish("", lambda: stay_table({users: lived(users) for users in given.users}))


def lived(users: int) -> list[bool]:
    """Run the missing days of a log, in order, and return for each whether it replaced the champion."""
    cases = [harness.StudyCase(f"day-{number}", replaced, (users, number)) for number in range(DAYS)]
    return harness.results(harness.STORE / "waiting" / f"{users}", cases)


def replaced(kept: Path, users: int, number: int, seed: int = 0) -> bool:
    """Run the pipeline on a day of a log, counted from 0, and return whether the champion was replaced."""
    folder = kept.parent
    if number == 0:
        for name in ("live", "registry"):
            shutil.rmtree(folder / name, ignore_errors=True)
    log = simulated(folder / "log", users, IMPRESSIONS * users, seed, later=DAYS)
    data = replace(log.params.data, window_days=WINDOW_DAYS)
    gate = replace(log.params.gate, max_latency_ms=None)  # a busy machine is no fault of a day
    site = Site(folder, replace(log, params=replace(log.params, data=data, gate=gate)))
    return not site.live(log.day + number * DAY)


def stay_table(logs: Mapping[int, Sequence[bool]]) -> str:
    """Return the table of how long champions stay, given by users per day whether each day replaced the champion."""
    rows = []
    for users, days in logs.items():
        stay = stays(days)
        late = np.quantile(stay, 0.95, method="higher")
        refused = len(days) - sum(days)
        rows.append([f"{users:,}", len(days), refused, f"{np.median(stay):.0f}", f"{late:.0f}", max(stay)])
    return harness.table(
        ["users a day", "sound days", "refused", "median stay of a champion, days", "95th percentile", "longest"], rows
    )


def stays(days: Sequence[bool]) -> list[int]:
    """Return how many days each champion stayed, given whether each day replaced it. The last stay is not over yet."""
    ends = np.flatnonzero([True, *days, True])  # days after which a stay begins or ends
    return [int(stay) for stay in np.diff(np.minimum(ends, len(days))) if stay]


if __name__ == "__main__":
    sys.exit(main())
