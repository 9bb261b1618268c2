"""Updates of tables and dense weights against their references. Alone: `pytest tests/ops/test_updates.py`."""

import pytest
import torch
from backends import both_backends, needs_compiler

from din.ops import backend
from din.ops.backend import Backend
from din.ops.dense_update import dense_optimizer
from din.train.optimizers import TableOptimizer


@needs_compiler
@pytest.mark.parametrize("whole_table", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rowwise_adagrad"])
@pytest.mark.parametrize("width", [1, 17, 33])
def test_table_updates(optimizer: str, coupled: bool, whole_table: bool, width: int) -> None:
    """Table and state agree after five steps with either penalty, also where it is larger than the weight."""
    found = []
    for name in ("native", "reference"):
        random = torch.Generator().manual_seed(0)
        table, decay = torch.randn(20, width, generator=random), 12 * torch.rand(20, generator=random)
        options = {"coupled": coupled, "whole_table": whole_table, "linear": 1, "linear_rate": 3.0}
        ours = TableOptimizer(optimizer, table, decay, **options)
        with backend.using(name):
            for _ in range(5):
                rows = torch.randperm(20, generator=random)[:13]
                assert torch.equal(ours.rows(rows), ours.table[rows])
                ours.step(rows, torch.randn(13, width, generator=random), 0.1)
        found.append([ours.table, ours.state])
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-5)


def train(name: str, *backends: Backend, steps: int = 3) -> list[torch.nn.Parameter]:
    """Return weights of several shapes after some steps on each backend, each time by a new optimizer.

    An optimizer continues from the saved state of the one before.
    """
    random = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in [(3, 5), (7,), (1, 1)]]
    saved: dict[str, torch.Tensor] = {}
    for backend_name in backends:
        with backend.using(backend_name):
            optimizer = dense_optimizer(name, weights)
            if saved:
                optimizer.load_state(saved)
            for _ in range(steps):
                for weight in weights:
                    weight.grad = torch.randn(weight.shape, generator=random)
                optimizer.step(0.01)
            saved = {key: tensor.clone() for key, tensor in optimizer.state().items()}
    return weights


@needs_compiler
@pytest.mark.parametrize("name", ["adam", "sgd", "rowwise_adagrad"])
def test_dense_updates(name: str) -> None:
    """Weights of several shapes agree after nine steps, also if each backend continues the state of the other."""
    expected = train(name, "reference", "reference", "reference")
    orders: list[tuple[Backend, ...]] = [
        ("native", "native", "native"),
        ("native", "reference", "native"),
        ("reference", "native", "reference"),
    ]
    for backends in orders:
        torch.testing.assert_close(train(name, *backends), expected, atol=1e-6, rtol=1e-5)


@both_backends
@pytest.mark.parametrize("name", ["adam", "sgd", "rowwise_adagrad"])
def test_a_saved_state_continues_with_the_same_bits(name: str, backend_name: Backend) -> None:
    """A new optimizer with the state of another continues as the other would."""
    whole, resumed = train(name, backend_name, steps=6), train(name, backend_name, backend_name)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
