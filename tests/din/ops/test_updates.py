"""Updates of tables and dense weights, against loops, torch's optimizers and references."""

import pytest
import torch
from torch import Tensor

from din.ops import backend
from din.ops.backend import Backend
from din.ops.dense_update import dense_optimizer
from din.ops.row_update import BETA_1, BETA_2, EPSILON
from din.params.train import LearningParams
from din.train.optimizers import TableOptimizer
from tests.helpers.backends import both_backends, needs_compiler


def by_rows(
    name: str, start: Tensor, decay: Tensor, steps: list[tuple[Tensor, Tensor]], coupled: bool, rate: float
) -> Tensor:
    """Return the table after some steps, by one row after the other.

    Its first column is linear, unless it is the only one, as in LR.
    """
    table, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    penalised = torch.ones(start.shape[1])
    if start.shape[1] > 1:
        penalised[0] = 0
    for number, (rows, gradients) in enumerate(steps, 1):
        for row, own in zip(rows.tolist(), gradients, strict=True):
            shrink = decay[row] * penalised
            if not coupled:
                table[row] *= (1 - rate * shrink).clamp_min(0)
            gradient = own + shrink * table[row] if coupled else own
            if name == "adam":
                first[row] = BETA_1 * first[row] + (1 - BETA_1) * gradient
                second[row] = BETA_2 * second[row] + (1 - BETA_2) * gradient**2
                size = (second[row] / (1 - BETA_2**number)).sqrt() + EPSILON
                gradient = first[row] / (1 - BETA_1**number) / size
            table[row] -= rate * gradient
    return table


@both_backends
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("width", [1, 17, 33])
def test_table_updates(name: str, coupled: bool, width: int, backend_name: Backend) -> None:
    """Eq. 7 and lazy Adam equal a loop over rows, with penalties up to more than the weight."""
    random = torch.Generator().manual_seed(0)
    table, decay = torch.randn(20, width, generator=random), 12 * torch.rand(20, generator=random)
    drawn = [(torch.randperm(20, generator=random)[:13], torch.randn(13, width, generator=random)) for _ in range(5)]
    expected = by_rows(name, table, decay, drawn, coupled, rate=0.1)
    learning = LearningParams(optimizer=name, penalty="coupled" if coupled else "decoupled")
    optimizer = TableOptimizer(learning, table, decay, linear=1)
    with backend.using(backend_name):
        for rows, gradient in drawn:
            optimizer.step(rows, gradient, rate=0.1)
    torch.testing.assert_close(table, expected, atol=1e-5, rtol=1e-5)


@both_backends
@pytest.mark.parametrize("coupled", [False, True])
def test_the_whole_table_is_what_a_dense_optimizer_updates(coupled: bool, backend_name: Backend) -> None:
    """`l2_full` equals torch's AdamW (decoupled) and Adam (coupled) on a dense parameter, for all rows."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=random)
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    learning = LearningParams(regularizer="l2_full", penalty="coupled" if coupled else "decoupled")
    optimizer = TableOptimizer(learning, ours, torch.full((4,), 0.3), linear=0)
    reference = (torch.optim.Adam if coupled else torch.optim.AdamW)([theirs], lr=0.01, weight_decay=0.3)
    for rows in ([1, 3], [0], [3, 1]):
        gradient = torch.randn(len(rows), 3, generator=random)
        with backend.using(backend_name):
            optimizer.step(torch.tensor(rows), gradient, rate=0.01)
        theirs.grad = torch.zeros(4, 3).index_copy_(0, torch.tensor(rows), gradient)
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)
    assert not (ours[2] == start[2]).any()


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
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_dense_updates(name: str) -> None:
    """Nine steps agree with those of one reference, also if each backend continues the state of another optimizer."""
    expected = train(name, "reference", steps=9)
    orders: list[tuple[Backend, ...]] = [
        ("reference", "reference", "reference"),
        ("native", "native", "native"),
        ("native", "reference", "native"),
    ]
    for backends in orders:
        torch.testing.assert_close(train(name, *backends), expected, atol=1e-6, rtol=1e-5)
