"""Vectors of items, compared with dense matrices. Alone: `pytest tests/din/train/test_neighbours.py`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.train import neighbours
from din.train.neighbours import cosine_vectors, factors, shrunk_means

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 11)), max_size=60)


@given(PAIRS)
def test_vectors_are_eigenvectors_of_the_scaled_counts(pairs: list[tuple[int, int]]) -> None:
    """The dense matrix has the same ones. A vector has length 1, or 0 if the item is never beside another one."""
    items = 12
    together = np.zeros((items, items))
    for user in range(10):
        had = {item for who, item in pairs if who == user and item > 0}
        for one in had:
            for other in had - {one}:
                together[one, other] += 1
    degree = together.sum(0)
    user_T, item_T = np.array(pairs, np.int64).reshape(-1, 2).T
    vectors = cosine_vectors(user_T, item_T, items)
    lengths = np.linalg.norm(vectors, axis=1)
    assert ((lengths == 0) | (abs(lengths - 1) < 1e-9)).all()
    assert (lengths[degree == 0] == 0).all()
    scaled = together / np.sqrt(np.outer(degree + 5, degree + 5))
    values, whole = np.linalg.eigh(scaled)
    rank = vectors.shape[1]
    order = np.argsort(-abs(values))
    kept, cut = abs(values[order[:rank]]), abs(values[order[rank:]])
    if degree.any() and kept[-1] > cut[0] + 1e-6:  # no tie between the last one kept and the first one left out
        expected = whole[:, order[:rank]] * (degree > 0)[:, None]
        expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-9)
        np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-6)


def rated(users: int = 120, items: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return users, items, noisy feedback with two planted factors and a level, and the feedback without noise."""
    random = np.random.default_rng(3)
    user, item = np.divmod(random.permutation(users * items)[: users * 12], items)
    w, v = random.normal(size=(users, 3)), random.normal(size=(items, 3)) * 0.5
    v[:, 0] = 0.5
    true = (w[user] * v[item]).sum(1)
    return user, item + 1, true + random.normal(size=len(user)) * 0.3, true


def test_factors_learn_what_was_planted() -> None:
    """The posterior means that EM ends with explain most of the planted feedback, and the noise is near the truth."""
    user, item, x, true = rated()
    fitted = factors(user, item, x, 31, seed=0)
    v = fitted.item_Ir
    predicted = np.empty(len(x))
    for who in range(120):
        rows = user == who
        a = v[item[rows]]
        w = np.linalg.solve(a.T @ a + fitted.noise * np.eye(a.shape[1]), a.T @ x[rows])
        predicted[rows] = a @ w
    assert np.corrcoef(predicted, true)[0, 1] > 0.9
    assert 0.05 < fitted.noise < 0.4
    assert (v[0] == 0).all()


def test_chunks_change_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are summed up in chunks, so that memory is bounded."""
    user, item, x, _ = rated()
    whole = factors(user, item, x, 31, seed=1)
    monkeypatch.setattr(neighbours, "_CHUNK", 50)
    in_chunks = factors(user, item, x, 31, seed=1)
    np.testing.assert_allclose(in_chunks.item_Ir, whole.item_Ir, atol=1e-8)
    assert in_chunks.noise == pytest.approx(whole.noise)


def test_a_large_log_is_fitted_on_a_part_of_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part has whole users."""
    user, item, x, _ = rated()
    drawn = user % 2 == 0
    expected = factors(user[drawn], item[drawn], x[drawn], 31, seed=1)
    monkeypatch.setattr(neighbours, "_MOST", len(x) // 2)
    np.testing.assert_array_equal(factors(user, item, x, 31, seed=1).item_Ir, expected.item_Ir)


def test_means_are_drawn_to_that_of_all() -> None:
    """An item without behaviours has the mean of all, and one with many its own."""
    item = np.array([1] * 95 + [2] * 5)
    value = np.where(item == 1, 1.0, 3.0)
    means = shrunk_means(item, value, 4, 5)
    np.testing.assert_allclose(means, [1.1, (95 + 5 * 1.1) / 100, (15 + 5 * 1.1) / 10, 1.1])
