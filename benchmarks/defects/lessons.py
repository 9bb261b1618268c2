"""Drive planted faults of learning through the gates, for docs/defects.md and the slow test.

A champion's lesson changes it little, so a small log decides on it. Two trainings from scratch differ by chance, so a
challenger needs the rows a day for which `din init` schedules one.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.daily import CHAMPION, SCRATCH
from benchmarks.defects.drive import workers
from benchmarks.defects.learning import PLANTS
from benchmarks.lessons import SOUND, Lesson, LessonLog, Site, simulated, table
from din_start.init.split import CHALLENGING

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
impressions a day, and again as a first run, without a champion. By default each fault has one start; with `--full` it
has both. The effect is the AUC of the shipped model on the next day, with 20,000 impressions, less that of the model it
would replace: the champion, or in a first run the model before the lesson. A fault is caught if the model loses two
margins or more and is not promoted. The margin is that of the sound lesson. A sound lesson must be promoted, unless its
model is certainly worse on the next day.

"""


def drive_lessons(folder: Path, full: bool = True) -> Sequence[Lesson]:
    """Learn a day without a fault and with some, continuing a champion, and from scratch in turns over some logs.

    Args:
        full: try each fault from both starts, instead of from one.
    """
    faults = list(PLANTS)
    step = 1 if full else 2
    from_scratch = faults[step - 1 :: step]
    with workers() as pool:
        continued = pool.submit(_continued, folder / "continued", faults[::step])
        challenged = [
            pool.submit(_challenged, folder / f"challenged-{seed}", seed, from_scratch[seed::_LOGS])
            for seed in range(_LOGS)
        ]
        return [lesson for done in (continued, *challenged) for lesson in done.result()]


def _continued(folder: Path, faults: Sequence[str]) -> list[Lesson]:
    return _lessons(folder, CHAMPION, simulated(folder / "log", _USERS, _IMPRESSIONS), faults)


def _challenged(folder: Path, seed: int, faults: Sequence[str]) -> list[Lesson]:
    return _lessons(folder, SCRATCH, simulated(folder / "log", _CHALLENGED, CHALLENGING, seed), faults)


def _lessons(folder: Path, start: str, log: LessonLog, faults: Sequence[str]) -> list[Lesson]:
    site = Site.prepared(folder / "site", log, (start,))
    outcomes = []
    for lesson in site.lessons(start, [PLANTS[name] for name in faults]):
        outcomes.append(lesson)
        print(table([lesson]).splitlines()[-1], flush=True)
    return outcomes


def part(lessons: Sequence[Lesson]) -> str:
    """Return the part of docs/defects.md about lessons."""
    return _HEAD + table(lessons)


def wrong(lessons: Sequence[Lesson]) -> list[str]:
    """Return the harmful lessons that were promoted, and the sound ones that were refused."""
    return [f"{lesson.what}, {lesson.run}" for lesson in lessons if lesson.is_wrong]
