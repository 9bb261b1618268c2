"""Packed models against the slow twin; invariances. Alone: `pytest tests/model`."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twin import Twin

from din.eventlog.packing import Packer
from din.eventlog.reader import Features
from din.model.dice import Dice
from din.model.din import MODELS, build
from din.model.embedding import to_tensors
from din.params import Params, Train

VARIANTS = [
    *({"model": "din", "activation": activation} for activation in ("dice", "prelu", "relu", "sigmoid")),
    {"model": "din", "attention_hidden": (7,), "hidden": (9,), "item_bias": False, "interest_product": False},
    {"model": "base", "pooling": "sum"},
    {"model": "base", "pooling": "mean"},
    {"model": "lr"},
]


def trained_like(features: Features, params: Train):
    """A model with weights large enough for its output to depend on everything."""
    packer = Packer(features)
    model, table = build(features.fields, packer.layout, params)
    generator = torch.Generator().manual_seed(3)
    for tensor in (*model.parameters(), table):
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * 0.25)
    for module in model.modules():
        if isinstance(module, Dice):
            module.mean.normal_(generator=generator)
            module.variance.uniform_(0.5, 2, generator=generator)
    return packer, model.eval(), table


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_the_packed_model_equals_the_padded_twin(variant, data, features_once: Features, params: Params) -> None:
    """Random ragged rows: same logits as a loop over impressions and behaviours, with and without padding."""
    packer, model, table = trained_like(features_once, replace(params.train, **variant))
    shard = features_once.shard(data.draw(st.integers(0, 1)), "train")
    rows = data.draw(st.lists(st.integers(0, len(shard.impressions) - 1), min_size=1, max_size=6))
    twin = Twin(model, table, features_once, packer.layout.offsets)
    with torch.no_grad():
        packed = model(table, to_tensors(packer.pack(shard, np.array(rows))))
        slow = torch.stack([twin.logit(shard, row, padding=i % 3) for i, row in enumerate(rows)])
    torch.testing.assert_close(packed, slow, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("model_name", sorted(MODELS))
def test_gradients_equal_the_twin_s(model_name: str, features_once: Features, params: Params) -> None:
    """d(sum of logits)/d(table) by autograd through the packed and the slow path."""
    packer, model, table = trained_like(features_once, replace(params.train, model=model_name))
    shard = features_once.shard(0, "train")
    gradients = []
    for path in ("packed", "slow"):
        leaf = table.clone().requires_grad_()
        if path == "packed":
            total = model(leaf, to_tensors(packer.pack(shard, np.arange(6)))).sum()
        else:
            twin = Twin(model, leaf, features_once, packer.layout.offsets)
            total = torch.stack([twin.logit(shard, row) for row in range(6)]).sum()
        gradients.append(torch.autograd.grad(total, leaf)[0])
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("model_name", sorted(MODELS))
def test_evaluation_does_not_depend_on_the_batch(model_name: str, features_once: Features, params: Params) -> None:
    """A row's logit is the same alone, among others, and with others in another order."""
    packer, model, table = trained_like(features_once, replace(params.train, model=model_name))
    shard = features_once.shard(1, "train")
    order = np.random.default_rng(0).permutation(len(shard.impressions))
    with torch.no_grad():
        together = model(table, to_tensors(packer.pack(shard, order)))
        alone = torch.cat([model(table, to_tensors(packer.pack(shard, np.array([row])))) for row in order])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_name", sorted(MODELS))
def test_a_request_equals_packed_rows(model_name: str, features_once: Features, params: Params) -> None:
    """One history against C candidates gives what C packed impressions of it give; duplicates agree."""
    packer, model, table = trained_like(features_once, replace(params.train, model=model_name))
    shard = features_once.shard(0, "train")
    row = int(shard.impressions.history_length.argmax())
    impressions = shard.impressions
    candidates = np.array([3, 0, 9, 3], np.int32)
    rows = np.full(4, row)
    own = {name: getattr(impressions, name)[rows] for name in ("user", "label", "history_start", "history_end")}
    shared = replace(
        shard,
        impressions=replace(
            impressions, item=candidates, contexts={n: c.take(rows) for n, c in impressions.contexts.items()}, **own
        ),
    )
    with torch.no_grad():
        packed = to_tensors(packer.pack(shared, np.arange(4)))
        expected = model(table, packed)
        length = impressions.history_length[row]
        first = to_tensors(packer.pack(shared, np.array([0])))
        single = packed._replace(
            behaviours=first.behaviours,
            users=first.users,
            contexts=first.contexts,
            behaviour=packed.behaviour[:length],
            segment=first.segment,
        )
        torch.testing.assert_close(model.request(table, single), expected, atol=1e-5, rtol=1e-4)
    assert expected[0] == expected[3]


def test_users_without_history_get_a_logit(features_once: Features, params: Params) -> None:
    """A batch without a single behaviour trains and scores; its interest is zero."""
    packer, model, table = trained_like(features_once, params.train)
    shard = features_once.shard(0, "train")
    rows = np.flatnonzero(shard.impressions.history_length == 0)
    for mode in (True, False):
        logits = model.train(mode)(table, to_tensors(packer.pack(shard, rows)))
        assert torch.isfinite(logits).all()
        assert len(set(logits.tolist())) > 1


def test_dice_is_equation_9() -> None:
    """Training statistics by hand on three rows of one unit, moving averages after one step."""
    dice = Dice(1).train()
    dice.alpha.data.fill_(0.25)
    s = [1.0, 2.0, 6.0]
    mean, variance = 9 / 3, (4 + 1 + 9) / 3
    p = [1 / (1 + np.exp(-(x - mean) / np.sqrt(variance + 1e-8))) for x in s]
    expected = [[a * x + (1 - a) * 0.25 * x] for a, x in zip(p, s, strict=True)]
    torch.testing.assert_close(dice(torch.tensor(s).unsqueeze(1)), torch.tensor(expected, dtype=torch.float32))
    assert dice.mean.item() == pytest.approx(0.05 * mean)
    assert dice.variance.item() == pytest.approx(0.95 + 0.05 * variance)


@pytest.mark.parametrize("rows", [0, 1])
def test_dice_survives_no_row_and_one_row(rows: int) -> None:
    """No rows leave the averages alone; one row is its own mean, so p = 1/2."""
    dice = Dice(2).train()
    out = dice(torch.full((rows, 2), 3.0))
    assert out.tolist() == [[1.5, 1.5]] * rows
    assert torch.isfinite(dice.variance).all()
    assert (dice.mean.abs().sum() == 0) == (rows == 0)


def test_the_same_seed_builds_the_same_model(features_once: Features, params: Params) -> None:
    """Seeds decide the weights; linear columns start at zero."""
    packer = Packer(features_once)
    tables = [build(features_once.fields, packer.layout, replace(params.train, seed=s))[1] for s in (1, 1, 2)]
    assert torch.equal(tables[0], tables[1])
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(tables[1:], 2))
    assert not tables[0][:, 0].any()
