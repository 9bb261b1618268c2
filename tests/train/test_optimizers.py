"""Embedding updates by hand: Eq. 7, lazy Adam, row-wise Adagrad, penalties. Alone: `pytest tests/train`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from settings import changed

from din.features.reader import Features
from din.params import Params
from din.train.optimizers import TableOptimizer, learning_rate, row_decay

every_optimizer = pytest.mark.parametrize("name", ["sgd", "adam", "rowwise_adagrad"])


def test_sgd_with_mini_batch_aware_decay_is_equation_7() -> None:
    """The rows of the batch follow w ← w − η(g + λ/n_j·w), and other rows stay."""
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    n = torch.tensor([10.0, 2.0, 5.0])
    optimizer = TableOptimizer("sgd", table, 0.5 / n)
    optimizer.step(torch.tensor([1, 0]), torch.tensor([[0.1, 0.2], [0.3, 0.4]]), rate=0.1)
    expected = [
        [1.0 - 0.1 * (0.3 + 0.5 / 10 * 1.0), 2.0 - 0.1 * (0.4 + 0.5 / 10 * 2.0)],
        [3.0 - 0.1 * (0.1 + 0.5 / 2 * 3.0), 4.0 - 0.1 * (0.2 + 0.5 / 2 * 4.0)],
        [5.0, 6.0],
    ]
    torch.testing.assert_close(table, torch.tensor(expected))


def test_adam_equals_sparse_adam() -> None:
    """Five steps over different rows agree with torch's SparseAdam."""
    random = np.random.default_rng(0)
    start = torch.from_numpy(random.normal(size=(6, 3))).float()
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    optimizer, reference = TableOptimizer("adam", ours, torch.zeros(6)), torch.optim.SparseAdam([theirs], lr=0.01)
    for _ in range(5):
        rows = torch.from_numpy(random.choice(6, 3, replace=False))
        gradient = torch.from_numpy(random.normal(size=(3, 3))).float()
        optimizer.step(rows, gradient, rate=0.01)
        theirs.grad = torch.sparse_coo_tensor(rows.unsqueeze(0), gradient, (6, 3))
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)


def test_rowwise_adagrad_by_hand() -> None:
    """Each row has one accumulator of mean squares: two steps of one row, while another row stays."""
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    optimizer = TableOptimizer("rowwise_adagrad", table, torch.zeros(2))
    row = torch.tensor([0])
    optimizer.step(row, torch.tensor([[3.0, 1.0]]), rate=0.1)
    optimizer.step(row, torch.tensor([[0.0, 2.0]]), rate=0.1)
    first, second = (9 + 1) / 2, (9 + 1) / 2 + (0 + 4) / 2
    expected = [1 - 0.1 * 3 / first**0.5, 2 - 0.1 * 1 / first**0.5 - 0.1 * 2 / second**0.5]
    torch.testing.assert_close(table, torch.tensor([expected, [3.0, 4.0]]))
    torch.testing.assert_close(optimizer.state["squares"], torch.tensor([second, 0.0]))


@every_optimizer
def test_a_coupled_penalty_is_part_of_the_gradient(name: str) -> None:
    """Two steps with λ_j equal steps without it on the gradient g + λ_j·w, and under SGD the decoupled steps."""
    random = torch.Generator().manual_seed(0)
    start, decay = torch.randn(3, 2, generator=random), torch.tensor([0.5, 0.1, 0.7])
    ours, theirs, rows = start.clone(), start.clone(), torch.tensor([2, 0])
    coupled = TableOptimizer(name, ours, decay, coupled=True)
    plain = TableOptimizer(name, theirs, torch.zeros(3))
    for _ in range(2):
        gradient = torch.randn(2, 2, generator=random)
        plain.step(rows, gradient + decay[rows].unsqueeze(1) * theirs[rows], rate=0.1)
        coupled.step(rows, gradient, rate=0.1)
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(ours[1], start[1])
    beside = start.clone()
    TableOptimizer(name, beside, decay).step(rows, gradient, rate=0.1)
    inside = start.clone()
    TableOptimizer(name, inside, decay, coupled=True).step(rows, gradient, rate=0.1)
    assert torch.allclose(beside, inside) == (name == "sgd")


@pytest.mark.parametrize("coupled", [False, True])
@every_optimizer
def test_linear_columns_have_a_rate_of_their_own_and_no_penalty(name: str, coupled: bool) -> None:
    """The first column moves three times as far as without a penalty, and the others as if no column were linear."""
    random = torch.Generator().manual_seed(0)
    start, gradient = torch.randn(4, 3, generator=random), torch.randn(4, 3, generator=random)
    if name == "rowwise_adagrad":  # one accumulator per row: a penalty on one column would change all columns
        start[:, 1:] = 0
    tables = [start.clone() for _ in range(3)]
    decay, every = torch.full((4,), 0.3), torch.arange(4)
    own = TableOptimizer(name, tables[0], decay, coupled=coupled, linear=1, linear_rate=3.0)
    own.step(every, gradient, rate=0.1)
    TableOptimizer(name, tables[1], torch.zeros(4)).step(every, gradient, rate=0.1)
    TableOptimizer(name, tables[2], decay, coupled=coupled).step(every, gradient, rate=0.1)
    torch.testing.assert_close(tables[0][:, 0] - start[:, 0], 3 * (tables[1][:, 0] - start[:, 0]))
    others = 1 if name == "rowwise_adagrad" else 2
    torch.testing.assert_close(tables[0][:, 1:], tables[others][:, 1:])


@pytest.mark.parametrize("penalty", ["coupled", "decoupled"])
def test_only_lr_has_its_linear_weights_penalised(penalty: str, params: Params) -> None:
    """LR has no other weights. Other models have linear weights beside embeddings, and the chosen penalty for these."""
    learning = changed(params.train, penalty=penalty).learning
    for linear, penalised in ((3, [1, 1, 1]), (1, [0, 1, 1])):
        optimizer = TableOptimizer.of(learning, torch.zeros(2, 3), torch.ones(2), linear)
        assert (optimizer.penalised.tolist(), optimizer.coupled) == (penalised, penalty == "coupled")


@pytest.mark.parametrize("coupled", [False, True])
def test_the_whole_table_is_what_a_dense_optimizer_updates(coupled: bool) -> None:
    """`l2_full` equals torch's AdamW (decoupled) and Adam (coupled) on a dense parameter, for all rows."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=random)
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    optimizer = TableOptimizer("adam", ours, torch.full((4,), 0.3), coupled=coupled, whole_table=True)
    reference = (torch.optim.Adam if coupled else torch.optim.AdamW)([theirs], lr=0.01, weight_decay=0.3)
    for rows in ([1, 3], [0], [3, 1]):
        gradient = torch.randn(len(rows), 3, generator=random)
        optimizer.step(torch.tensor(rows), gradient, rate=0.01)
        theirs.grad = torch.zeros(4, 3).index_copy_(0, torch.tensor(rows), gradient)
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)
    assert not (ours[2] == start[2]).any()


def test_the_learning_rate_decays_by_epochs_or_by_steps(params: Params) -> None:
    """The rate follows the paper's 1 × 0.1^k, with k the number of epochs, or of `decay_steps` steps."""
    by_epoch = changed(params.train, learning_rate=1.0, decay=0.1).learning
    assert [learning_rate(by_epoch, epoch, 99) for epoch in range(3)] == pytest.approx([1, 0.1, 0.01])
    by_steps = replace(by_epoch, decay_steps=4)
    assert [learning_rate(by_steps, 0, step) for step in (0, 3, 4, 8)] == pytest.approx([1, 1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        ("mini_batch_aware", lambda n: 3.0 / n),
        ("l2_batch", lambda n: 3.0),
        ("l2_full", lambda n: 3.0),
        ("dropout", lambda n: 0.0),
        ("none", lambda n: 0.0),
    ],
)
def test_each_regularizer_has_its_own_decay(regularizer, expected, features: Features, params: Params) -> None:
    """Rows of the joint table get λ/n_j of Eq. 6, λ, or 0; only `l2_full` updates rows outside the batch."""
    train = changed(params.train, regularizer=regularizer, regularization=3.0, unknown_rate=0.0)
    decay = row_decay(features, train.learning)
    n = np.concatenate([features.vocabulary(field.name)["impressions"].to_numpy() for field in features.fields])
    np.testing.assert_allclose(decay.numpy(), [expected(max(count, 1)) for count in n], rtol=1e-6)
    assert TableOptimizer.of(train.learning, torch.zeros(len(n), 2), decay, 1).whole_table == (regularizer == "l2_full")
