"""Run the commands of a day in forks of one process, which imports each package once: `python -m dags.forks`.

Importing Great Expectations and PyTorch takes seconds, and three and five stages need them. The process imports them
before it forks, when a command first needs them, and runs nothing else, so no command sees what another one did. It
leaves out packages that start threads when they are imported, such as DuckDB: a fork has none of these threads, and
waits for them when it exits.

A request is a line of JSON, the words of a command, on a UNIX socket. A descriptor goes with it, to which the command
prints. The answer is a line with its exit code.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from din.base.errors import Unavailable
from din.base.printing import say
from din.base.process import TAIL, Done

_MOST_BYTES = 1 << 16
_LEARNING = ("train", "evaluate", "refit", "export", "check-parity")
"""The commands that need PyTorch."""


class Forks:
    """The process, which starts with the first command and ends with this one.

    Args:
        root: the checkout, in which all commands run.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._channel: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, words: Sequence[str]) -> Done:
        """Run `din …` or `python -m validation …` in this process group, and print each line as it comes.

        Raises:
            Unavailable: the process was killed.
        """
        channel = self._channel = self._channel or self._start()
        killed = f"`{' '.join(words)}`: the process that forks the stages was killed; run it again"
        lines: deque[str] = deque(maxlen=TAIL)
        read, write = os.pipe()
        with os.fdopen(read, errors="replace") as output:
            try:
                socket.send_fds(channel, [f"{json.dumps(words)}\n".encode()], [write])
            except BrokenPipeError:
                raise Unavailable(killed) from None
            finally:
                os.close(write)
            for line in output:
                say(line.rstrip())
                lines.append(line)
        answer = channel.recv(_MOST_BYTES)
        if not answer:
            raise Unavailable(killed)
        return Done(int(answer), "".join(lines))

    def close(self) -> None:
        """End the process, if it has started."""
        if self._channel and self.process:
            self._channel.close()
            self.process.wait()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dags.forks"], stdin=theirs.fileno(), cwd=self._root
            )
        return ours


def serve(channel: socket.socket) -> None:
    """Fork for each request, until the other side has ended."""
    while True:
        request, descriptors, *_ = socket.recv_fds(channel, _MOST_BYTES, 1)
        if not request:
            return
        while not request.endswith(b"\n"):
            request += channel.recv(_MOST_BYTES)
        words = json.loads(request)
        _import_for(words)
        gc.freeze()  # or else every collection in a fork would copy the pages of all modules
        child = os.fork()
        if not child:
            _become(words, descriptors[0])
        os.close(descriptors[0])
        _, status = os.waitpid(child, 0)
        channel.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _import_for(words: Sequence[str]) -> None:
    """Import what is slow to import, and what several commands need. A failure is left to the command to report."""
    needed = ["din.cli"]
    if words[0] != "din":
        needed = ["great_expectations"]
    elif words[1] in _LEARNING:
        needed += ["torch"]
    for name in needed:
        with contextlib.suppress(Exception):
            import_module(name)


def _become(words: Sequence[str], printed: int) -> NoReturn:
    """Make this process the one of a command, which has no input, and run it to its end."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (printed, 1), (printed, 2)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(printed)
    module = "din.cli" if words[0] == "din" else words[2]
    sys.argv[:] = words if words[0] == "din" else words[2:]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # they remove temporary folders
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # the usual end would take all modules apart, which takes as long as to import some of them


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as requests:
        serve(requests)
