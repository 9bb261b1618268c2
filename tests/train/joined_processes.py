"""Run a function in several processes that have joined, as ranks do."""

import os
from collections.abc import Callable

import torch
import torch.multiprocessing as multiprocessing

from din.train.distributed import joined
from din.train.launch import environments

CPU = torch.device("cpu")


def together(processes: int, body: Callable[..., None], *arguments: object) -> None:
    """Run body(ranks, *arguments) in several processes that have joined; their assertions fail here."""
    multiprocessing.spawn(_join_and_run, (environments(processes), body, arguments), processes)


def _join_and_run(rank: int, environment: list[dict[str, str]], body: Callable[..., None], arguments: tuple) -> None:
    os.environ |= environment[rank]
    torch.set_num_threads(1)
    with joined(CPU) as ranks:
        body(ranks, *arguments)
