"""Fixtures of the metric tests."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a fixed random generator, so that failures repeat."""
    return np.random.default_rng(11)
