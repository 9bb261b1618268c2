"""Drive every planted fault of learning through the gates, for docs/defects.md and the slow test."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.lessons import SOUND, STARTS, Lesson, Site, simulated, table
from tests.faults.learning import PLANTS

__all__ = ["SOUND", "drive_lessons", "missed", "part"]
_HEAD = """
## Lessons

A day is learned with a fault, in a log of 1,200 users with 2,000 impressions a day. The effect is on the next day, with
20,000 impressions: the AUC of the shipped model less that of the model before the lesson. A fault is caught if the
model loses two margins or more and is not promoted. The margin is that of the sound lesson.

"""


def drive_lessons(folder: Path) -> Sequence[Lesson]:
    """Learn a day without a fault and with each, from every start."""
    site = Site.prepared(folder / "site", simulated(folder / "log", users=1200, impressions=2000))
    found = []
    for start in STARTS:
        for lesson in site.lessons(start, PLANTS.values()):
            found.append(lesson)
            print(table([lesson]).splitlines()[-1], flush=True)
    return found


def part(lessons: Sequence[Lesson]) -> str:
    """Return the part of docs/defects.md about lessons."""
    return _HEAD + table(lessons)


def missed(lessons: Sequence[Lesson]) -> list[str]:
    """Return the harmful lessons that were promoted."""
    return [f"{lesson.what}, {lesson.run}" for lesson in lessons if lesson.verdict == "MISSED"]
