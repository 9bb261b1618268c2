"""The gradients of a batch in one native call, against autograd in float64. Alone: `pytest tests/din/ops`."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from din.model.din import DIN
from din.ops import backend
from din.params.reading import Params
from din.train.fit import fit
from din.train.learner import Learner, StepInputs
from tests.factories.features import write_features
from tests.helpers.backends import needs_compiler
from tests.helpers.killed import run_until_killed
from tests.helpers.settings import changed
from tests.helpers.states import same

pytestmark = needs_compiler

LISTS = {
    "user": {"user_id": "id"},
    "item": {"category": "categorical", "tags": "multi"},
    "behaviour": {"rating": "categorical"},
}
ITEMS = {"item": {"category": "categorical"}, "user": {"user_id": "id"}}
OPTIONS = {
    "paper": {"linear": "none", "interest_product": False},
    "softmax": {"softmax": True, "interaction": "product", "attention_hidden": (8,)},
    "deep": {"attention_hidden": (9, 20, 5), "hidden": (33, 7), "embedding_dim": 5},
}


def batch_of(learner: Learner, rows: int) -> StepInputs:
    """Return the first training rows as a batch whose impressions have weights, with an offset."""
    loader = learner.loader()
    shard = learner.features.shard(0, "train")
    inputs = learner.inputs(loader.pack(shard, np.arange(rows), 0, (1, 2, 3), offset=0.3))
    return inputs._replace(weights=torch.linspace(0, 2, rows))


def by_autograd(learner: Learner, inputs: StepInputs, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the loss, all gradients and the moving averages of the model itself."""
    model = copy.deepcopy(learner.model).to(dtype)
    leaf = learner.table[inputs.rows].to(dtype).requires_grad_()
    weights = None if inputs.weights is None else inputs.weights.to(dtype)
    logits = model(leaf, inputs.batch) + inputs.offset
    loss = model.loss(leaf, inputs.batch, logits, inputs.labels.to(dtype), weights) / inputs.impressions
    loss.backward()
    assert leaf.grad is not None
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"loss": loss.detach(), "table": leaf.grad, **gradients, **dict(model.named_buffers())}


@pytest.mark.parametrize("declared", [LISTS, ITEMS], ids=["lists and feedback", "items"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_gradients_are_those_of_autograd(rows: int, options, declared, params: Params, tmp_path: Path) -> None:
    """Loss, gradients and moving averages agree, for all forms of fields, layers and histories."""
    features = write_features(tmp_path, declared=declared)
    with backend.using("native"):
        learner = Learner(features, changed(params.train, embedding_std=0.5, **options))
        learner.model.train()
        inputs = batch_of(learner, rows)
        with backend.using("reference"):
            exact, reference = (by_autograd(learner, inputs, dtype) for dtype in (torch.float64, torch.float32))
        loss, table = learner._gradient(inputs)
    assert learner._network is not None
    gradients = {name: parameter.grad for name, parameter in learner.model.named_parameters()}
    native = {"loss": loss, "table": table, **gradients, **dict(learner.model.named_buffers())}
    assert set(native) == set(exact)
    for name, truth in exact.items():
        off = float((reference[name] - truth).abs().max())  # three rows leave Dice little variance, and so few digits
        tensor = native[name]
        assert tensor is not None
        assert float((tensor - truth).abs().max()) <= max(3e-5 * max(1.0, float(truth.abs().max())), 50 * off), name


AUTOGRAD = [
    {"dropout": 0.5},
    {"activation": "relu"},
    {"ages": True},
    {"linear": "wide"},
    {"name": "base"},
]


@pytest.mark.parametrize("options", AUTOGRAD, ids=lambda options: next(iter(options)))
def test_other_settings_are_left_to_autograd(options, params: Params, tmp_path: Path) -> None:
    """Where a setting has no native form, autograd computes the gradients."""
    with backend.using("native"):
        learner = Learner(write_features(tmp_path, declared=LISTS), changed(params.train, **options))
    assert learner._network is None


def test_a_subclass_is_left_to_autograd(params: Params, tmp_path: Path) -> None:
    """A plugin's model may change any method of DIN, and trains in the same loop."""

    class Variant(DIN):
        pass

    features = write_features(tmp_path, declared=ITEMS)
    with backend.using("native"):
        variant, plain = (model(features.fields, params.train) for model in (Variant, DIN))
        assert variant.network() is None
        assert plain.network() is not None


def test_a_resumed_run_ends_with_the_same_bits(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of gradients holds nothing that a checkpoint would have to save."""
    features = write_features(tmp_path / "features", declared=LISTS)
    train = changed(params.train, epochs=2, batch_size=32, checkpoint_minutes=1e-9)
    with backend.using("native"):
        whole, _ = fit(features, train)
        run_until_killed(5, monkeypatch, lambda: fit(features, train, tmp_path / "state"))
        resumed, _ = fit(features, train, tmp_path / "state")
    assert whole._network is not None
    assert same(whole.state(), resumed.state())


def test_batches_with_numbers_are_left_to_autograd(params: Params, tmp_path: Path) -> None:
    """A batch whose fields have factors on their rows trains, and has the loss of the model itself."""
    with backend.using("native"):
        learner = Learner(write_features(tmp_path), params.train)
        learner.model.train()
        inputs = batch_of(learner, 9)
        expected = by_autograd(learner, inputs, torch.float32)["loss"]
        torch.testing.assert_close(learner.step(inputs, 0.01), expected)
