"""`make warranty`: measure how often the product errs about a lesson, on simulated logs whose next day is known.

Each log has a sound lesson and a spoiled one. The faults take turns, so every observation has its own log. The
product's own stages learn and judge the lessons (`benchmarks.lessons`). Champions of three more logs live through sound
days, to see how long each stays.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.special import betaincinv

from benchmarks import study
from benchmarks.figures import publish
from benchmarks.lessons import DAY, SOUND, Lesson, Site, simulated, simulated_lessons
from din.errors import GateClosed

LOGS = 105
USERS = 1_000
IMPRESSIONS = 5
"""The impressions per user on a usual day."""
FAULTS = ("rate_5", "rate_10", "rate_20", "shuffled", "optimizer_scaled", "vocabulary")
WAITING_USERS = (250, 1_000, 5_000)
"""The users per day of the logs on which champions live."""
WAITING_DAYS = 60
WINDOW_DAYS = 14


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input, 3 = a suite is closed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warranty", description=__doc__)
    parser.add_argument("--jobs", type=study.positive, default=1, help="processes of one thread each")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/warranty.md")
    given = parser.parse_args()
    return publish("warranty" if given.write else "", lambda: tables(study.STORE / "warranty", given.jobs))


def tables(folder: Path, jobs: int) -> str:
    """Run the missing cases, and return the tables of lessons and of the time that champions stay."""
    judged = [
        study.Case(f"lessons-{seed}", lessons_of_log, (fault, seed))
        for seed, fault in zip(range(1, LOGS + 1), cycle(FAULTS), strict=False)
    ]
    waiting = [study.Case(f"waiting-{users}", wait, (users, WAITING_DAYS)) for users in WAITING_USERS]
    lessons = lesson_table(study.results(folder, judged, jobs))
    replaced = study.results(folder, waiting, jobs)
    return lessons + wait_table(dict(zip(WAITING_USERS, replaced, strict=True)))


def lessons_of_log(kept: Path, fault: str, seed: int) -> list[Lesson]:
    """Return the sound lesson of a new log and the one with a fault, or none if its first champion is refused."""
    try:
        return simulated_lessons(kept, [fault], USERS, IMPRESSIONS * USERS, seed)
    except GateClosed:
        return []


def wait(kept: Path, users: int, days: int) -> list[bool]:
    """Run sound days of a new log, one after the other, and return for each whether the champion was replaced.

    The first day to be promoted is trained from scratch. The rows of a refused day are learned and judged with the next
    ones, and every comparison with the champion spends a part of the permitted error.
    """
    with TemporaryDirectory() as place:
        log = simulated(Path(place) / "log", users, IMPRESSIONS * users, later=days)
        data = replace(log.params.data, window_days=WINDOW_DAYS)
        site = Site(Path(place), replace(log, params=replace(log.params, data=data)))
        return [not site.live(log.day + number * DAY) for number in range(days)]


def lesson_table(logs: Sequence[Sequence[Lesson]]) -> str:
    """Return the table of lessons by fault, and the rates of error, given the lessons of each log."""
    lessons = [lesson for log in logs for lesson in log]
    harmful = [lesson for lesson in lessons if lesson.harmful]
    rows = []
    for what in dict.fromkeys(lesson.what for lesson in lessons):
        own = [lesson for lesson in lessons if lesson.what == what]
        effects = [lesson.effect.point for lesson in own if lesson.effect]
        rows.append(
            [
                what,
                len(own),
                f"{np.mean(effects):+.4f}" if effects else "",
                f"{np.nanmedian([lesson.permitted for lesson in own]):.4f}",
                sum(not lesson.closed for lesson in own),
                sum(lesson.what == what for lesson in harmful),
                sum(lesson.what == what and not lesson.closed for lesson in harmful),
            ]
        )
    head = ["fault", "lessons", "true ΔAUC", "margin", "promoted", "lose ≥ 2 margins", "of these promoted"]
    harm = share([not lesson.closed for lesson in harmful])
    refused = share([bool(lesson.closed) for lesson in lessons if lesson.what == SOUND])
    first = share([not log for log in logs])
    said = f"- Harmful lessons promoted: {harm}.\n- Sound lessons refused: {refused}.\n- First runs refused: {first}.\n"
    return f"\n### Lessons of a day, {USERS:,} users\n\n{study.table(head, rows)}\n{said}"


def wait_table(logs: Mapping[int, Sequence[bool]]) -> str:
    """Return the table of how long champions stay, given the result of `wait` by the number of users per day."""
    rows = []
    for users, replaced in logs.items():
        days = stays(replaced)
        late = np.quantile(days, 0.95, method="higher")
        refused = len(replaced) - sum(replaced)
        rows.append([f"{users:,}", len(replaced), refused, f"{np.median(days):.0f}", f"{late:.0f}", max(days)])
    head = ["users a day", "sound days", "refused", "median stay of a champion, days", "95th percentile", "longest"]
    return f"\n### How long a champion stays\n\n{study.table(head, rows)}"


def stays(replaced: Sequence[bool]) -> list[int]:
    """Return how many days each champion stayed. The last stay is not over yet."""
    ends = np.flatnonzero([True, *replaced, True])  # days after which a stay begins or ends
    return [int(stay) for stay in np.diff(np.minimum(ends, len(replaced))) if stay]


def share(hits: Sequence[bool]) -> str:
    """Return a share with the upper end of its 95 % Clopper-Pearson interval."""
    if not hits:
        return "none of 0"
    events, rest = sum(hits), len(hits) - sum(hits)
    upper = betaincinv(events + 1, rest, 0.975) if rest else 1.0
    return f"{events} of {len(hits)}, at most {100 * upper:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
