"""The synthetic impressions that everybody gets: numpy only.

Ids start at 1 (0 is the peers' padding), a history is oldest first, and an item has one category. Items follow a long
tail. A click is likely where the history holds the candidate's category: so there is something to learn.
"""

from dataclasses import dataclass

import numpy as np

EPOCH_ROWS = 2_600_000  # impressions of Amazon Electronics under the paper's protocol
TAIL = 0.8  # exponent of the items' popularity by rank
MEAN_LENGTH = 9  # of Amazon-like histories
CATEGORIES, ROWS_PER_USER = 800, 10
CLICKED, SKIPPED = 0.75, 0.25  # click probability with and without the candidate's category in the history


@dataclass(frozen=True)
class Workload:
    """A synthetic log to draw, and the batches to feed it in.

    lengths: "uniform" over 1..max_history (half filled) or "short" (geometric, mean about 9).
    """

    name: str
    lengths: str
    max_history: int
    batch: int
    rows: int = 20_000
    items: int = 100_000
    dim: int = 16
    seed: int = 0


WORKLOADS = (
    Workload("half-filled", "uniform", max_history=50, batch=256),
    Workload("amazon-like", "short", max_history=100, batch=1024),
)


@dataclass(frozen=True)
class Rows:
    """N impressions; histories one after the other.

    user, item, category: int64 [N]. label: float32 [N]. length: int64 [N]. history: int64 [sum of lengths], item ids.
    category_of: int64 [items + 1].
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray
    length: np.ndarray
    history: np.ndarray
    category_of: np.ndarray
    users: int

    @property
    def category(self) -> np.ndarray:
        """The category of each row's candidate, [N]."""
        return self.category_of[self.item]

    def padded(self, width: int) -> np.ndarray:
        """Histories as [N, width], zeros on the right: how the peers want them."""
        filled = np.arange(width) < self.length[:, None]
        padded = np.zeros(filled.shape, np.int64)
        padded[filled] = self.history
        return padded


def draw(workload: Workload) -> Rows:
    """The impressions of a workload; the same seed gives the same."""
    random = np.random.default_rng(workload.seed)
    count, items = workload.rows, workload.items
    category_of = np.concatenate([[0], random.integers(1, CATEGORIES + 1, items)])
    popularity = np.cumsum(np.arange(1, items + 1) ** -TAIL)

    def some_items(size: int) -> np.ndarray:
        return np.searchsorted(popularity, random.random(size) * popularity[-1]) + 1

    length = random.integers(1, workload.max_history + 1, count)
    if workload.lengths == "short":
        length = np.minimum(random.geometric(1 / MEAN_LENGTH, count), workload.max_history)
    length[0] = workload.max_history  # RecBole pads to the longest, the others to what they are told
    history, item = some_items(int(length.sum())), some_items(count)
    _plant(history, length, item, category_of, random)
    owner = np.repeat(np.arange(count), length)
    met = np.bincount(owner, category_of[history] == category_of[item][owner]) > 0
    label = random.random(count) < np.where(met, CLICKED, SKIPPED)
    users = max(2, count // ROWS_PER_USER)
    return Rows(
        random.integers(1, users + 1, count), item, label.astype(np.float32), length, history, category_of, users
    )


def one_request(workload: Workload, rows: Rows, candidates: int = 500) -> Rows:
    """One user with the longest history and many candidates, as a row each: what a peer has to score."""
    random = np.random.default_rng(workload.seed + 1)
    history, item = (random.integers(1, workload.items + 1, n) for n in (workload.max_history, candidates))
    same = np.ones(candidates, np.int64)
    label, length = np.zeros(candidates, np.float32), same * workload.max_history
    return Rows(same, item, label, length, np.tile(history, candidates), rows.category_of, rows.users)


def _plant(
    history: np.ndarray, length: np.ndarray, item: np.ndarray, category_of: np.ndarray, random: np.random.Generator
) -> None:
    """Put an item of the candidate's category into the histories of every second impression."""
    by_category = np.argsort(category_of, kind="stable")
    first = np.searchsorted(category_of[by_category], np.arange(CATEGORIES + 2))
    chosen = np.flatnonzero(random.random(len(item)) < 0.5)
    start, size = first[category_of[item[chosen]]], np.diff(first)[category_of[item[chosen]]]
    place = np.cumsum(length)[chosen] - 1 - (random.random(len(chosen)) * length[chosen]).astype(np.int64)
    history[place] = by_category[start + (random.random(len(chosen)) * size).astype(np.int64)]
