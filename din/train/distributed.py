"""Several processes that train one model: each rank holds the whole table and applies the same updates to it.

Rows of the training split are dealt to ranks (`Ranks.shares`). What crosses between ranks for one step:

    rows       int64 ids of the table rows that each rank's batch touches: a padded all-gather, sizes first, for several
               batches at a time, by the loader's thread; every rank then works on the union, in the same order
    moments    of each Dice layer (din/model/dice.py): one all-gather forward, one backward
    gradients  of the dense weights and of the union's rows [U, W], and the loss, flat: one all-reduce

No sparse tensor is reduced (NCCL can't), and every update is a function of exchanged values only: replicas keep the
same bits. Dead peers are noticed by their closed connection or by the launcher, not by a time-out: a rank may wait for
hours while rank 0 waits for the stage lock.
"""

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=7)


class Neighbours:
    """A Unix socket to every other rank, where all are on one machine.

    For messages of a few kB, eight a step: an exchange costs 5 µs of CPU here, and 200–300 µs in gloo, whose threads
    hand it on several times (docs/log.md).
    """

    def __init__(self, rank: int, size: int, group: dist.ProcessGroup) -> None:
        self._rank = rank
        self._peers: dict[int, socket.socket] = {}
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/rank")
            listener.listen(size)
            addresses = [f"{folder}/rank"] * size
            dist.all_gather_object(addresses, addresses[rank], group)
            for other in range(rank):
                self._peers[other] = peer = socket.socket(socket.AF_UNIX)
                peer.connect(addresses[other])
                peer.sendall(rank.to_bytes(4, "big"))
            for _ in range(rank + 1, size):
                peer, _ = listener.accept()
                self._peers[int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")] = peer

    def gather(self, vector: Tensor) -> Tensor:
        """Float32 [n] of this rank to [ranks, n] of all; n small enough for a socket's buffer."""
        everyones = vector.new_empty(len(self._peers) + 1, len(vector))
        everyones[self._rank] = vector
        array = everyones.numpy()
        for peer in self._peers.values():
            peer.sendall(array[self._rank])
        for other, peer in self._peers.items():
            if peer.recv_into(array[other], array[other].nbytes, socket.MSG_WAITALL) < array[other].nbytes:
                raise ConnectionError(f"connection closed by process {other}")
        return everyones


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone, nothing is exchanged.

    ahead: a group of the loader's thread, since collectives of two threads of one group would mix.
    neighbours: where all ranks are on one machine and compute on its CPU.
    """

    rank: int = 0
    size: int = 1
    ahead: dist.ProcessGroup | None = None
    neighbours: Neighbours | None = None

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
        """Float32 [n] of this rank to [ranks, n] of all, for small n; the same bits on each."""
        if self.neighbours:
            return self.neighbours.gather(vector)
        everyones = vector.new_empty(self.size, len(vector))
        dist.all_gather(list(everyones.unbind()), vector)
        return everyones

    def add(self, tensors: list[Tensor]) -> None:
        """Replace float32 tensors by their sums over ranks, in one all-reduce."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def gather_rows(self, batches: list[tuple[np.ndarray, int]]) -> list[tuple[list[np.ndarray], int]]:
        """Row ids (int64, any length) and impressions of this rank's batches, to each rank's ids and the total of each.

        For the loader's thread.
        """
        own = np.array([(len(rows), impressions) for rows, impressions in batches])
        counts = self._gather(own.ravel()).reshape(self.size, -1, 2)
        padded = np.zeros(counts[:, :, 0].sum(1).max(), np.int64)
        np.concatenate([rows for rows, _ in batches], out=padded[: own[:, 0].sum()])
        everyones = self._gather(padded)
        ids = [np.split(flat, np.cumsum(count))[:-1] for flat, count in zip(everyones, counts[:, :, 0], strict=True)]
        return [(list(rows), int(total)) for *rows, total in zip(*ids, counts[:, :, 1].sum(0), strict=True)]

    def collect(self, value: T) -> list[T]:
        """One (picklable) value of each rank, in their order; not while the loader's thread runs."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, self.ahead)
        return values

    def _gather(self, array: np.ndarray) -> np.ndarray:
        everyones = torch.empty(self.size, len(array), dtype=torch.int64)
        dist.all_gather(list(everyones.unbind()), torch.from_numpy(array), self.ahead)
        return everyones.numpy()


ALONE = Ranks()


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the group that torchrun's environment variables describe: nccl for a GPU, else gloo."""
    on_gpu = device.type == "cuda"
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    rank, size = dist.get_rank(), dist.get_world_size()
    ahead = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(ahead, dist.ProcessGroup)  # every rank is a member
    one_machine = os.environ.get("LOCAL_WORLD_SIZE") == str(size)
    yield Ranks(rank, size, ahead, None if on_gpu or not one_machine else Neighbours(rank, size, ahead))
    dist.destroy_process_group()  # not on errors: it could wait for ranks that wait for this one
