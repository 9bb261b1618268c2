"""Several processes that train one model: each rank holds the whole table and applies the same updates to it.

Rows of the training split are dealt to ranks (`Ranks.shares`). What crosses between ranks for one step:

    rows       int64 ids of the table rows that each rank's batch touches, sizes first, for several batches at once, by
               the loader's thread; every rank then knows where each one's rows lie in their union
    moments    of each Dice layer (din/ops/dice.py): once forward, once backward
    gradients  the loss, those of the dense weights and of this rank's rows [U, W], flat: once

Each is a gather of vectors whose lengths may differ between ranks: a padded all-gather of gloo or nccl. No sparse
tensor is reduced (NCCL can't), and every rank takes the sums in the same order, so replicas keep the same bits. A dead
peer is noticed by its closed connection or by the launcher, not by a time-out: a rank may wait for hours while rank 0
waits for the stage lock.
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
    """All-gathers between `size` ranks, in the order of ranks; `group` None is the default group."""

    size: int
    group: dist.ProcessGroup | None

    def __call__(self, own: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Send this rank's tensors as one flat vector, and return the vector of each rank.

        Args:
            own: tensors of one type.
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
    """This process among those that train together; alone, nothing is exchanged.

    exchange: used by the training thread. ahead: used by the loader's thread; the two must not share a group.
    group: used for values of any kind.
    """

    rank: int = 0
    size: int = 1
    exchange: Exchange | None = None
    ahead: Exchange | None = None
    group: dist.ProcessGroup | None = None

    def shares(self, sizes: Sequence[int]) -> list[range]:
        """This rank's rows of shards with these sizes, as positions in each shard.

        A rank's rows are contiguous in the order given, so it reads few shards that another reads too; numbers of rows
        differ by one at most, whatever the sizes.
        """
        total, begin, parts = sum(sizes), 0, []
        first, last = (rank * total // self.size for rank in (self.rank, self.rank + 1))
        for size in sizes:
            parts.append(range(min(max(first - begin, 0), size), min(max(last - begin, 0), size)))
            begin += size
        return parts

    def gather(self, vector: Tensor) -> Tensor:
        """Float32 [n] of this rank to [ranks, n] of all; the same bits on each."""
        assert self.exchange
        return self.exchange.gather(vector)

    def add(
        self, dense: Sequence[Tensor], rows: Tensor, places: Sequence[Tensor], united: int
    ) -> tuple[list[Tensor], Tensor]:
        """Sums over ranks, taken in their order by each of them, so that all get the same bits.

        Args:
            dense: float32 tensors of the same shapes on each rank.
            rows: float32 [U, W], one for each table row that this rank's batch touches.
            places: where each rank's rows lie, int64 [its U], among the `united` ones that any of them touches.

        Returns:
            Sums of the dense tensors, and of the rows: [united, W].
        """
        assert self.exchange
        count, width = sum(tensor.numel() for tensor in dense), rows.shape[1]
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
        """Row ids (int64, any length) and impressions of this rank's batches, to each rank's ids and the total of each.

        For the loader's thread.
        """
        assert self.ahead
        own = torch.tensor([(len(rows), impressions) for rows, impressions in batches])
        counts = torch.stack(self.ahead([own], [own.numel()] * self.size)).view(self.size, -1, 2).numpy()
        lengths = counts[:, :, 0]
        everyones = self.ahead([torch.from_numpy(rows) for rows, _ in batches], lengths.sum(1).tolist())
        ids = [np.split(flat.numpy(), np.cumsum(of)[:-1]) for flat, of in zip(everyones, lengths, strict=True)]
        return [(list(rows), int(total)) for *rows, total in zip(*ids, counts[:, :, 1].sum(0), strict=True)]

    def collect(self, value: T) -> list[T]:
        """One (picklable) value of each rank, in their order; not while the loader's thread runs."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, self.group)
        return values


ALONE = Ranks()


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the group that torchrun's environment variables describe: nccl for a GPU, else gloo."""
    on_gpu = device.type == "cuda"
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    rank, size = dist.get_rank(), dist.get_world_size()
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup)  # every rank is a member
    yield Ranks(rank, size, Exchange(size, None), Exchange(size, group), group)
    dist.destroy_process_group()  # not on errors: it could wait for ranks that wait for this one
