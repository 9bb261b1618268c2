"""The device, threads, precision and processes of a run: `train.compute`, resolved once for all parts of training."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from din import cores
from din.errors import InputError
from din.ops import backend
from din.params import ComputeParams
from din.train.distributed import ALONE, Ranks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Compute:
    """The device and threads of this process, the precision of the dense part, and the ranks that train together.

    `computing` creates it and sets up the process accordingly. The backend is not part of it, since `din.ops.backend`
    holds that choice for the whole process.
    """

    device: torch.device = CPU
    threads: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    ranks: Ranks = ALONE

    @property
    def settled(self) -> dict[str, Any]:
        """Return all choices that the bits of a run depend on, including the backend."""
        return {
            "device": self.device.type,
            "threads": self.threads,
            "processes": self.ranks.size,
            "backend": backend.identity(),
            "precision": self.precision,
        }


CPU_ALONE = Compute()


@contextmanager
def computing(params: ComputeParams, ranks: Ranks = ALONE) -> Iterator[Compute]:
    """Resolve `train.compute`, and set up this process accordingly until the end of the block.

    Raises:
        InputError: there is no GPU for this rank, or native operations are asked for and not available.
    """
    device = device_of(params)
    fits = device.type == "cpu" and params.precision == "float32"
    chosen = params.backend if fits else "reference"
    threads = threads_of(params)
    earlier_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with backend.using(chosen, ranks.collect):
            yield Compute(device, threads, params.precision, ranks)
    finally:
        torch.set_num_threads(earlier_threads)


def device_of(params: ComputeParams) -> torch.device:
    """Return the device of this process. `auto` is a GPU where there is one, unless `backend` is `native`.

    Each rank on a machine takes one GPU, in order.

    Raises:
        InputError: there is no GPU for this rank.
    """
    if params.device == "cpu":
        return CPU
    if params.device == "auto" and (params.backend == "native" or not torch.cuda.is_available()):
        return CPU
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count()
    if rank >= gpus:
        raise InputError(
            f"process {rank + 1} of this machine needs a GPU of its own, but there are {gpus}; "
            "lower train.compute.processes, or set train.compute.device: cpu"
        )
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def threads_of(params: ComputeParams) -> int:
    """Return `threads` if set. Otherwise return an equal share of this machine's cores for each process."""
    if params.threads:
        return params.threads
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(cores.available() // processes, 1)


def moved(value: Any, device: torch.device) -> Any:
    """Return nested tuples and dictionaries of tensors on `device`. For CUDA, pin and copy them without waiting.

    The copy is queued in the device's default stream, so operations launched later see it.
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
    return value
