"""Batches for training and evaluation, packed by a background thread while the model computes.

Order and dropped ids are functions of (seed, epoch, batch), so a resumed epoch goes on with the same batches.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from din.eventlog.packing import Deduplicator, Lookup, PackedBatch, Packer
from din.eventlog.reader import Features, Shard

T = TypeVar("T")

PREFETCH = 4


@dataclass(frozen=True)
class TrainingBatch:
    """A packed batch whose lookups index `rows`, the distinct rows [N] of the joint table that it touches."""

    number: int
    rows: np.ndarray
    packed: PackedBatch


class TrainingLoader:
    """Shuffled batches of the training split; a batch never crosses a shard.

    Args:
        features, packer: what to read and how to pack. batch_size: impressions. seed: of order and drops.
    """

    def __init__(self, features: Features, packer: Packer, batch_size: int, seed: int) -> None:
        self._features, self._packer, self._seed, self._size = features, packer, seed, batch_size
        self._rows = features.split_rows("train")
        self._distinct_rows = Deduplicator(packer.layout.rows)
        self.batches = sum(-(-rows // batch_size) for rows in self._rows)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TrainingBatch]:
        """Batches `start`.. of an epoch, in its order."""
        return _prefetch(self._epoch(epoch, start))

    def _epoch(self, epoch: int, start: int) -> Iterator[TrainingBatch]:
        random = np.random.default_rng([self._seed, epoch])
        number = 0
        for shard_number in random.permutation(len(self._rows)):
            order = random.permutation(self._rows[shard_number])
            batches = -(-len(order) // self._size)
            if number + batches > start:
                shard = self._features.shard(int(shard_number), "train")
                for batch in range(max(start - number, 0), batches):
                    rows = order[batch * self._size : (batch + 1) * self._size]
                    yield self._pack(shard, rows, epoch, number + batch)
            number += batches

    def _pack(self, shard: Shard, rows: np.ndarray, epoch: int, number: int) -> TrainingBatch:
        packed = self._packer.pack(shard, rows, np.random.default_rng([self._seed, epoch, number]))
        lookups = packed.lookups()
        distinct, positions = self._distinct_rows(np.concatenate([lookup.ids for lookup in lookups]))
        parts = iter(np.split(positions, np.cumsum([len(lookup.ids) for lookup in lookups])[:-1]))

        def compact(group: dict[str, Lookup]) -> dict[str, Lookup]:
            return {name: replace(lookup, ids=next(parts)) for name, lookup in group.items()}

        groups = ("items", "behaviours", "users", "contexts")  # the order of PackedBatch.lookups
        return TrainingBatch(
            number, distinct, replace(packed, **{name: compact(getattr(packed, name)) for name in groups})
        )


def evaluation_batches(packer: Packer, shard: Shard, batch_size: int) -> Iterator[PackedBatch]:
    """All impressions of a shard's split in file order."""
    rows = np.arange(len(shard.impressions))
    return _prefetch(packer.pack(shard, rows[at : at + batch_size]) for at in range(0, len(rows), batch_size))


def _prefetch(source: Iterator[T]) -> Iterator[T]:
    """Iterate `source` in one background thread, `PREFETCH` elements ahead; its exception is raised here."""
    with ThreadPoolExecutor(1) as worker:
        ahead = deque(worker.submit(next, source, None) for _ in range(PREFETCH))
        while (element := ahead.popleft().result()) is not None:
            ahead.append(worker.submit(next, source, None))
            yield element
