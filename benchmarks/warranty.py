"""`make warranty`: measure how often the product errs about a lesson, on simulated logs whose next day is known.

Each log has a sound lesson and a spoiled one. The faults take turns, so every observation has its own log. The
product's own stages learn and judge the lessons (`benchmarks.lessons`).
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from scipy.special import betaincinv

from benchmarks import harness
from benchmarks.generated_tables import publish
from benchmarks.lessons import SOUND, Lesson, simulated_lessons
from din.base.errors import GateClosed

LOGS = 15
USERS = 1_000
IMPRESSIONS = 5
"""The impressions per user on a usual day."""
FAULTS = ("rate_5", "rate_10", "rate_20", "shuffled", "optimizer_scaled", "vocabulary")


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input, 3 = a suite is closed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warranty", description=__doc__)
    parser.add_argument("--logs", type=harness.positive, default=LOGS, help="new logs, by default %(default)s")
    parser.add_argument("--jobs", type=harness.positive, default=1, help="processes of one thread each")
    parser.add_argument("--write", action="store_true", help="write the table to docs/results.md")
    options = harness.parsed(parser, full={"logs": 105})
    return publish(
        "warranty" if options.write else "", lambda: table(harness.STORE / "warranty", options.logs, options.jobs)
    )


def table(folder: Path, logs: int, jobs: int) -> str:
    """Run the missing cases, and return the table of the lessons of this many logs."""
    cases = [
        harness.StudyCase(f"lessons-{seed}", lessons_of_log, (fault, seed))
        for seed, fault in zip(range(1, logs + 1), cycle(FAULTS), strict=False)
    ]
    return lesson_table(harness.results(folder, cases, jobs))


def lessons_of_log(kept: Path, fault: str, seed: int) -> list[Lesson]:
    """Return the sound lesson of a new log and the one with a fault, or none if its first champion is refused."""
    try:
        return simulated_lessons(kept, [fault], USERS, IMPRESSIONS * USERS, seed)
    except GateClosed:
        return []


def lesson_table(logs: Sequence[Sequence[Lesson]]) -> str:
    """Return the table of lessons by fault, and the rates of error, given the lessons of each log."""
    lessons = [lesson for log in logs for lesson in log]
    rows = []
    for what in dict.fromkeys(lesson.what for lesson in lessons):
        of_fault = [lesson for lesson in lessons if lesson.what == what]
        spoiled = [lesson for lesson in of_fault if lesson.harmful]
        effects = [lesson.effect.point for lesson in of_fault if lesson.effect]
        rows.append(
            [
                what,
                len(of_fault),
                f"{np.mean(effects):+.4f}" if effects else "",
                f"{np.nanmedian([lesson.permitted for lesson in of_fault]):.4f}",
                sum(not lesson.closed for lesson in of_fault),
                len(spoiled),
                sum(not lesson.closed for lesson in spoiled),
            ]
        )
    head = ["fault", "lessons", "true ΔAUC", "margin", "promoted", "lose ≥ 2 margins", "of these promoted"]
    harm = share([not lesson.closed for lesson in lessons if lesson.harmful])
    refused = share([bool(lesson.closed) for lesson in lessons if lesson.what == SOUND])
    first = share([not log for log in logs])
    said = f"- Harmful lessons promoted: {harm}.\n- Sound lessons refused: {refused}.\n- First runs refused: {first}.\n"
    return f"{harness.table(head, rows)}\n{said}"


def share(hits: Sequence[bool]) -> str:
    """Return a share with the upper end of its 95 % Clopper-Pearson interval."""
    if not hits:
        return "none of 0"
    events, rest = sum(hits), len(hits) - sum(hits)
    upper = betaincinv(events + 1, rest, 0.975) if rest else 1.0
    return f"{events} of {len(hits)}, at most {100 * upper:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
