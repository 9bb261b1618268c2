"""The population stability index."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.metrics.drift import population_stability_index as psi


def twin(reference, observed, bins):
    edges = sorted({float(np.quantile(reference, b / bins)) for b in range(1, bins)})

    def shares(values):
        counts = [0.5] * (len(edges) + 1)
        for value in values:
            counts[sum(value >= edge for edge in edges)] += 1
        return [count / sum(counts) for count in counts]

    return sum((o - r) * math.log(o / r) for r, o in zip(shares(reference), shares(observed), strict=True))


numbers = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.50001, 1.0]), min_size=1, max_size=30)


@given(numbers, numbers, st.integers(2, 10))
def test_equals_its_slow_twin(reference, observed, bins):
    """The index equals the slow twin's, also for ties, constants and single rows, and is never negative."""
    assert psi(reference, observed, bins) == pytest.approx(twin(reference, observed, bins), abs=1e-12)
    assert psi(reference, observed, bins) >= 0


@pytest.mark.parametrize(("reference", "observed"), [([], [1]), ([1], []), ([math.nan, 1], [1]), ([1], [math.nan])])
def test_undefined_is_nan(reference, observed):
    """Without values, or with NaN among them, the index is NaN, which closes a gate."""
    assert math.isnan(psi(reference, observed))
