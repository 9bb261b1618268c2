"""Batches for training and evaluation, and a background thread that packs them while the model computes.

Order and dropped ids are functions of (seed, epoch, batch, number of ranks), so a resumed epoch goes on with the same
batches. Several ranks cut the epoch's order of shards and rows into contiguous shares, equal but for one row whatever
the shards' sizes: a rank reads the shards of its share only.
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

GROUP = 8  # batches that are packed in one go, and those whose rows are exchanged at once


@dataclass(frozen=True)
class TrainingBatch:
    """A packed batch whose lookups index `rows`, the distinct rows [U] of the joint table that it touches.

    Several ranks: `packed` is this rank's part; `impressions` counts those of all, `united` holds the distinct rows [N]
    that any of them touches, and `places` where each one's rows lie there. One: its own rows, and no places.
    """

    number: int
    rows: np.ndarray
    packed: PackedBatch
    impressions: int
    united: np.ndarray
    places: list[np.ndarray]


class TrainingLoader:
    """Shuffled batches of this rank's share of the training split; a batch never crosses a shard.

    All ranks yield the same number of batches, the last ones empty where a share has fewer.

    Args:
        features, packer: what to read and how to pack. batch_size: impressions of this rank. seed: of order and drops.
    """

    def __init__(self, features: Features, packer: Packer, batch_size: int, seed: int, ranks: Ranks = ALONE) -> None:
        self._features, self._packer, self._seed, self._size = features, packer, seed, batch_size
        self._ranks = ranks
        self._rows = features.split_rows("train")
        self._distinct_rows = Deduplicator(packer.layout.rows)

    def batches(self, epoch: int) -> int:
        """How many batches each rank trains in an epoch."""
        random = np.random.default_rng([self._seed, epoch])
        sizes = [self._rows[shard] for shard in random.permutation(len(self._rows))]
        every = (replace(self._ranks, rank=rank).shares(sizes) for rank in range(self._ranks.size))
        return max(sum(-(-len(part) // self._size) for part in shares) for shares in every)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TrainingBatch]:
        """Batches `start`.. of an epoch, in its order."""
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
        if rest := range(max(start, number), self.batches(epoch)):  # other ranks' shares take more batches
            shard, nothing = self._features.shard(0, "train"), np.empty(0, np.int64)
            for batch in rest:
                yield self.pack(shard, nothing, epoch, batch)

    def pack(self, shard: Shard, rows: np.ndarray, epoch: int, number: int) -> TrainingBatch:
        """Impressions `rows` of a shard as a batch of an epoch; other ranks' rows are not known yet."""
        draw = number * self._ranks.size + self._ranks.rank
        packed = self._packer.pack(shard, rows, np.random.default_rng([self._seed, epoch, draw]))
        ids = [lookup.ids for lookup in packed.every_lookup()]
        distinct, positions = self._distinct_rows(np.concatenate(ids))
        ends = accumulate(map(len, ids), initial=0)
        parts = (positions[start:end] for start, end in pairwise(ends))
        return TrainingBatch(number, distinct, _relabelled(packed, parts), len(packed), distinct, [])

    def _united(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """Let batches know what other ranks' batches touch."""
        while group := list(islice(batches, GROUP)):
            found = self._ranks.gather_rows([(batch.rows, batch.impressions) for batch in group])
            for batch, (rows, impressions) in zip(group, found, strict=True):
                united, places = self._distinct_rows(np.concatenate(rows))
                ends = np.cumsum([len(ids) for ids in rows])
                yield replace(batch, impressions=impressions, united=united, places=np.split(places, ends[:-1]))


def _relabelled(packed: PackedBatch, ids: Iterator[np.ndarray]) -> PackedBatch:
    """Replace the ids of a batch's lookups, in the order of `PackedBatch.every_lookup`."""
    lookups = {
        group: {name: replace(lookup, ids=next(ids)) for name, lookup in own.items()}
        for group, own in packed.lookups.items()
    }
    return replace(packed, lookups=lookups)


def evaluation_batches(packer: Packer, shard: Shard, rows: np.ndarray, batch_size: int) -> Iterator[PackedBatch]:
    """Impressions `rows` of a shard's split, in that order."""
    return prefetch(packer.pack(shard, rows[at : at + batch_size]) for at in range(0, len(rows), batch_size))


def prefetch(source: Iterator[T]) -> Iterator[T]:
    """Iterate `source` in one background thread, a group ahead; its exception is raised here, for the whole group.

    Made one at a time between steps, each would find cold caches. Groups grow, so that the first is soon there.
    """
    worker = ThreadPoolExecutor(1)

    def group(size: int) -> deque[T]:
        return deque(islice(source, size))

    try:
        ahead, size = worker.submit(group, 1), 1
        while elements := ahead.result():
            size = min(2 * size, GROUP)
            ahead = worker.submit(group, size)
            while elements:
                yield elements.popleft()
    finally:
        worker.shutdown(wait=False, cancel_futures=True)  # it may wait for a rank that is gone
