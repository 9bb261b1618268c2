"""The device and threads of a run: `train.compute`, resolved once for all parts of training."""

import ctypes
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from din.base import cores
from din.base.errors import InputError
from din.ops import backend
from din.params.train import ComputeParams

CPU = torch.device("cpu")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_BLOCKS = (1 << 30, 32 << 20)  # glibc before 2.35 refuses more than 32 MiB


@dataclass(frozen=True)
class Compute:
    """The device and threads of this process.

    `computing` creates it and sets up the process accordingly. The backend is not part of it, since `din.ops.backend`
    holds that choice for the whole process.
    """

    device: torch.device = CPU
    threads: int = 1

    @property
    def settled(self) -> dict[str, Any]:
        """All choices that the bits of a run depend on, including the backend."""
        return {
            "device": self.device.type,
            "threads": self.threads,
            "backend": backend.identity(),
        }


CPU_ALONE = Compute()


@contextmanager
def computing(params: ComputeParams) -> Iterator[Compute]:
    """Resolve `train.compute`, and set up this process accordingly until the end of the block.

    Raises:
        InputError: a GPU or native operations are asked for and not available.
    """
    device = _device(params)
    chosen = params.backend if device.type == "cpu" else "reference"
    threads = params.threads or cores.available()
    earlier_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with backend.using(chosen):
            yield Compute(device, threads)
    finally:
        torch.set_num_threads(earlier_threads)


def _device(params: ComputeParams) -> torch.device:
    """Return the device of this process. `auto` is a GPU if there is one, unless `backend` is `native`.

    Raises:
        InputError: `cuda` is asked for, and there is no GPU.
    """
    if params.device == "cpu":
        return CPU
    if torch.cuda.is_available() and (params.device == "cuda" or params.backend != "native"):
        return torch.device("cuda")
    if params.device == "cuda":
        raise InputError("train.compute.device: cuda, but torch sees no GPU here; set it to auto or cpu")
    return CPU


def moved(value: Any, device: torch.device) -> Any:
    """Return nested tuples, dictionaries and dataclasses of tensors on `device`.

    For CUDA, tensors are pinned and copied without waiting. The copies are queued in the device's default stream, so
    operations launched later see them.
    """
    if device.type == "cpu":
        return value
    if isinstance(value, Tensor):
        return value.pin_memory().to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    if isinstance(value, tuple):
        parts = (moved(part, device) for part in value)
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: moved(getattr(value, field.name), device) for field in fields(value)})
    return value


def in_large_pages(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor in large pages of memory. On a GPU, or where Linux is missing, return it unchanged.

    A training step touches rows anywhere in a table. With pages of 4 KiB, the processor has to look up the page of
    almost every row. Large pages save 3 % of an epoch with 100,000 items (docs/log.md).
    """
    if tensor.device.type != "cpu" or sys.platform != "linux":
        return tensor
    memory = mmap.mmap(-1, tensor.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=tensor.dtype).view(tensor.shape).copy_(tensor)


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed blocks. Do nothing with another C library.

    Each training step allocates and frees the same few large blocks. By default, glibc returns blocks of 128 KiB and
    more to the system as soon as they are freed, and the kernel zeroes them page by page when they are allocated again.
    That is 5,000 page faults per step, a fifth to a half of its time. Peak memory is that of the largest step either
    way.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            accepted = next((size for size in _LARGEST_BLOCKS if mallopt(_M_MMAP_THRESHOLD, size)), None)
            if accepted:
                mallopt(_M_TRIM_THRESHOLD, accepted)
