"""A workspace that is tuned in seconds."""

from dataclasses import replace
from pathlib import Path

import pytest

from din.base.workspace import Workspace
from din.params.reading import Params
from din_start.params.defaults import defaults
from tests.factories.features import PLAIN, write_features
from tests.helpers.settings import changed


@pytest.fixture
def tiny(params: Params) -> Params:
    """Return parameters of a DIN of a few units that learns for two epochs."""
    widths = {"embedding_dim": 4, "attention_hidden": (6,), "hidden": (8,)}
    train = changed(params.train, **widths, batch_size=64, learning_rate=0.01, epochs=2, backend="reference")
    return replace(params, train=train)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace of random features without test rows: whoever opens them fails."""
    here = Workspace(tmp_path)
    features = write_features(here.features, users=40, shards=1, declared=PLAIN)
    for path in features.root.rglob("test.parquet"):
        path.unlink()
    here.params.write_text(defaults())
    return here
