"""A bundle in the registry is what training starts from."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from serve_workspace import Finished
from settings import changed

from din.artifacts import read_json, write_json
from din.errors import InputError
from din.model import artifact
from din.params import Params
from din.train.run import train

UNMOVED = 1e-30  # a learning rate at which weights stay what they are


@pytest.fixture
def pinned(own: Finished) -> Params:
    """Parameters that pin this workspace's own bundle, stored in its registry."""
    params = own.params
    version = own.registry.put_bundle(own.bundle)
    settings = changed(params.train, warm_start=version[:12], learning_rate=UNMOVED, epochs=1, seed=77)
    return replace(params, train=settings)


def test_training_starts_from_the_pinned_bundle(own: Finished, pinned: Params) -> None:
    """Another seed, no movement: the bundle's weights; config and summary name the whole version."""
    before = artifact.load(own.features, own.here.model)
    train(own.here, pinned)
    after = artifact.load(own.features, own.here.model)
    assert torch.equal(before.table, after.table)
    old = dict(before.model.named_parameters())
    assert all(torch.equal(weight, old[name]) for name, weight in after.model.named_parameters())
    (version,) = (path.name for path in (own.here.root / "registry").glob("*/bundles/*"))
    assert read_json(own.here.model / "config.json")["train"]["warm_start"] == version
    assert read_json(own.here.training)["warm_start"] == version


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda facts: facts["protocol"].update(seed=3), "seed 3 there, 17 here"),
        (lambda facts: facts["protocol"].update(name="temporal"), "name 'temporal' there, 'by_user' here"),
    ],
)
def test_held_out_rows_do_not_leak_in(edit: Callable[[Any], None], message: str, own: Finished, pinned: Params) -> None:
    """A bundle that was split otherwise may have learned today's test rows by heart."""
    facts = read_json(own.bundle / "facts.json")
    edit(facts)
    write_json(own.bundle / "facts.json", facts)
    own.reseal()
    version = own.registry.put_bundle(own.bundle)
    with pytest.raises(InputError, match=f"may have trained on today's held-out rows: {message}"):
        train(own.here, replace(pinned, train=replace(pinned.train, warm_start=version)))


def test_a_version_that_is_not_there_is_named(own: Finished, pinned: Params) -> None:
    """What was asked for, and how many bundles there are."""
    with pytest.raises(InputError, match="'0123abcd' names none of 1 bundles, expected one"):
        train(own.here, replace(pinned, train=replace(pinned.train, warm_start="0123abcd")))
