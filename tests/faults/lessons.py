"""Drive planted faults of learning through the gates, for docs/defects.md and the slow test.

A champion's lesson changes it little, so a small log decides on it. Two trainings from scratch differ by chance, so a
challenger needs the rows a day for which `din init` schedules one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.daily import CHAMPION, SCRATCH
from benchmarks.lessons import SOUND, Lesson, Site, simulated, table
from din.init.split import CHALLENGING
from tests.faults.learning import PLANTS

__all__ = ["SOUND", "drive_lessons", "part", "wrong"]
_USERS, _IMPRESSIONS = 1_200, 2_000
_CHALLENGED = 4_000
"""The users of a log with a challenger."""
_LOGS = 3
"""The number of logs with a challenger."""
_HEAD = f"""
## Lessons

A day is learned with a fault. A champion continues in a log of {_USERS:,} users with {_IMPRESSIONS:,} impressions a
day. A challenger from scratch is tried in each of {_LOGS} logs of {_CHALLENGED:,} users with {CHALLENGING:,}
impressions a day, and again as a first run, without a champion. The effect is on the next day, with 20,000 impressions:
the AUC of the shipped model less that of the model it would replace: the champion, or in a first run the model before
the lesson. A fault is caught if the model loses two margins or more and is not promoted. The margin is that of the
sound lesson.

"""


def drive_lessons(folder: Path, full: bool = True) -> Sequence[Lesson]:
    """Learn a day without a fault and with each, continuing a champion, and from scratch in turns over some logs.

    Args:
        full: try every fault from scratch too, instead of every second one.
    """
    found = []
    for lesson in _lessons(folder, 1 if full else 2):
        found.append(lesson)
        print(table([lesson]).splitlines()[-1], flush=True)
    return found


def _lessons(folder: Path, step: int) -> Iterator[Lesson]:
    site = Site.prepared(folder / "daily", simulated(folder / "log", _USERS, _IMPRESSIONS), (CHAMPION,))
    yield from site.lessons(CHAMPION, PLANTS.values())
    for seed in range(_LOGS):
        log = simulated(folder / f"log-{seed}", _CHALLENGED, CHALLENGING, seed)
        site = Site.prepared(folder / f"challenger-{seed}", log, (SCRATCH,))
        yield from site.lessons(SCRATCH, list(PLANTS.values())[seed :: step * _LOGS])


def part(lessons: Sequence[Lesson]) -> str:
    """Return the part of docs/defects.md about lessons."""
    return _HEAD + table(lessons)


def wrong(lessons: Sequence[Lesson]) -> list[str]:
    """Return the harmful lessons that were promoted, and the sound ones that were refused."""
    return [f"{lesson.what}, {lesson.run}" for lesson in lessons if lesson.is_wrong]
