"""Run a function in several processes that have joined as ranks."""

import os
from collections.abc import Callable
from multiprocessing import forkserver

import torch
import torch.multiprocessing as multiprocessing

from din.train.distributed import joined
from din.train.launch import environments

CPU = torch.device("cpu")
LOADED_ONCE = ["din.train.fit", "hypothesis", "pytest"]
"""Modules that take seconds to import. The processes are forked from one that has imported them."""


def together(processes: int, body: Callable[..., None], *arguments: object) -> None:
    """Run body(ranks, *arguments) in several joined processes. An assertion that fails in one of them fails here."""
    forkserver.set_forkserver_preload(LOADED_ONCE)
    arguments = (environments(processes), body, arguments)
    multiprocessing.start_processes(_join_and_run, arguments, processes, start_method="forkserver")


def _join_and_run(rank: int, environment: list[dict[str, str]], body: Callable[..., None], arguments: tuple) -> None:
    os.environ |= environment[rank]
    torch.set_num_threads(1)
    with joined(CPU) as ranks:
        body(ranks, *arguments)
