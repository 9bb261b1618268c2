"""The synthetic impressions for all contestants, generated with numpy only.

Ids start at 1 (0 is the peers' padding), histories are ordered from old to new, and each item has one category. The
popularity of items has a long tail. A click is likely if the history has an item of the candidate's category, so that
there is something to learn.
"""

from dataclasses import dataclass

import numpy as np

EPOCH_ROWS = 2_600_000  # impressions of Amazon Electronics under the paper's protocol
TAIL = 0.8  # the exponent of item popularity by rank
MEAN_LENGTH = 9  # of Amazon-like histories
CATEGORIES = 800
ROWS_PER_USER = 10
CLICKED = 0.75  # the click probability if the history has the candidate's category
SKIPPED = 0.25  # the click probability otherwise


@dataclass(frozen=True)
class Workload:
    """The settings of a synthetic log and of the models trained on it.

    `lengths` is "uniform" (history lengths from 1 to `max_history`, half filled) or "short" (geometric, mean about 9).
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
class WorkloadRows:
    """N impressions with their concatenated histories.

    Attributes:
        user: int64 [N].
        item: int64 [N], the candidates.
        label: float32 [N].
        length: int64 [N], the lengths of the histories.
        history: int64 [sum of lengths], item ids.
        category_of: int64 [items + 1], the category of each item.
        users: the number of users.
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
        """Return the histories as [N, width], padded with zeros on the right, as the peers need them."""
        filled = np.arange(width) < self.length[:, None]
        padded = np.zeros(filled.shape, np.int64)
        padded[filled] = self.history
        return padded


def draw(workload: Workload) -> tuple[WorkloadRows, WorkloadRows]:
    """Draw the impressions of a workload, and a request. Equal seeds give equal results."""
    rows = impressions(workload)
    return rows, one_request(workload, rows)


def impressions(workload: Workload) -> WorkloadRows:
    """Draw the impressions of a workload. Equal seeds give equal impressions."""
    random = np.random.default_rng(workload.seed)
    count = workload.rows
    items = workload.items
    category_of = np.concatenate([[0], random.integers(1, CATEGORIES + 1, items)])
    popularity = np.cumsum(np.arange(1, items + 1) ** -TAIL)

    def some_items(size: int) -> np.ndarray:
        return np.searchsorted(popularity, random.random(size) * popularity[-1]) + 1

    length = random.integers(1, workload.max_history + 1, count)
    if workload.lengths == "short":
        length = np.minimum(random.geometric(1 / MEAN_LENGTH, count), workload.max_history)
    length[0] = workload.max_history  # RecBole pads to the longest history, other peers to a given length
    history = some_items(int(length.sum()))
    item = some_items(count)
    _plant(history, length, item, category_of, random)
    owner = np.repeat(np.arange(count), length)
    met = np.bincount(owner, category_of[history] == category_of[item][owner]) > 0
    label = random.random(count) < np.where(met, CLICKED, SKIPPED)
    users = max(2, count // ROWS_PER_USER)
    return WorkloadRows(
        random.integers(1, users + 1, count), item, label.astype(np.float32), length, history, category_of, users
    )


def one_request(workload: Workload, rows: WorkloadRows, candidates: int = 500) -> WorkloadRows:
    """Draw a request of one user with the longest history, as one row per candidate, which the peers need."""
    random = np.random.default_rng(workload.seed + 1)
    history = random.integers(1, workload.items + 1, workload.max_history)
    item = random.integers(1, workload.items + 1, candidates)
    same = np.ones(candidates, np.int64)
    label = np.zeros(candidates, np.float32)
    length = same * workload.max_history
    return WorkloadRows(same, item, label, length, np.tile(history, candidates), rows.category_of, rows.users)


def _plant(
    history: np.ndarray, length: np.ndarray, item: np.ndarray, category_of: np.ndarray, random: np.random.Generator
) -> None:
    """Put an item of the candidate's category into the history of about every second impression."""
    by_category = np.argsort(category_of, kind="stable")
    first = np.searchsorted(category_of[by_category], np.arange(CATEGORIES + 2))
    chosen = np.flatnonzero(random.random(len(item)) < 0.5)
    category = category_of[item[chosen]]
    start = first[category]
    size = np.diff(first)[category]
    place = np.cumsum(length)[chosen] - 1 - (random.random(len(chosen)) * length[chosen]).astype(np.int64)
    history[place] = by_category[start + (random.random(len(chosen)) * size).astype(np.int64)]
