"""`din train` and `python -m din.train`: one process, or several that train together.

A process started by torchrun or by `start`, which set RANK and WORLD_SIZE, is one rank. Otherwise
`train.compute.processes` says how many ranks to start on this machine. Rank 0 holds the stage lock, prints, and writes
the outputs. A rank that fails reports its error, writes the outcome and terminates the others.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stdout, suppress

from din import stage
from din.errors import InputError
from din.params import load
from din.workspace import Workspace

SECONDS_TO_BE_ENDED = 60.0
SECONDS_FOR_RANK_0 = 3.0


def main(workspace: Workspace) -> int:
    """Run the stage `train` and return the exit code."""
    if {"RANK", "WORLD_SIZE"} <= os.environ.keys():  # some clusters set WORLD_SIZE alone
        return be_rank(workspace)
    processes = 1
    with suppress(InputError):  # the stage reports it, while it holds its lock
        processes = load(workspace.params).train.compute.processes
    return start(processes) if processes > 1 else train_alone(workspace)


def train_alone(workspace: Workspace) -> int:
    """Train in this process."""
    with stage.running("train", workspace, workspace.training):
        from din.train.run import train

        train(workspace, load(workspace.params))
    return 0


def be_rank(workspace: Workspace) -> int:
    """Train as the rank that torchrun's environment variables describe, and return the exit code."""
    rank = int(os.environ["RANK"])
    try:
        with (
            redirect_stdout(sys.stdout if rank == 0 else None),
            stage.running("train", workspace, workspace.training, leader=rank == 0),
        ):
            _train_together(workspace)
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code or 0))  # without waiting: a thread of this process may wait for ranks that wait for it
    return 0


def _train_together(workspace: Workspace) -> None:
    from din.train.compute import device_of
    from din.train.distributed import joined
    from din.train.run import train

    params = load(workspace.params)
    try:
        with joined(device_of(params.train.compute)) as ranks:
            train(workspace, params, ranks)
    except Exception as error:
        if says_rank_gone(error):
            time.sleep(SECONDS_TO_BE_ENDED)  # a lost rank has reported its error, and the launcher will terminate us
        elif os.environ["RANK"] != "0":
            time.sleep(SECONDS_FOR_RANK_0)  # if all ranks fail for the same reason, rank 0 reports it for all
        raise


def says_rank_gone(error: Exception) -> bool:
    """Return whether an error comes from the exchange with another rank.

    Gloo's errors have no type of their own, but name the source file: `[…/gloo/transport/tcp/pair.cc:553] Connection …`
    """
    from torch.distributed import DistError

    by_gloo = type(error) is RuntimeError and re.search(r"\[\S*/gloo/\S+\.\w+:\d+\]", str(error))
    return isinstance(error, DistError) or bool(by_gloo)


def start(processes: int) -> int:
    """Run `python -m din.train` in `processes` ranks on this machine. The first to fail ends all of them.

    Returns:
        0, or the exit code of the rank that failed, or 1 if a signal ended it.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for environment in environments(processes):
            command = [sys.executable, "-m", "din.train"]
            ranks.append(subprocess.Popen(command, env={**os.environ, **environment}, stdout=sys.stdout))
        codes = [None]
        while None in codes and not any(codes):
            time.sleep(0.1)
            codes = [process.poll() for process in ranks]
    finally:
        for process in ranks:
            process.terminate()
        for process in ranks:
            process.wait()
    failed = next(((rank, code) for rank, code in enumerate(codes) if code), None)
    if failed is None:
        return 0
    rank, code = failed
    if code > 0:
        return code
    print(
        f"train: process {rank} of {processes} was ended by signal {-code}; run the stage again to resume",
        file=sys.stderr,
    )
    return 1


def environments(processes: int) -> list[dict[str, str]]:
    """Return the environment variables of each rank on this machine, named as torchrun names them.

    They include a free port at which the ranks meet.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
    }
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
