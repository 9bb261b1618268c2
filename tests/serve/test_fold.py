"""Folded models, compared in PyTorch with the models as trained."""

import numpy as np
import pytest
import torch
from serve_workspace import FIELDS
from settings import changed

from din.features.packing import TableLayout
from din.model.attention import ActivationUnit
from din.model.embedding_mlp import EmbeddingMLP
from din.model.model import Model, build
from din.ops.dice import Dice
from din.ops.histories import OneHistory, Packed
from din.params import Params
from din.schema import parse_fields
from din.serve.fold import LONG, FoldedDice, fold
from tests.factories.features import rows_of, with_lengths


def random_model(params: Params, seed: int, **train: object) -> EmbeddingMLP:
    """Return a model whose weights and averages are far from their initial values, with α at and around 0 and 1."""
    fields = with_lengths(parse_fields(FIELDS))
    small = {"embedding_dim": 4, "attention_hidden": (9, 5), "hidden": (7, 6)}
    layout = TableLayout.of(fields, {field.name: rows_of(field, 6) for field in fields})
    model, _ = build(fields, layout, changed(params.train, **small, **train))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
        for dice in dices(model):
            dice.mean.normal_(generator=generator)
            dice.variance.uniform_(0.01, 4, generator=generator)
            dice.alpha[:4] = torch.tensor([0.0, 1.0, 1 + 1e-6, 1 - 1e-7])
    assert isinstance(model, EmbeddingMLP)
    return model.eval()


def dices(model: torch.nn.Module) -> list[Dice]:
    return [module for module in model.modules() if isinstance(module, Dice)]


@pytest.mark.filterwarnings("ignore:Pred is a Python constant")  # outside of a trace torch.cond is a plain `if`
@pytest.mark.parametrize("interaction", ["difference_product", "product", "outer"])
@pytest.mark.parametrize("activation", ["dice", "prelu"])
@pytest.mark.parametrize("length", [0, 1, LONG - 1, LONG])
def test_a_folded_unit_weighs_a_request_as_before(
    params: Params, activation: str, length: int, interaction: str
) -> None:
    """For all options, on both sides of `LONG`, the weights [C, L, 1] of requests and of packed rows stay the same."""
    model = random_model(params, length, name="din", activation=activation, interaction=interaction)
    (unit,), (folded,) = units(model), units(fold(model))
    query, key = torch.randn(6, model.query_width), torch.randn(length, model.key_width)
    segment = torch.arange(6).repeat_interleave(length)
    with torch.no_grad():
        expected = unit(query, key, OneHistory(6))
        assert_same(folded(query, key, OneHistory(6)), expected)
        assert_same(folded(query, key.repeat(6, 1), Packed(segment, 6)).view(6, length, 1), expected)


def units(model: torch.nn.Module) -> list[ActivationUnit]:
    return [module for module in model.modules() if isinstance(module, ActivationUnit)]


@pytest.mark.parametrize("seed", range(2))
def test_a_folded_head_answers_as_before(params: Params, seed: int) -> None:
    """Linear layers with Dice and dropout in between give the same logits, and no Dice is left."""
    model = random_model(params, seed, name="base", dropout=0.5)
    folded = fold(model)
    first = model.head[1]
    assert isinstance(folded, EmbeddingMLP) and isinstance(first, torch.nn.Linear)
    inputs = torch.randn(50, first.in_features)
    with torch.no_grad():
        assert_same(folded.head(inputs), model.head(inputs))
    assert not dices(folded) and sum(isinstance(module, FoldedDice) for module in folded.modules()) == 2


def test_the_trained_model_stays_as_it_is(params: Params) -> None:
    """Folding changes a copy, since parity compares with the model as trained."""
    model: Model = random_model(params, 0, name="din")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold(model)
    assert len(dices(model)) == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    largest = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5 * largest)
