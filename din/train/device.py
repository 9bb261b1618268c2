"""Where training computes: the device, batches moved to it, the precision of the dense part."""

import os
from typing import Any

import torch
from torch import Tensor

from din.errors import InputError


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
            f"train: process {rank + 1} of this machine needs a GPU of its own, there are {there}; "
            "lower train.processes or set train.device: cpu"
        )
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


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
