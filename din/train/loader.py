"""Batches for training and evaluation, and a background thread that packs them while the model computes.

An epoch visits the training rows in random order. The order and the dropped ids are functions of (seed, epoch, batch),
so a resumed epoch continues with the same batches. For a loss over requests, it visits requests in random order, and
the end of a batch may cut one. A day's rows are visited shard after shard, and by time within a
shard.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from typing import TypeVar

import numpy as np

from din.features.day_rows import DayRows
from din.features.packing import PackedBatch, Packer, requests_of
from din.features.reader import Features, Shard
from din.ops.deduplicate import Deduplicator
from din.schema import SplitName
from din.train.weights import RowWeights

T = TypeVar("T")

Key = tuple[int, ...]
"""Numbers that seed random numbers."""

GROUP = 8  # the number of batches that are packed at once


@dataclass(frozen=True)
class TrainingBatch:
    """A packed batch, and the rows of the joint table that it touches."""

    number: int  # of the batch in its epoch or day
    key: Key  # seeds everything random in the step
    rows: np.ndarray  # [U], distinct rows of the joint table
    packed: PackedBatch  # the ids of its lookups are positions in `rows`
    weights: np.ndarray | None  # float32 [B], of the impressions in the loss; None: all are 1
    offset: float  # added to the logits in the loss, for the negatives that the log or training left out


class TrainingLoader:
    """Batches of the rows to learn. All rows of a batch come from one shard.

    Args:
        batch_size: impressions in a batch.
        seed: determines the order of rows, and the values that are replaced by unknown.
    """

    def __init__(self, features: Features, packer: Packer, batch_size: int, seed: int) -> None:
        self._features = features
        self._packer = packer
        self._seed = seed
        self._size = batch_size
        self._rows = features.split_rows("train")
        self._weights = RowWeights(features) if features.weighted else None
        self._distinct_rows = Deduplicator(packer.layout.rows)

    @property
    def batches(self) -> int:
        """The number of batches of an epoch."""
        return sum(-(-rows // self._size) for rows in self._rows)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TrainingBatch]:
        """Yield the batches of an epoch in order, from number `start` on."""
        random = np.random.default_rng([self._seed, epoch])
        shards = random.permutation(len(self._rows)).tolist()
        orders = (self._order(shard, random) for shard in shards)
        return self._visited("train", zip(shards, orders, strict=True), (self._seed, epoch), start=start)

    def _order(self, shard: int, random: np.random.Generator) -> np.ndarray:
        """Return the training rows of a shard in random order, those of one request side by side if the model asks."""
        order = random.permutation(self._rows[shard])
        if not self._packer.requests:
            return order
        request = requests_of(self._features.shard(shard, "train").impressions, order)
        return order[np.argsort(random.permutation(len(order))[request], kind="stable")]

    def day(self, rows: DayRows) -> Iterator[TrainingBatch]:
        """Yield the batches of a day in order. Their keys have a fourth number, unlike those of an epoch."""
        return self._visited(rows.split, enumerate(rows.positions), (self._seed, rows.day.toordinal()), (1,))

    def _visited(
        self, split: SplitName, orders: Iterable[tuple[int, np.ndarray]], key: Key, kind: Key = (), start: int = 0
    ) -> Iterator[TrainingBatch]:
        """Yield batches from number `start` on.

        Args:
            orders: each shard's number, and the positions of its rows in the order of the visit.
            key: the beginning of each batch's key; its number follows, and then `kind`.
        """
        offset = self._features.offset(split)
        number = 0
        for shard_number, order in orders:
            batches = -(-len(order) // self._size)
            if number + batches > start:
                shard = self._features.shard(shard_number, split)
                for batch in range(max(start - number, 0), batches):
                    rows = order[batch * self._size : (batch + 1) * self._size]
                    yield self.pack(shard, rows, number + batch, (*key, number + batch, *kind), offset)
            number += batches

    def pack(self, shard: Shard, rows: np.ndarray, number: int, key: Key, offset: float = 0.0) -> TrainingBatch:
        """Pack impressions `rows` of a shard as batch `number`."""
        packed = self._packer.pack(shard, rows, np.random.default_rng(key))
        ids = [lookup.ids for lookup in packed.every_lookup()]
        distinct, positions = self._distinct_rows(np.concatenate(ids))
        ends = accumulate(map(len, ids), initial=0)
        parts = (positions[start:end] for start, end in pairwise(ends))
        weights = self._weights.of(shard.impressions, rows) if self._weights else None
        return TrainingBatch(number, key, distinct, _relabelled(packed, parts), weights, offset)


def _relabelled(packed: PackedBatch, ids: Iterator[np.ndarray]) -> PackedBatch:
    """Replace the ids of a batch's lookups, in the order of `PackedBatch.every_lookup`."""
    lookups = {
        group: {name: replace(lookup, ids=next(ids)) for name, lookup in fields.items()}
        for group, fields in packed.lookups.items()
    }
    return replace(packed, lookups=lookups)


def evaluation_batches(packer: Packer, shard: Shard, rows: np.ndarray, batch_size: int) -> Iterator[PackedBatch]:
    """Yield impressions `rows` of a shard as batches, in that order."""
    return prefetch(packer.pack(shard, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size))


def prefetch(source: Iterator[T]) -> Iterator[T]:
    """Iterate over `source` in one background thread, one group of elements ahead.

    Making elements in groups keeps caches warm. Groups start small so that the first element arrives early. An error in
    `source` is raised here, before the first element of its group.
    """
    worker = ThreadPoolExecutor(1)

    def group(size: int) -> deque[T]:
        return deque(islice(source, size))

    try:
        size = 1
        ahead = worker.submit(group, size)
        while elements := ahead.result():
            size = min(2 * size, GROUP)
            ahead = worker.submit(group, size)
            while elements:
                yield elements.popleft()
    finally:
        worker.shutdown(wait=False, cancel_futures=True)
