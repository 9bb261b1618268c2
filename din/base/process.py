"""Run commands of this environment as child processes, and log their output."""

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import NamedTuple

from din.base.errors import Unavailable, shown

BIN = Path(sys.executable).parent
TAIL = 400  # the number of last lines of output that are kept
ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}

log = logging.getLogger(__name__)


class CommandFailed(Unavailable):
    """A command of git or DVC failed; the same call may succeed later."""


class Done(NamedTuple):
    """The exit code of a command, and the last lines that it printed."""

    code: int
    output: str


def stream(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    show: Callable[[str], object] = log.info,
    pass_fds: Sequence[int] = (),
    own_group: bool = True,
) -> Done:
    """Run a command, and show each line as it comes.

    Args:
        command: the first word is looked up in this environment, then on PATH.
        cwd: the directory to run in.
        env: the whole environment.
        show: gets each line of its output; by default, the line is logged.
        pass_fds: file descriptors that it inherits.
        own_group: whether it runs in its own process group, which is killed on an interrupt. In this process's group,
            whatever interrupts this process interrupts the command, too.
    """
    lines: deque[str] = deque(maxlen=TAIL)
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=own_group,
        pass_fds=pass_fds,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                show(line.rstrip())
                lines.append(line)
            code = process.wait()
        except BaseException:
            if own_group:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Done(code, "".join(lines))


def query(command: Sequence[str], cwd: Path | None, env: Mapping[str, str]) -> str:
    """Run a short command and return its output; see `stream` for the arguments.

    Raises:
        CommandFailed: the command failed, or is not installed.
    """
    if which(command[0], path=env.get("PATH")) is None:
        raise CommandFailed(f"{command[0]}: not found; install it, or add its folder to PATH")
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except ValueError as error:  # a zero byte, which no argument can hold
        raise CommandFailed(f"{shown(' '.join(command))}: {error}; correct it") from None
    if done.returncode:
        error = (done.stderr or done.stdout).strip()
        raise CommandFailed(f"`{' '.join(command)}` exited {done.returncode}: {error}")
    return done.stdout


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with this Python's commands first on PATH, and without git's own variables."""
    inherited = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    return inherited | {"PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"} | variables


def checkout_environment(root: Path, **variables: str) -> dict[str, str]:
    """Return `environment` for commands in a checkout: they import the checkout's own code before the installed one."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(root), *([inherited] if inherited else [])])
    return environment(PYTHONPATH=path, **variables)
