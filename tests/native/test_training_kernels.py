"""Updates and whole runs through kernels. Alone: `pytest tests/native/test_training_kernels.py`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compiler import needs_compiler
from random_features import FIELDS, PLAIN, write_features

from din.eventlog.reader import Features
from din.native.library import kernels
from din.params import Params
from din.train import checkpoint
from din.train.fit import fit
from din.train.optimizers import TABLE_OPTIMIZERS, DenseOptimizer, FlatOptimizer

pytestmark = needs_compiler


@pytest.mark.parametrize("whole_table", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("optimizer", TABLE_OPTIMIZERS.values())
@pytest.mark.parametrize("width", [1, 17, 33])
def test_table_updates_are_those_of_torch(optimizer, coupled: bool, whole_table: bool, width: int) -> None:
    """Five steps over changing rows: the table and every state, penalties coupled or not, some of more than the weight,
    rows of no batch, a linear column."""
    random = torch.Generator().manual_seed(0)
    start, decay = torch.randn(20, width, generator=random), 12 * torch.rand(20, generator=random)
    ours, theirs = (optimizer(start.clone(), decay, coupled, whole_table, 1, 3.0) for _ in range(2))
    ours.kernels = kernels()
    for _ in range(5):
        rows = torch.randperm(20, generator=random)[:13]
        gradient = torch.randn(13, width, generator=random)
        torch.testing.assert_close(ours.rows(rows), theirs.rows(rows), atol=1e-6, rtol=1e-5)
        for each in (ours, theirs):
            each.step(rows, gradient, 0.1)
    torch.testing.assert_close(ours.table, theirs.table, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.state(), theirs.state(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_dense_updates_are_those_of_torch(name: str) -> None:
    """Weights of several shapes in one row; a state that was saved goes on with the same bits."""
    shapes = [(3, 5), (7,), (1, 1)]
    random = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=random) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    flat, plain = FlatOptimizer(name, ours, kernels()), DenseOptimizer(name, theirs)
    for number in range(5):
        if number == 3:
            saved = {key: tensor.clone() for key, tensor in flat.state().items()}
            flat = FlatOptimizer(name, ours, kernels())
            flat.load_state(saved)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = b.grad = torch.randn(a.shape, generator=random)
        flat.step(0.01)
        plain.step(0.01)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_missing_gradient_is_an_error() -> None:
    """Left out, those behind it would move other weights than their own."""
    weights = [torch.nn.Parameter(torch.ones(size)) for size in (2, 3)]
    optimizer = FlatOptimizer("sgd", weights, kernels())
    weights[1].grad = torch.ones(3)
    with pytest.raises(AssertionError):
        optimizer.step(0.1)


@pytest.fixture
def quick(params: Params):
    """Two short epochs of a small DIN."""
    small = {"embedding_dim": 6, "attention_hidden": (12, 5), "hidden": (17, 6)}
    return replace(params.train, epochs=2, batch_size=32, threads=1, patience=9, checkpoint_minutes=1e-9, **small)


VARIANTS = [
    {},
    {"sequences": {"liked": {"rating": (4, "5")}, "all": {}}, "softmax": True},
    {"interaction": "outer", "activation": "prelu"},
    {"interaction": "outer"},
    {"dropout": 0.2},
    {"interest_product": False},
    {"linear": "wide"},
    {"linear": "none"},
    {"model": "pnn", "dropout": 0.2, "optimizer": "rowwise_adagrad", "learning_rate": 0.05},
    {"model": "deepfm", "clip_norm": 0.1},
    {"model": "lr"},
]


@pytest.mark.parametrize(
    ("changes", "declared"),
    [*((changes, FIELDS) for changes in VARIANTS), ({}, PLAIN), ({"linear": "wide", "softmax": True}, PLAIN)],
    ids=[*map(str, VARIANTS), "plain fields", "plain fields, wide"],
)
def test_a_run_ends_near_that_of_torch(changes: dict, declared: dict, tmp_path: Path, quick) -> None:
    """Losses and validation metrics of two epochs, whatever part of the model has kernels; fields that all have, and no
    feedback, too."""
    features, train = write_features(tmp_path, declared=declared), replace(quick, **changes)
    (_, ours), (_, theirs) = (fit(features, train, kernels=own) for own in (kernels(), None))
    for found, expected in zip(ours.history, theirs.history, strict=True):
        assert found == pytest.approx(expected, rel=2e-3)


def test_a_resumed_run_ends_with_the_same_bits(features: Features, quick, tmp_path: Path, fit_until_killed) -> None:
    """Killed in its second epoch and started again: same weights, which are not torch's bits."""
    whole, _ = fit(features, quick, kernels=kernels())
    fit_until_killed(13, features, quick, tmp_path / "state.safetensors", kernels=kernels())
    resumed, _ = fit(features, quick, tmp_path / "state.safetensors", kernels=kernels())
    assert torch.equal(whole.table, resumed.table)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))
    assert not torch.equal(whole.table, fit(features, quick)[0].table)


def test_kernels_and_torch_never_share_a_checkpoint(features: Features, params: Params) -> None:
    """What was found identifies a checkpoint, not the setting that led to it."""
    runs = [
        checkpoint.directory(features.root, replace(params.train, kernels=setting), False, identity)
        for setting in ("auto", "always")
        for identity in (None, "one", "another")
    ]
    assert len(set(runs[:3])) == 3
    assert runs[:3] == runs[3:]
