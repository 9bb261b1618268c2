"""Each drift changes its day, and the table counts what was found and advised."""

from copy import deepcopy

import numpy as np
import pytest

from benchmarks.drifts import drift_table
from benchmarks.served_drifts import ASK, HOUR, PLANTED, Asked

CANDIDATES = [[{"item_id": item, "category": item % 2}] for item in range(3)]
NOON = 19_700 * 24 * HOUR + 12 * HOUR


def asked(number: int) -> Asked:
    at = NOON + number * HOUR / 10
    history = [{"item_id": item, "timestamp": at - item * 3 * HOUR} for item in range(12, 0, -1)]
    request = {"user": {"user_id": number}, "history": history, "candidates": CANDIDATES[number % 3], "time": at}
    return Asked(f"{number}", at, request, number % 4 == 0, before=0.01)


@pytest.mark.parametrize("name", PLANTED)
def test_a_drift_changes_what_is_sent_answered_or_clicked(name: str) -> None:
    """The sound day stays as it is, because its requests share their parts."""
    drift = PLANTED[name][-1]
    day = [asked(number) for number in range(90)]
    before = deepcopy(day)
    scores = np.linspace(0.1, 0.9, len(day))
    rng = np.random.default_rng(0)
    changed = drift.asked(day, rng) != before
    assert day == before
    scored = [drift.scored(scores)] if drift.scored else [drift.served(scores, day, rng)] if drift.served else []
    assert (drift.first > 0) + changed + any(not np.array_equal(new, scores) for new in scored) == 1


def test_the_table_counts_days_and_their_advice() -> None:
    """A day with another advice is found, but not advised rightly."""
    lost = [{"CTR": ASK}, {"AUC": "roll back", "CTR": ASK}, {"AUC": "retrain"}, {}]
    text = drift_table({"Monday": {}, "Tuesday": {"AUC": "retrain"}}, {"all clicks lost": lost})
    assert "found on their first day: 3 of 4 (75.0%) (bar: 90 %)" in text
    assert "the right advice: 2 of 4 (50.0%)" in text
    assert "Sound days with an alarm: 1 of 2, at most 98.7 % (bar: 1 in 300). Tuesday: AUC." in text
    assert f"| all clicks lost | 3 of 4 | {ASK} | {ASK} (2), " in text
    assert "| `CTR`, `AUC` |" in text
