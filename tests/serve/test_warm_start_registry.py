"""Training starts from a bundle of the registry."""

from dataclasses import replace

import pytest
import torch
from serve_workspace import Finished
from settings import changed

from din.artifacts import read_json
from din.model import artifact
from din.params import Params
from din.train.run import train

UNMOVED = 1e-30  # a learning rate that leaves weights as they are


@pytest.fixture
def pinned(own: Finished) -> Params:
    """Return parameters that pin this workspace's own bundle, stored in its registry."""
    params = own.params
    version = own.registry.put_bundle(own.bundle)
    settings = changed(params.train, warm_start=version[:12], learning_rate=UNMOVED, epochs=1, seed=77)
    return replace(params, train=settings)


def test_training_starts_from_the_pinned_bundle(own: Finished, pinned: Params) -> None:
    """With another seed and no movement, weights are the bundle's, and config and summary name the whole version."""
    before = artifact.load(own.features, own.here.model)
    train(own.here, pinned)
    after = artifact.load(own.features, own.here.model)
    assert torch.equal(before.table, after.table)
    old = dict(before.model.named_parameters())
    assert all(torch.equal(weight, old[name]) for name, weight in after.model.named_parameters())
    (version,) = (path.name for path in (own.here.root / "registry").glob("*/bundles/*"))
    assert read_json(own.here.model / "config.json")["train"]["warm_start"] == version
    assert read_json(own.here.training)["warm_start"] == version
