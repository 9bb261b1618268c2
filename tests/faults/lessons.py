"""Drive every planted fault of learning through the gates, for docs/defects.md and the slow test."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.lessons import STARTS, Lesson, Site, simulated, table
from tests.faults.learning import PLANTS

SOUND = "none"
_HEAD = """
## Lessons

A day is learned with a fault, in a log of 1,200 users with 2,000 impressions a day. The effect is on the next day, with
20,000 impressions: the AUC of the shipped model less that of the model before the lesson. A fault is caught if the
model loses two margins or more and is not promoted. The margin is that of the sound lesson.

"""


def drive_lessons(folder: Path) -> Sequence[Lesson]:
    """Learn a day without a fault and with each, from every start."""
    log = simulated(folder / "log", users=1200, impressions=2000)
    site = Site.prepared(folder / "site", log.params, log.day)
    found = []
    for start in STARTS:
        sound = site.judge(start)
        permitted = {one.run: one.margin for one in sound}
        for what, judged in [(SOUND, sound), *((plant.what, site.judge(start, plant)) for plant in PLANTS.values())]:
            found += [Lesson(what, one, permitted[one.run]) for one in judged]
            print(table(found[-len(judged) :]).splitlines()[-1], flush=True)
    return found


def part(lessons: Sequence[Lesson]) -> str:
    """Return the part of docs/defects.md about lessons."""
    return _HEAD + table(lessons)


def missed(lessons: Sequence[Lesson]) -> list[str]:
    """Return the harmful lessons that were promoted."""
    return [f"{lesson.what}, {lesson.judged.run}" for lesson in lessons if lesson.verdict == "MISSED"]
