"""Packed models, compared with a slow twin, and their invariances. Alone: `pytest tests/din/model`."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from din.features.packing import Packer
from din.features.reader import Features
from din.model import MODELS
from din.model.embedding import to_tensors
from din.model.mlp import ACTIVATIONS
from din.model.model import Model, build
from din.params.reading import Params
from din.params.train import Train
from din.schema import Group
from din.train.loader import TrainingLoader
from tests.din.model.twin import Twin
from tests.factories.batches import draw_weights
from tests.helpers.settings import changed

ROOT = Path(__file__).parents[3]
SMALL = {"embedding_dim": 4, "attention_hidden": (6, 4), "hidden": (8, 5)}
VARIANTS = [
    *({"name": "din", "activation": activation} for activation in ACTIVATIONS),
    {"name": "din", "attention_hidden": (7,), "hidden": (9,), "linear": "none", "interest_product": False},
    {"name": "din", "interaction": "product", "softmax": True},
    {"name": "din", "interaction": "product"},
    {"name": "din", "ages": True, "softmax": True},
    {"name": "base", "pooling": "sum"},
    {"name": "base", "pooling": "mean"},
    {"name": "lr"},
    {"name": "wide_deep", "interest_product": False},
    {"name": "din", "linear": "wide"},
    {"name": "pnn", "pooling": "mean"},
    {"name": "deepfm", "ages": True},
]
TWINS = {variant["name"] for variant in VARIANTS}
# One variant of each model that the twin knows.
SOME = [*({"name": name} for name in sorted(TWINS)), *(v for v in VARIANTS if "softmax" in v)]
# The models that it does not know. They must have all properties that need no twin.
OTHERS = [{"name": name} for name in sorted(set(MODELS) - TWINS)]


class Example(NamedTuple):
    """A model in evaluation mode, with weights large enough that its output depends on all inputs."""

    packer: Packer
    model: Model
    table: Tensor
    twin: Twin

    @classmethod
    def of(cls, features: Features, params: Train, variant: dict[str, Any]) -> "Example":
        params = changed(params, **(SMALL | variant))
        model, table = build(features.fields, Packer(features).layout, params)
        packer = Packer(features, ages=model.reads_ages)
        draw_weights(model, table, scale=0.25)
        return cls(packer, model.eval(), table, Twin(model, table, features, packer.layout.offsets))


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def example(request: pytest.FixtureRequest, vectors_once: Features, params: Params) -> Example:
    return Example.of(vectors_once, params.train, request.param)


of_each_kind = pytest.mark.parametrize("example", SOME, ids=str, indirect=True)
of_every_model = pytest.mark.parametrize("example", [*SOME, *OTHERS], ids=str, indirect=True)


@settings(max_examples=8)
@given(data=st.data())
def test_the_packed_model_equals_the_padded_twin(data, example: Example, vectors_once: Features) -> None:
    """For random ragged rows, logits equal a loop over impressions and behaviours, with any padding."""
    packer, model, table, twin = example
    shard = vectors_once.shard(data.draw(st.integers(0, 1)), "train")
    rows = data.draw(st.lists(st.integers(0, len(shard.impressions) - 1), min_size=1, max_size=6))
    with torch.no_grad():
        packed = model(table, to_tensors(packer.pack(shard, np.array(rows))))
        slow = torch.stack([twin.logit(shard, row, padding=i % 3) for i, row in enumerate(rows)])
    torch.testing.assert_close(packed, slow, atol=2e-4, rtol=2e-4)


@of_each_kind
def test_gradients_equal_those_of_the_twin(example: Example, vectors_once: Features) -> None:
    """Autograd gives the same gradients of table and dense weights through the packed model and the twin."""
    packer, model, table, twin = example
    shard = vectors_once.shard(0, "train")
    leaf = twin.table = table.clone().requires_grad_()
    packed = model(leaf, to_tensors(packer.pack(shard, np.arange(6)))).sum()
    slow = torch.stack([twin.logit(shard, row) for row in range(6)]).sum()
    wanted = [leaf, *model.parameters()]
    gradients = (torch.autograd.grad(total, wanted, materialize_grads=True) for total in (packed, slow))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("example", [*VARIANTS, *OTHERS], ids=str, indirect=True)
@settings(max_examples=8)
@given(row=st.integers(0, 100), candidates=st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_a_request_equals_packed_rows(row, candidates, example: Example, vectors_once: Features) -> None:
    """One history and C candidates get the logits of C packed impressions, and duplicates get equal ones."""
    packer, model, table, _ = example
    shard = vectors_once.shard(0, "train")
    items = np.array([*candidates, candidates[0]], np.int32)
    impressions = replace(shard.impressions.take(np.full(len(items), row)), item=items)
    shared = replace(shard, impressions=impressions)
    with torch.no_grad():
        packed = to_tensors(packer.pack(shared, np.arange(len(items))))
        expected = model(table, packed)
        first = to_tensors(packer.pack(shared, np.array([0])))
        single = packed._replace(
            lookups=first.lookups | {Group.ITEM: packed.lookups[Group.ITEM]},
            behaviour=packed.behaviour[: len(first.behaviour)],
            segment=first.segment,
            age=first.age,
        )
        torch.testing.assert_close(model.request(table, single), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(expected[0], expected[-1])


@of_every_model
def test_batches_of_training_are_read_alike(example: Example, vectors_once: Features) -> None:
    """With the rows of a batch as a small table, and ids that index it, logits equal those with the whole table."""
    packer, model, table, _ = example
    for batch in TrainingLoader(vectors_once, packer, 50, seed=1).epoch(0):
        rows = torch.from_numpy(batch.rows)
        lookups = {
            group: {name: replace(lookup, ids=batch.rows[lookup.ids]) for name, lookup in own.items()}
            for group, own in batch.packed.lookups.items()
        }
        with torch.no_grad():
            compact = model(table.index_select(0, rows), to_tensors(batch.packed, rows))
            expected = model(table, to_tensors(replace(batch.packed, lookups=lookups)))
        torch.testing.assert_close(compact, expected)


@of_every_model
def test_users_without_history_get_a_logit(example: Example, vectors_once: Features) -> None:
    """A batch without any behaviours can be trained on and scored, with an interest of 0."""
    packer, table, model = example.packer, example.table, copy.deepcopy(example.model)
    shard = vectors_once.shard(0, "train")
    rows = np.flatnonzero(shard.impressions.history_length == 0)
    for mode in (True, False):
        logits = model.train(mode)(table, to_tensors(packer.pack(shard, rows)))
        assert torch.isfinite(logits).all()
        assert len(set(logits.tolist())) > 1
