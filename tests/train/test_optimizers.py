"""Embedding updates by hand: Eq. 7 and lazy Adam. Alone: `pytest tests/train`."""

import numpy as np
import pytest
import torch

from din.train.optimizers import TableAdam, TableSGD


def test_sgd_with_mini_batch_aware_decay_is_equation_7() -> None:
    """w ← w − η(g + λ/n_j·w) on the batch's rows, others untouched."""
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    n = torch.tensor([10.0, 2.0, 5.0])
    optimizer = TableSGD(table, 0.5 / n)
    optimizer.step(torch.tensor([1, 0]), torch.tensor([[0.1, 0.2], [0.3, 0.4]]), rate=0.1)
    expected = [
        [1.0 - 0.1 * (0.3 + 0.5 / 10 * 1.0), 2.0 - 0.1 * (0.4 + 0.5 / 10 * 2.0)],
        [3.0 - 0.1 * (0.1 + 0.5 / 2 * 3.0), 4.0 - 0.1 * (0.2 + 0.5 / 2 * 4.0)],
        [5.0, 6.0],
    ]
    torch.testing.assert_close(table, torch.tensor(expected))


def test_adam_equals_sparse_adam() -> None:
    """Five steps over changing rows agree with torch's SparseAdam."""
    random = np.random.default_rng(0)
    start = torch.from_numpy(random.normal(size=(6, 3))).float()
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    optimizer, reference = TableAdam(ours, torch.zeros(6)), torch.optim.SparseAdam([theirs], lr=0.01)
    for _ in range(5):
        rows = torch.from_numpy(random.choice(6, 3, replace=False))
        gradient = torch.from_numpy(random.normal(size=(3, 3))).float()
        optimizer.step(rows, gradient, rate=0.01)
        theirs.grad = torch.sparse_coo_tensor(rows.unsqueeze(0), gradient, (6, 3))
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("optimizer", [TableAdam, TableSGD])
def test_decay_alone_shrinks_by_eta_lambda_over_n(optimizer) -> None:
    """With a zero gradient a row shrinks by exactly 1 − η·λ/n_j, under Adam too (decoupled)."""
    table = torch.ones(2, 2)
    optimizer(table, torch.tensor([0.4, 0.8])).step(torch.tensor([0, 1]), torch.zeros(2, 2), rate=0.5)
    torch.testing.assert_close(table, torch.tensor([[0.8, 0.8], [0.6, 0.6]]))
