"""Fixtures of the training tests."""

import pytest

from din.params.reading import Params
from din.params.train import Train
from tests.helpers.settings import changed


@pytest.fixture(scope="session")
def small(params: Params) -> Train:
    """Return settings for a DIN of a few units that learns fast."""
    widths = {"embedding_dim": 4, "attention_hidden": (6,), "hidden": (8,)}
    return changed(params.train, **widths, batch_size=16, learning_rate=0.01, threads=1, epochs=2, metric="auc")
