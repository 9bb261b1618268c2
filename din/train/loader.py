"""Batches for training and evaluation, and a background thread that packs them while the model computes.

The order and the dropped ids are functions of (seed, epoch, batch, number of ranks), so a resumed epoch continues with
the same batches. Several ranks cut the epoch's order of shards and rows into contiguous shares, which differ by at most
one row. A rank reads only the shards of its share.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from typing import TypeVar

import numpy as np

from din.features.packing import PackedBatch, Packer
from din.features.reader import Features, Shard
from din.ops.deduplicate import Deduplicator
from din.train.distributed import ALONE, Ranks

T = TypeVar("T")

Key = tuple[int, ...]
"""Numbers that seed random numbers."""

GROUP = 8  # how many batches are packed in one go, and how many have their rows exchanged at once


@dataclass(frozen=True)
class TrainingBatch:
    """A packed batch, and the rows of the joint table that it touches.

    A single process has its own rows in `united`, and no `places`.
    """

    number: int  # of the batch in its epoch
    key: Key  # seeds everything random in the step of this rank
    rows: np.ndarray  # [U], distinct rows of the joint table that this rank's batch touches
    packed: PackedBatch  # this rank's part; the ids of its lookups are positions in `rows`
    impressions: int  # of all ranks
    united: np.ndarray  # [N], distinct rows of the joint table that any rank's batch touches
    places: list[np.ndarray]  # [its U], the places of each rank's rows in `united`


class TrainingLoader:
    """Shuffled batches of this rank's share of the training split. All rows of a batch come from one shard.

    All ranks yield the same number of batches. A rank whose share has fewer yields empty ones at the end.

    Args:
        batch_size: impressions in a batch of one rank.
        seed: determines the order of rows, and the values that are replaced by unknown.
    """

    def __init__(self, features: Features, packer: Packer, batch_size: int, seed: int, ranks: Ranks = ALONE) -> None:
        self._features = features
        self._packer = packer
        self._seed = seed
        self._size = batch_size
        self._ranks = ranks
        self._rows = features.split_rows("train")
        self._distinct_rows = Deduplicator(packer.layout.rows)

    def batches(self, epoch: int) -> int:
        """Return the number of batches of each rank in an epoch."""
        random = np.random.default_rng([self._seed, epoch])
        sizes = [self._rows[shard] for shard in random.permutation(len(self._rows))]
        shares_of_ranks = (replace(self._ranks, rank=rank).shares(sizes) for rank in range(self._ranks.size))
        return max(sum(-(-len(share) // self._size) for share in shares) for shares in shares_of_ranks)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TrainingBatch]:
        """Yield the batches of an epoch in order, from number `start` on."""
        batches = self._epoch(epoch, start)
        return batches if self._ranks.size == 1 else self._united(batches)

    def _epoch(self, epoch: int, start: int) -> Iterator[TrainingBatch]:
        random = np.random.default_rng([self._seed, epoch])
        shards = random.permutation(len(self._rows))
        number = 0
        for shard_number, share in zip(shards, self._ranks.shares([self._rows[i] for i in shards]), strict=True):
            order = random.permutation(self._rows[shard_number])[share.start : share.stop]
            batches = -(-len(order) // self._size)
            if number + batches > start:
                shard = self._features.shard(int(shard_number), "train")
                for batch in range(max(start - number, 0), batches):
                    rows = order[batch * self._size : (batch + 1) * self._size]
                    yield self.pack(shard, rows, epoch, number + batch)
            number += batches
        empty_batches = range(max(start, number), self.batches(epoch))  # while other ranks have more batches
        if empty_batches:
            shard = self._features.shard(0, "train")
            no_rows = np.empty(0, np.int64)
            for batch in empty_batches:
                yield self.pack(shard, no_rows, epoch, batch)

    def pack(self, shard: Shard, rows: np.ndarray, epoch: int, number: int) -> TrainingBatch:
        """Pack impressions `rows` of a shard as batch `number` of an epoch. `_united` adds the rows of other ranks."""
        key = (self._seed, epoch, number * self._ranks.size + self._ranks.rank)
        packed = self._packer.pack(shard, rows, np.random.default_rng(key))
        ids = [lookup.ids for lookup in packed.every_lookup()]
        distinct, positions = self._distinct_rows(np.concatenate(ids))
        ends = accumulate(map(len, ids), initial=0)
        parts = (positions[start:end] for start, end in pairwise(ends))
        return TrainingBatch(number, key, distinct, _relabelled(packed, parts), len(packed), distinct, [])

    def _united(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """Add to each batch the rows that the other ranks' batches touch."""
        while group := list(islice(batches, GROUP)):
            gathered = self._ranks.gather_rows([(batch.rows, batch.impressions) for batch in group])
            for batch, (rows, impressions) in zip(group, gathered, strict=True):
                united, places = self._distinct_rows(np.concatenate(rows))
                ends = np.cumsum([len(ids) for ids in rows])
                yield replace(batch, impressions=impressions, united=united, places=np.split(places, ends[:-1]))


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
        worker.shutdown(wait=False, cancel_futures=True)  # without waiting: the thread may wait for a lost rank
