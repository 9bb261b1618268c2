"""The table of lessons counts what happened, also where the product errs."""

import pytest
from scipy.stats import binom

from benchmarks.lessons import SOUND, Lesson
from benchmarks.warranty import lesson_table, share
from din.metrics.estimates import Interval

MARGIN = 0.005
GATE = ["champion_delta_auc"]


def lesson(what: str, effect: float, closed: list[str]) -> Lesson:
    return Lesson(what, "continues", closed, MARGIN, Interval(effect, effect - 0.001, effect + 0.001))


def test_lesson_table_counts_errors_of_both_kinds() -> None:
    """A lesson without a model is harmful and has no effect."""
    logs = [
        [lesson(SOUND, 0.002, []), lesson("rate", -2 * MARGIN, GATE)],
        [lesson(SOUND, 0.002, GATE), lesson("rate", -2.1 * MARGIN, [])],
        [lesson(SOUND, 0.002, []), lesson("rate", -1.9 * MARGIN, [])],
        [],
    ]
    text = lesson_table(logs)
    assert "| rate | 3 | -0.0100 | 0.0050 | 2 | 2 | 1 |" in text
    assert f"Harmful lessons promoted: {share([True, False])}." in text
    assert f"Sound lessons refused: {share([True, False, False])}." in text
    assert f"First runs refused: {share([True, False, False, False])}." in text
    assert (share([]), share([True])) == ("none of 0", "1 of 1, at most 100.0 %")
    unmade = lesson_table([[lesson(SOUND, 0.002, []), Lesson("rate", "continues", ["refit"], MARGIN, None)]])
    assert "| rate | 1 |  | 0.0050 | 0 | 1 | 0 |" in unmade


def test_a_sound_lesson_is_wrong_if_refused_unless_it_is_certainly_worse() -> None:
    """Before export its effect is unknown, so nothing excuses the refusal; nor does a loss that may be chance."""
    refused = Lesson(SOUND, "continues", ["refit"], MARGIN, None)
    lessons = [refused, lesson(SOUND, 0.0, GATE), lesson(SOUND, -0.0005, GATE), lesson(SOUND, 0.002, [])]
    lessons.append(lesson(SOUND, -0.0015, GATE))
    assert [one.is_wrong for one in lessons] == [True, True, True, False, False]


@pytest.mark.parametrize(("events", "count"), [(0, 100), (3, 100), (90, 100)])
def test_share_ends_where_so_few_events_become_unlikely(events: int, count: int) -> None:
    upper = float(share([number < events for number in range(count)]).split()[-2]) / 100
    assert binom.cdf(events, count, upper + 0.0005) < 0.025 < binom.cdf(events, count, upper - 0.0005)
