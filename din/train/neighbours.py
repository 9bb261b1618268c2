"""Vectors of items from the behaviours of training users: which items go together, and how feedback on them varies.

`din.model.blend` reads them. T behaviours of U users are given as arrays [T] of users and item ids; id 0, the unknown
item, has zeros everywhere. Memory grows with T and with items × rank.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

_RANK = 64
_DAMPING = 5.0  # added to the degree of an item, so that rare pairs count for less
_FACTORS = 12
_STEPS = 15
_PRIOR = 60.0  # precision of an item's factors: the number of behaviours that the mean item counts for
_LEVEL = 0.4  # where the first factor starts: the part of a user's feedback that all items share
_OFTEN = 20  # behaviours of an item from which on its factors tell what those of a new one may be
_MOST = 1 << 20  # behaviours that factors are fitted on
_CHUNK = 1 << 15


def cosine_vectors(user_T: Ids, item_T: Ids, items: int) -> Floats:
    """Return vectors of length 1 whose products tell how often two items are in one history, [items, rank].

    They are rows of the leading eigenvectors of (D + 5)^-½ C (D + 5)^-½. C counts the users who had two different
    items, and D its row sums. C itself is never made, since a long history has many pairs. An item that is in no
    history with another one has a vector of zeros.
    """
    known = item_T > 0
    user = np.unique(user_T[known], return_inverse=True)[1]
    had = sp.csr_matrix((np.ones(len(user)), (user, item_T[known])), shape=(int(user.max(initial=-1)) + 1, items))
    had.sum_duplicates()
    had.data[:] = 1
    users_of = np.asarray(had.sum(0)).ravel()
    degree = had.T @ (np.asarray(had.sum(1)).ravel() - 1) if len(user) else np.zeros(items)
    rank = min(_RANK, items - 2, int((degree > 0).sum()) - 1)
    if rank < 1:
        return np.zeros((items, 1))
    scale = 1 / np.sqrt(degree + _DAMPING)

    def product(x: Floats) -> Floats:
        scaled = scale * x.ravel()
        return scale * (had.T @ (had @ scaled) - users_of * scaled)

    counts = LinearOperator((items, items), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    _, vectors = eigsh(counts, k=rank, which="LM", v0=np.ones(items))
    vectors[degree == 0] = 0
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-9)


def shrunk_means(item_T: Ids, value_T: Floats, items: int, shrink: float) -> Floats:
    """Return the mean value of each item, [items], drawn to the mean of all by `shrink` further behaviours."""
    mean = value_T.mean()
    return mean + np.bincount(item_T, value_T - mean, items) / (np.bincount(item_T, minlength=items) + shrink)


class Factors(NamedTuple):
    """A factor model of feedback: x ≈ v_item·w_user."""

    item_Ir: Floats
    noise: float


def factors(user_T: Ids, item_T: Ids, x_T: Floats, items: int, seed: int) -> Factors:
    """Fit x ≈ v_item·w_user by expectation maximisation, with w ~ N(0, 1) and v ~ N(mean of the items, 1/precision).

    The first factor starts alike for all items, so it becomes the user's level. A log of more than `_MOST` behaviours
    is fitted on those of a part of its users.
    """
    known = item_T > 0
    user, item, x = user_T[known], item_T[known], x_T[known]
    share = -(-len(user) // _MOST)
    if share > 1:
        drawn = np.unique(user, return_inverse=True)[1] % share == 0
        user, item, x = user[drawn], item[drawn], x[drawn]
    order = np.argsort(user, kind="stable")
    user, item, x = user[order], item[order], x[order]
    starts = np.flatnonzero(np.append(True, user[1:] != user[:-1]))
    chunks = _chunks(starts, len(user))
    often = np.bincount(item, minlength=items) > _OFTEN
    v: Floats = np.random.default_rng(seed).normal(0, 0.1, (items, _FACTORS))
    v[:, 0] = _LEVEL
    mean = np.zeros(_FACTORS)
    mean[0] = _LEVEL
    noise = 1.0
    for step in range(_STEPS):
        a = np.zeros((items, _FACTORS, _FACTORS))
        b = np.zeros((items, _FACTORS))
        squares = 0.0
        for first, last in chunks:
            squares += _add(a, b, v, noise, user[first:last], item[first:last], x[first:last])
        if step > 1 and often.any():
            mean[0] = v[often, 0].mean()
        ridge = noise * _PRIOR
        v = np.linalg.solve(a + ridge * np.eye(_FACTORS), (b + ridge * mean)[..., None])[..., 0].astype(np.float64)
        noise = squares / len(x)
    v[0] = 0
    return Factors(v, noise)


def _chunks(starts: Ids, total: int) -> list[tuple[int, int]]:
    """Return ranges of behaviours, each of whole users and about `_CHUNK` long, given where each user begins."""
    cuts = [int(starts[0])]
    for begin in [*starts[1:].tolist(), total]:
        if begin - cuts[-1] >= _CHUNK or begin == total:
            cuts.append(begin)
    return list(pairwise(cuts))


def _add(a: Floats, b: Floats, v: Floats, noise: float, user: Ids, item: Ids, x: Floats) -> float:
    """Add the moments of users' factors to each of their items: Σ w·wᵀ to `a`, Σ w·x to `b`.

    Returns:
        The sum of the expected squares of x − v·w.
    """
    width = v.shape[1]
    rows = np.arange(len(x))
    place_of_user = np.unique(user, return_inverse=True)[1]
    distinct, place_of_item = np.unique(item, return_inverse=True)
    of_user = sp.csr_matrix((np.ones(len(x)), (place_of_user, rows)))
    of_item = sp.csr_matrix((np.ones(len(x)), (place_of_item, rows)))
    v_T = v[item]
    outer = (v_T[:, :, None] * v_T[:, None, :]).reshape(len(x), -1)
    covariance = np.linalg.inv((of_user @ outer).reshape(-1, width, width) / noise + np.eye(width))
    w = np.einsum("urs,us->ur", covariance, of_user @ (v_T * x[:, None])) / noise
    moment = covariance + w[:, :, None] * w[:, None, :]
    a[distinct] += (of_item @ moment[place_of_user].reshape(len(x), -1)).reshape(-1, width, width)
    b[distinct] += of_item @ (w[place_of_user] * x[:, None])
    spread = np.einsum("tr,trs,ts->", v_T, covariance[place_of_user], v_T)
    return float(((x - (v_T * w[place_of_user]).sum(1)) ** 2).sum() + spread)
