"""A bundle in the registry is what training starts from. Alone: `pytest tests/serve/test_warm_start_registry.py`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from serve_workspace import Workspace

from din.artifacts import read_json, write_json
from din.errors import InputError
from din.model import artifact
from din.params import Params
from din.registry import Registry
from din.train.run import train
from din.train.warm_start import Start

UNMOVED = 1e-30  # a learning rate at which weights stay what they are


@pytest.fixture
def pinned(own_workspace: Workspace) -> Params:
    """Parameters that pin this workspace's own bundle, stored in its registry."""
    params = own_workspace.params
    version = Registry(params.promote.registry, params.model_name).put_bundle(own_workspace.bundle)
    settings = replace(params.train, warm_start=version[:12], learning_rate=UNMOVED, epochs=1, seed=77)
    return replace(params, train=settings)


def test_training_starts_from_the_pinned_bundle(own_workspace: Workspace, pinned: Params) -> None:
    """Another seed, no movement: the bundle's weights; config and summary name the whole version."""
    before = artifact.load(own_workspace.features)
    train(pinned)
    after = artifact.load(own_workspace.features)
    assert torch.equal(before.table, after.table)
    old = dict(before.model.named_parameters())
    assert all(torch.equal(weight, old[name]) for name, weight in after.model.named_parameters())
    (version,) = (path.name for path in Path("registry").glob("*/bundles/*"))
    assert read_json(Path("models/din/config.json"))["train"]["warm_start"] == version
    assert read_json(Path("reports/training/summary.json"))["warm_start"] == version


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda facts: facts["protocol"].update(seed=3), "seed 3 there, 17 here"),
        (lambda facts: facts["protocol"].update(name="temporal"), "name 'temporal' there, 'by_user' here"),
    ],
)
def test_held_out_rows_do_not_leak_in(
    edit: Callable[[Any], None], message: str, own_workspace: Workspace, pinned: Params
) -> None:
    """A bundle that was split otherwise may have learned today's test rows by heart."""
    facts = read_json(own_workspace.bundle / "facts.json")
    edit(facts)
    write_json(own_workspace.bundle / "facts.json", facts)
    own_workspace.reseal()
    version = Registry(pinned.promote.registry, pinned.model_name).put_bundle(own_workspace.bundle)
    with pytest.raises(InputError, match=f"may have trained on today's held-out rows: {message}"):
        train(replace(pinned, train=replace(pinned.train, warm_start=version)))


def test_a_newer_log_leaks_unless_users_are_held_out(own_workspace: Workspace, pinned: Params) -> None:
    """Under a temporal split the bundle must not have seen later rows than today's training."""
    (version,) = (path.name for path in Path("registry").glob("*/bundles/*"))
    features = own_workspace.features
    start = Start(version, own_workspace.bundle)
    start.check_split(features)
    features.manifest["train_until"] = "2020-01-01T00:00:00"
    start.check_split(features)
    features.manifest["protocol"] = "temporal"
    with pytest.raises(InputError, match=r"trained until 2023-\S+ there, 2020-01-01T00:00:00 here"):
        start.check_split(features)


def test_a_version_that_is_not_there_is_named(pinned: Params) -> None:
    """What was asked for, and how many bundles there are."""
    with pytest.raises(InputError, match="'0123abcd' names none of 1 bundles, expected one"):
        train(replace(pinned, train=replace(pinned.train, warm_start="0123abcd")))
