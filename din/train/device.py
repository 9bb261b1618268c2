"""Where training computes: the device, the backend of operations, how many threads, batches moved there."""

import os
from typing import Any

import torch
from torch import Tensor

from din.errors import InputError
from din.ops.backend import Backend
from din.params import Train


def choose(name: str) -> torch.device:
    """`train.device` as a device; auto: CUDA where there is a GPU. Ranks on one machine take a GPU each, in order.

    Raises:
        InputError: CUDA without a GPU for this rank.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    rank, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= there:
        raise InputError(
            f"process {rank + 1} of this machine needs a GPU of its own, there are {there}; "
            "lower train.processes, or set train.device: cpu"
        )
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def backend_of(params: Train) -> Backend:
    """Return `train.backend` for `din.ops.backend.using`; `auto` is `reference` where native operations don't fit.

    Raises:
        InputError: `native`, but they don't.
    """
    fits = choose(params.device).type == "cpu" and params.precision == "float32"
    if fits:
        return params.backend
    if params.backend == "native":
        raise InputError(
            "train.backend: native needs train.device cpu and precision float32; "
            f"got {params.device}, {params.precision}"
        )
    return "reference"


def threads(params: Train, processes: int) -> int:
    """How many threads each process computes with: `train.threads`, else its part of this machine's cores; one process
    alone as many as torch takes (OMP_NUM_THREADS, or the cores that it may use)."""
    if params.threads or processes == 1:
        return params.threads or torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def moved(value: Any, device: torch.device) -> Any:
    """Nested tuples of tensors on `device`: on CUDA pinned, and copied without waiting; on CPU themselves.

    The copy lies in the device's default stream, so what is launched later sees it.
    """
    if device.type == "cpu":
        return value
    if isinstance(value, Tensor):
        return value.pin_memory().to(device, non_blocking=True)
    if isinstance(value, tuple):
        parts = (moved(part, device) for part in value)
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
