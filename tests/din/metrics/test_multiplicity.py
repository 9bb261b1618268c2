"""Holm's rule against a plain loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from din.release.gates.slices import holm


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
