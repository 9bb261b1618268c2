"""Holm's rule against a plain loop, and the chance of a wrong rejection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.gates.slices import holm


@given(st.lists(st.floats(0, 0.2), max_size=8))
def test_it_walks_up_until_the_first_that_is_too_large(p_values):
    """The slow twin takes the smallest again and again."""
    left = dict(enumerate(p_values))
    rejected = set()
    while left:
        smallest = min(left, key=lambda place: left[place])
        if left[smallest] > 0.05 / len(left):
            break
        rejected.add(smallest)
        del left[smallest]
    assert set(np.flatnonzero(holm(p_values, 0.05))) == rejected


def uncorrected(p_values, level):
    """Reject each hypothesis at the whole level."""
    return np.asarray(p_values) <= level


def doubled(p_values, level):
    """Reject at twice the level."""
    return holm(p_values, 2 * level)


@pytest.mark.parametrize("rule", [holm, uncorrected, doubled])
def test_it_rejects_sound_hypotheses_rarely(rng, rule):
    """Twenty sound hypotheses lead to any rejection in at most one case of twenty, which other rules exceed."""
    trials = 4000
    wrong = sum(rule(rng.random(20), 0.05).any() for _ in range(trials))
    assert (wrong / trials < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)) == (rule is holm)
