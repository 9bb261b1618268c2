"""Vectors exchanged by processes of one machine: through memory that all of them map, not through a network stack.

    memory: | vector of process 0 | vector of process 1 | …

Each writes its own part, tells every other by a byte over a socket, and reads all parts when it has heard from all.
A step of DIN takes nine exchanges, and eight carry 1 kB. gloo hands each on several times, 200–300 µs of CPU; here it
is one copy and one short message (docs/log.md). The price: Linux or macOS, and CPU tensors.
"""

import mmap
import os
import socket
import tempfile
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Neighbours:
    """A socket to, and memories shared with, every other process; for one thread of each.

    Args:
        rank, size: of this process, among how many.
        collect: takes a value of this process to those of all, in their order.
    """

    def __init__(self, rank: int, size: int, collect: Callable[[str], list[str]]) -> None:
        self._rank, self._size = rank, size
        self._peers: dict[int, socket.socket] = {}
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/rank")
            listener.listen(size)
            addresses = collect(f"{folder}/rank")
            for other in range(rank):
                self._peers[other] = peer = socket.socket(socket.AF_UNIX)
                peer.connect(addresses[other])
                peer.sendall(rank.to_bytes(4, "big"))
            for _ in range(rank + 1, size):
                peer, _ = listener.accept()
                self._peers[int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")] = peer
            if rank == 0:
                files = [_file_in_memory(), _file_in_memory()]
                for peer in self._peers.values():
                    socket.send_fds(peer, [b"\0"], files)
            else:
                _, files, _, _ = socket.recv_fds(self._peers[0], 1, 2)
        # In turns: a process that is one exchange ahead must not write where another still reads.
        self._now, self._next = map(_Memory, files)

    def __call__(self, own: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Tensors of this process, flat and one after the other, to each process's, in their order.

        Args:
            own: all of one type. sizes: of each process's vector, known to all.

        Returns:
            Views of the memory, valid until the next exchange.

        Raises:
            ConnectionError: a process is gone.
        """
        everyones = self._now.numbers(own[0].dtype, sum(sizes)).split(list(sizes))
        torch.cat([tensor.flatten() for tensor in own], out=everyones[self._rank])
        self._meet()
        return list(everyones)

    def gather(self, vector: Tensor) -> Tensor:
        """`__call__` for float32 vectors [n] as long on each process: [size, n]."""
        everyones, own = self._now.table(self._size, len(vector), self._rank)
        own.copy_(vector)
        self._meet()
        return everyones

    def _meet(self) -> None:
        """Wait until all have written."""
        for peer in self._peers.values():
            peer.sendall(b"\0")
        for other, peer in self._peers.items():
            if not peer.recv(1):
                raise ConnectionError(f"connection closed by process {other}")
        self._now, self._next = self._next, self._now


class _Memory:
    """A file's bytes, mapped; it grows with what it has to hold, at the same exchange and as far in every process."""

    def __init__(self, file: int) -> None:
        self._file, self._bytes = file, torch.empty(0, dtype=torch.uint8)
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}

    def numbers(self, dtype: torch.dtype, count: int) -> Tensor:
        """The first ones, [count]; earlier views stay good."""
        size = count * dtype.itemsize
        if size > len(self._bytes):
            os.ftruncate(self._file, 2 * size)
            self._bytes = torch.frombuffer(mmap.mmap(self._file, 2 * size), dtype=torch.uint8)
        return self._bytes[:size].view(dtype)

    def table(self, rows: int, columns: int, row: int) -> tuple[Tensor, Tensor]:
        """Float32 [rows, columns], and one of its rows: kept, since making views takes longer than filling them."""
        if columns not in self._tables:
            table = self.numbers(torch.float32, rows * columns).view(rows, columns)
            self._tables[columns] = table, table[row]
        return self._tables[columns]


def _file_in_memory() -> int:
    """A file without a name, which ends with its last process; on a disk only where the system has no other."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("din")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
