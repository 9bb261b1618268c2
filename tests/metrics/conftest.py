"""Shared by the metric tests."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Fixed randomness: a failure repeats."""
    return np.random.default_rng(11)
