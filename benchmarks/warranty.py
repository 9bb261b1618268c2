"""`make warranty`: measure how often the product errs about a lesson, on simulated logs whose next day is known.

Sound and spoiled lessons of many logs are learned and judged by the product's own stages (`benchmarks.lessons`). And
champions live through sound days, to see how long each stays.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.special import betaincinv

from benchmarks import study
from benchmarks.daily import CHAMPION
from benchmarks.figures import publish
from benchmarks.lessons import DAY, Lesson, Site, simulated, simulated_lessons

LOGS = 100
USERS = 1_000
IMPRESSIONS = 5
"""The impressions per user on a usual day."""
FAULTS = ("rate_5", "rate_10", "rate_20", "shuffled", "optimizer_scaled", "vocabulary")
WAITING_LOGS = {250: 4, 1_000: 2, 5_000: 1}
"""The number of logs, by the number of users per day."""
WAITING_DAYS = 60


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input, 3 = a suite is closed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warranty", description=__doc__)
    parser.add_argument("--jobs", type=study.positive, default=1, help="processes of one thread each")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/warranty.md")
    given = parser.parse_args()
    return publish("warranty" if given.write else "", lambda: tables(study.STORE / "warranty", given.jobs))


def tables(folder: Path, jobs: int) -> str:
    """Run the missing cases, and return the tables of lessons and of the time that champions stay."""
    lessons = [
        study.Case(f"lessons-{seed}", simulated_lessons, (FAULTS, USERS, IMPRESSIONS * USERS, seed))
        for seed in range(1, LOGS + 1)
    ]
    waiting = [
        (users, study.Case(f"waiting-{users}-{seed}", wait, (users, seed, WAITING_DAYS)))
        for users, logs in WAITING_LOGS.items()
        for seed in range(1, logs + 1)
    ]
    judged = lesson_table(study.results(folder, lessons, jobs))
    replaced = study.results(folder, [case for _, case in waiting], jobs)
    return judged + wait_table([(users, days) for (users, _), days in zip(waiting, replaced, strict=True)])


def wait(kept: Path, users: int, seed: int, days: int) -> list[bool]:
    """Run sound days of a new log, one after the other, and return for each whether the champion was replaced.

    The rows of a refused day are learned and judged with the next ones, and every comparison with the champion spends a
    part of the permitted error.
    """
    with TemporaryDirectory() as place:
        log = simulated(Path(place) / "log", users, IMPRESSIONS * users, seed, later=days)
        site = Site.prepared(Path(place) / "site", log, (CHAMPION,))
        return [not site.live(log.day + number * DAY) for number in range(days)]


def lesson_table(logs: Sequence[Sequence[Lesson]]) -> str:
    """Return the table of lessons and the rates of error. Each log has the sound lesson first, then equal faults."""
    rows = []
    for own in zip(*logs, strict=True):
        effects = [one.effect.point for one in own if one.effect]
        harmful = [one for one in own if one.harmful]
        rows.append(
            [
                own[0].what,
                len(own),
                f"{np.mean(effects):+.4f}" if effects else "",
                f"{np.nanmedian([one.permitted for one in own]):.4f}",
                f"{100 * np.mean([not one.closed for one in own]):.0f} %",
                len(harmful),
                sum(not one.closed for one in harmful),
            ]
        )
    harm = _share([not one.closed for own in logs for one in own if one.harmful], len(logs))
    sound = _share([bool(own[0].closed) for own in logs], len(logs))
    head = ["fault", "logs", "true ΔAUC", "margin", "promoted", "lose ≥ 2 margins", "of these promoted"]
    said = f"- {len(logs)} logs: harmful lessons promoted {harm}; sound refused {sound}\n"
    return f"\n### Lessons of a day, {USERS:,} users\n\n{study.table(head, rows)}\n{said}"


def wait_table(found: Sequence[tuple[int, list[bool]]]) -> str:
    """Return the table of how long champions stay, given the users per day and the result of `wait` for each log."""
    rows = []
    for users in sorted({users for users, _ in found}):
        logs = [replaced for own, replaced in found if own == users]
        days = [stay for replaced in logs for stay in stays(replaced)]
        refused = 100 * (1 - np.mean(np.concatenate(logs)))
        late = np.quantile(days, 0.95, method="higher")
        rows.append(
            [f"{users:,}", len(logs), len(days), f"{np.median(days):.0f}", f"{late:.0f}", max(days), f"{refused:.0f} %"]
        )
    head = ["users a day", "logs", "champions", "median stay, days", "95th percentile", "longest", "days refused"]
    return f"\n### How long a champion stays, in {len(found[0][1])} sound days\n\n{study.table(head, rows)}"


def stays(replaced: Sequence[bool]) -> list[int]:
    """Return how many days each champion stayed. The last stay is not over yet."""
    ends = np.flatnonzero([True, *replaced, True])  # days after which a stay begins or ends
    return [int(stay) for stay in np.diff(np.minimum(ends, len(replaced))) if stay]


def _share(hits: Sequence[bool], logs: int) -> str:
    """Return a share with the upper end of its 95 % Clopper-Pearson interval, with one observation per log.

    Lessons of one log are not independent, so the interval is that of `logs` observations.
    """
    if not hits:
        return "none of 0"
    events = float(np.mean(hits)) * logs
    upper = betaincinv(events + 1, logs - events, 0.975) if events < logs else 1.0
    return f"{sum(hits)} of {len(hits)}, {100 * events / logs:.1f} %, at most {100 * upper:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
