"""Each drift changes its day, and the table counts what was found and advised."""

from copy import deepcopy

import numpy as np
import pytest

from benchmarks.drifts import drift_table
from benchmarks.served_drifts import ASK, DRIFTS, HOUR, Asked

NOON = 19_700 * 24 * HOUR + 12 * HOUR
CANDIDATES = [{"item_id": 7, "category": 3}]


def asked(number: int) -> Asked:
    at = NOON + number * HOUR / 10
    history = [{"item_id": item, "timestamp": at - item * 3 * HOUR} for item in range(12, 0, -1)]
    request = {"user": {"user_id": number}, "history": history, "candidates": CANDIDATES, "time": at}
    return Asked(f"{number}", at, request, number % 3 == 0)


@pytest.mark.parametrize("name", DRIFTS)
def test_a_drift_changes_what_is_sent_answered_or_clicked(name: str) -> None:
    """The sound day stays as it is, because its requests share their parts."""
    drift = DRIFTS[name]
    day = [asked(number) for number in range(30)]
    before = deepcopy(day)
    scores = np.linspace(0.1, 0.9, 300)
    changed = drift.asked(day, np.random.default_rng(0)) != before
    assert day == before
    assert (
        drift.is_first + changed + (drift.scored is not None and not np.array_equal(drift.scored(scores), scores)) == 1
    )


def test_the_table_counts_days_and_their_advice() -> None:
    """A day with another advice is found, but not advised rightly."""
    lost = [{"CTR": ASK}, {"AUC": "roll back", "CTR": ASK}, {"AUC": "retrain"}, {}]
    text = drift_table({"Monday": {}, "Tuesday": {"AUC": "retrain"}}, {"all clicks lost": lost})
    assert "found on their first day: 3 of 4 (75.0%; bar: 95 %)" in text
    assert "the right advice: 2 of 4 (50.0%)" in text
    assert "Sound days with an alarm: 1 of 2, at most 98.7 % (bar: 1 %). Tuesday: AUC." in text
    assert f"| all clicks lost | 3 of 4 | {ASK} | {ASK} (2), " in text
    assert "| `CTR`, `AUC` |" in text
