"""Several processes that train one model. Each rank holds the whole table and applies the same updates to it.

The rows of the training split are divided among the ranks (`Ranks.shares`). For one step the ranks exchange

    rows       the ids of the table rows that each rank's batch touches, int64, after their numbers. The loader's thread
               does this for several batches at once. Then every rank knows the place of each rank's rows in the union
    moments    of each Dice layer (din/ops/dice.py), once forward and once backward
    gradients  the loss, and the gradients of the dense weights and of the rank's own rows [U, W], as one vector, once

Each exchange gathers vectors whose lengths may differ between ranks, as a padded all-gather of gloo or nccl. No sparse
tensor is reduced, which NCCL does not support. All ranks add in the same order, so they keep the same bits.

A dead rank is noticed by its closed connection or by the launcher, not by a time-out: a rank may wait for hours while
rank 0 waits for the stage lock.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from din.ops.rows import add_rows

T = TypeVar("T")

PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Exchange:
    """All-gathers between `size` ranks, with results in the order of ranks. `group` None is the default group."""

    size: int
    group: dist.ProcessGroup | None

    def __call__(self, own: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Send this rank's tensors as one flat vector, and return the vector of each rank.

        Args:
            own: this rank's tensors, all of one type.
            sizes: the length of each rank's vector.
        """
        padded = torch.cat([tensor.flatten() for tensor in own]).resize_(max(sizes))
        return [vector[:size] for vector, size in zip(self.gather(padded), sizes, strict=True)]

    def gather(self, vector: Tensor) -> Tensor:
        """Return the vectors [n] of all ranks, [ranks, n]."""
        everyones = vector.new_empty(self.size, len(vector))
        dist.all_gather(list(everyones.unbind()), vector, self.group)
        return everyones


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. A process that is alone exchanges nothing.

    Attributes:
        exchange: used by the training thread.
        ahead: used by the loader's thread, and therefore in a group of its own.
        group: used to exchange Python values.
    """

    rank: int = 0
    size: int = 1
    exchange: Exchange | None = None
    ahead: Exchange | None = None
    group: dist.ProcessGroup | None = None

    def shares(self, sizes: Sequence[int]) -> list[range]:
        """Return this rank's rows of each shard, as positions in the shard.

        The rows of a rank are contiguous in the given order, so two ranks read few shards in common. The ranks' numbers
        of rows differ by at most one, however uneven the shards are.

        Args:
            sizes: the number of rows of each shard.
        """
        total = sum(sizes)
        first = self.rank * total // self.size
        end = (self.rank + 1) * total // self.size
        begin = 0
        parts = []
        for size in sizes:
            parts.append(range(min(max(first - begin, 0), size), min(max(end - begin, 0), size)))
            begin += size
        return parts

    def gather(self, vector: Tensor) -> Tensor:
        """Return the float32 vectors [n] of all ranks, [ranks, n], given that of this rank."""
        assert self.exchange
        return self.exchange.gather(vector)

    def add(
        self, dense: Sequence[Tensor], rows: Tensor, places: Sequence[Tensor], united: int
    ) -> tuple[list[Tensor], Tensor]:
        """Return sums over all ranks. Each rank adds in the order of ranks, so that all get the same bits.

        Args:
            dense: float32 tensors, of the same shapes on each rank.
            rows: float32 [U, W], one row for each table row that this rank's batch touches.
            places: int64 [its U] for each rank, the places of its rows in the union of all ranks' rows.
            united: the number of rows in the union.

        Returns:
            The sums of the dense tensors, and of the rows [united, W].
        """
        assert self.exchange
        count = sum(tensor.numel() for tensor in dense)
        width = rows.shape[1]
        everyones = self.exchange([*dense, rows], [count + len(place) * width for place in places])
        total = rows.new_zeros(united, width)
        for vector, place in zip(everyones, places, strict=True):
            add_rows(total, place, vector[count:].view(-1, width))
        flat = everyones[0][:count].clone()
        for vector in everyones[1:]:
            flat += vector[:count]
        sums = flat.split([tensor.numel() for tensor in dense])
        return [part.view_as(tensor) for part, tensor in zip(sums, dense, strict=True)], total

    def gather_rows(self, batches: list[tuple[np.ndarray, int]]) -> list[tuple[list[np.ndarray], int]]:
        """Exchange the table rows that batches touch. Only the loader's thread may call this.

        Args:
            batches: ids of rows (int64, any number) and the number of impressions, for each batch of this rank.

        Returns:
            For each batch, the ids of each rank, and the number of impressions of all ranks.
        """
        assert self.ahead
        own = torch.tensor([(len(rows), impressions) for rows, impressions in batches])
        counts = torch.stack(self.ahead([own], [own.numel()] * self.size)).view(self.size, -1, 2).numpy()
        lengths = counts[:, :, 0]
        everyones = self.ahead([torch.from_numpy(rows) for rows, _ in batches], lengths.sum(1).tolist())
        ids = [np.split(flat.numpy(), np.cumsum(of)[:-1]) for flat, of in zip(everyones, lengths, strict=True)]
        return [(list(rows), int(total)) for *rows, total in zip(*ids, counts[:, :, 1].sum(0), strict=True)]

    def collect(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order, given that of this rank. A value must be picklable.

        Must not be called while the loader's thread runs.
        """
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, self.group)
        return values


ALONE = Ranks()


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the ranks that torchrun's environment variables describe. They talk through nccl on GPUs, else gloo."""
    on_gpu = device.type == "cuda"
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    rank, size = dist.get_rank(), dist.get_world_size()
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup)  # every rank is a member
    yield Ranks(rank, size, Exchange(size, None), Exchange(size, group), group)
    dist.destroy_process_group()  # not on errors: it could wait for ranks that wait for this one
