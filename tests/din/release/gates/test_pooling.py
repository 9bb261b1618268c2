"""Which days count in a pool, and when a pool ends."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.metrics.estimates import Estimate, difference
from din.metrics.noninferiority import ComparisonResult
from din.release.gates.pooling import Comparison, decide_pooled

NARROW = 1e-6
"""A margin that no comparison in these tests decides."""


def drawn(first_day: int, days: int, number: int, rows: int = 300, users: int = 60, ctr: float = 0.4) -> Comparison:
    """Return a comparison of `days` days, beginning with `first_day`. Each number has up to 60 users of its own."""
    rng = np.random.default_rng(number)
    user = 60 * number + rng.integers(users, size=rows)
    label = rng.random(rows) < ctr
    score = [np.clip(0.4 + 0.1 * label + 0.1 * rng.normal(size=rows), 0, 1) for _ in range(2)]
    return Comparison(frozenset(range(first_day, first_day + days)), difference("auc", label, score[0], score[1], user))


def outcome(comparisons: list[Comparison], margin: float = NARROW) -> ComparisonResult:
    """Judge the last comparison with a fixed margin. Check that the margin is asked for each one's own difference."""
    newest = iter(comparison for comparison in comparisons if not comparison.preview)

    def margin_of(today: Estimate) -> float:
        assert today is next(newest).difference
        return margin

    return decide_pooled(comparisons, margin_of, 0.05)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), min_size=1, max_size=6))
def test_a_day_is_pooled_once_from_the_newest_comparison_that_holds_it(spans: list[tuple[int, int]]) -> None:
    """The slow twin goes back from the newest, and takes each one that shares no day with those it has taken."""
    comparisons = [drawn(first, days, number) for number, (first, days) in enumerate(spans)]
    taken: list[Comparison] = []
    for comparison in reversed(comparisons):
        if not any(comparison.days & other.days for other in taken):
            taken.append(comparison)
    found = outcome(comparisons)
    assert found.number == len(comparisons)
    assert found.users == sum(len(comparison.difference.users) for comparison in taken)


def test_a_preview_counts_for_its_days_alone() -> None:
    """On other days nothing changes. On a day that it shares, bounds widen as by a retry, and no rows are added."""
    comparisons = [drawn(day, 1, day) for day in range(3)]
    elsewhere = [replace(drawn(7, 2, 8), preview=True), replace(drawn(0, 1, 9), preview=True)]
    assert outcome([elsewhere[0], comparisons[0], elsewhere[1], *comparisons[1:]]) == outcome(comparisons)
    shared = outcome([*comparisons[:2], replace(drawn(1, 2, 9), preview=True), comparisons[2]])
    assert (shared.number, shared.users) == (4, 180)
    assert shared.today.lower < outcome(comparisons).today.lower


def test_a_decision_ends_the_pool() -> None:
    """The comparison after a decision begins a new pool. Its number counts on."""
    comparisons = [drawn(2 * number, 2, number, rows=2000) for number in range(3)]
    undecided = outcome(comparisons)
    decided = outcome(comparisons, margin=0.5)
    assert undecided.users == 180
    assert (decided.number, decided.verdict) == (3, "open")
    assert decided.users == 60


@pytest.mark.parametrize(
    ("thin", "verdict", "users"), [({"users": 15}, "borderline", 135), ({"ctr": 0.0}, "closed", 120)]
)
def test_a_thin_day_keeps_the_evidence_of_the_days_before(thin: dict[str, Any], verdict: str, users: int) -> None:
    """With fewer than 20 users it is undecided, and without a click closed. The next day still adds to the first."""
    comparisons = [drawn(0, 1, 0), drawn(1, 1, 1, **thin), drawn(2, 1, 2)]
    assert outcome(comparisons[:2]).verdict == verdict
    later = decide_pooled(comparisons, lambda today: NARROW, 0.05)
    assert (later.verdict, later.users) == ("borderline", users)
