"""The warranty of lessons: its shares expose a wrong rule and a wrong truth."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.lessons import DAY, SOUND, Lesson, Site, simulated, simulated_lessons
from benchmarks.warranty import lesson_table, stays, wait_table
from din.metrics.estimates import Interval


def lesson(effect: float, what: str = "learning rate × 10") -> Lesson:
    """Return a lesson with a margin of 0.01 that is refused if it harms."""
    closed = ["champion_delta_auc"] if effect < 0 else []
    return Lesson(what, "goes on", closed, 0.01, Interval(effect, effect - 0.002, effect + 0.002))


LOG = [lesson(0.001, SOUND), lesson(-0.05), lesson(-0.015)]
"""A sound lesson, a harmful one, and one that loses less than two margins."""


def always_open(log: Sequence[Lesson]) -> list[Lesson]:
    """Promote whatever is judged."""
    return [replace(one, closed=[]) for one in log]


def always_closed(log: Sequence[Lesson]) -> list[Lesson]:
    """Refuse whatever is judged."""
    return [replace(one, closed=["min_auc"]) for one in log]


def flipped_truth(log: Sequence[Lesson]) -> list[Lesson]:
    """Take a loss on the next day for a gain, and a gain for a loss."""
    return [replace(one, effect=Interval(-one.effect.point, 0, 0)) for one in log if one.effect]


@pytest.mark.parametrize(
    ("fault", "harmful", "sound"),
    [
        (list, "0 of 1, 0.0 %", "0 of 1, 0.0 %"),
        (always_open, "1 of 1, 100.0 %", "0 of 1, 0.0 %"),
        (always_closed, "0 of 1, 0.0 %", "1 of 1, 100.0 %"),
        (flipped_truth, "none of 0", "0 of 1, 0.0 %"),
    ],
)
def test_shares_expose_a_fault(fault: Callable[[Sequence[Lesson]], list[Lesson]], harmful: str, sound: str) -> None:
    """A harmful lesson counts and is refused, a sound one is promoted, and a wrong rule or truth shows."""
    table = lesson_table([fault(LOG)])
    assert f"harmful lessons promoted {harmful}" in table
    assert f"sound refused {sound}" in table


@pytest.mark.parametrize(
    ("promoted", "stated"), [(0, "0 of 100, 0.0 %, at most 3.6 %"), (5, "5 of 100, 5.0 %, at most 11.3 %")]
)
def test_the_upper_end_of_a_share(promoted: int, stated: str) -> None:
    """The interval is that of Clopper and Pearson: 1 − 0.025^(1 / 100) for none of a hundred."""
    logs = [[lesson(0.001, SOUND), lesson(-0.02)] for _ in range(100 - promoted)]
    logs += [[lesson(0.001, SOUND), *always_open([lesson(-0.02)])] for _ in range(promoted)]
    assert f"harmful lessons promoted {stated}" in lesson_table(logs)


def test_several_lessons_of_a_log_count_as_one() -> None:
    """Ten lessons of each of ten logs don't narrow the interval below that of ten."""
    logs = [[lesson(0.001, SOUND), *[lesson(-0.02)] * 10] for _ in range(10)]
    assert "harmful lessons promoted 0 of 100, 0.0 %, at most 30.8 %" in lesson_table(logs)


def test_stays_count_days_until_a_promotion() -> None:
    """The last champion has stayed until the end."""
    assert stays([False, False, True, False]) == [3, 1]
    assert stays([True, True]) == [1, 1]
    assert "| 250 | 1 | 2 | 2 | 3 | 3 | 75 % |" in wait_table([(250, [False, False, True, False])])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lessons_and_days_of_a_small_log(tmp_path: Path) -> None:
    """A sound lesson ships and a harmful one does not, the truth tells them apart, and days follow each other."""
    sound, harmful = simulated_lessons(tmp_path, ("rate_20",), users=250, impressions=1250, seed=1)
    assert (sound.verdict, harmful.verdict) == ("harmless", "caught")
    log = simulated(tmp_path / "log", users=250, impressions=1250, seed=1, later=3)
    site = Site.prepared(tmp_path / "site", log, ())
    assert [site.live(log.day + number * DAY) for number in range(2)] == [None, None]
