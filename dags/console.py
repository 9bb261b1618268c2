"""Run short commands of `din` and `dvc` in one process, since importing their packages costs more than their work.

    console = Console(root, env, [lock])
    console.query(["din", "registry", "take", "runs/nightly", "taken"])
    done = console.run(["dvc", "repro", "--single-item", "train"], log.info)
    console.close()

The process starts with the first command and ends with the console. The environment says where it imports `din` from:
the checkout of a run reads and writes the registry with its own code. If the process is killed, its command has failed,
and the next command starts another one.

The process inherits the lock's file descriptor. If its parent is killed, it finishes its command and holds the lock
until then. A retry then waits for it instead of working at the same time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from din.process import TAIL, CommandFailed, Done

_PROCESS = Path(__file__).with_name("console_process.py")


class Console:
    """A process for console scripts of this environment, in a process group of its own.

    Args:
        cwd: the directory that the commands run in.
        env: the whole environment.
        hold: file descriptors that the process inherits, e.g. of a lock.
    """

    def __init__(self, cwd: Path, env: Mapping[str, str], hold: Sequence[int] = ()) -> None:
        self._cwd = cwd
        self._env = env
        self._hold = hold
        self._mark = f"ended-{uuid4()}"
        self._process: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """End the process, if one was started, and wait until it holds nothing any more."""
        if self._process:
            self._process.communicate()
            self._process = None

    def query(self, command: Sequence[str]) -> str:
        """Run a command and return its standard output.

        Raises:
            CommandFailed: the command failed.
        """
        done, answer = self._call(command, capture=True, show=lambda line: None)
        if done.code:
            message = f"`{' '.join(command)}` exited {done.code}: {(done.output or answer).strip()}"
            raise CommandFailed(message, done.code)
        return answer

    def run(self, command: Sequence[str], show: Callable[[str], object]) -> Done:
        """Run a command to its end, and pass each line of its output to `show` as it comes."""
        done, _ = self._call(command, capture=False, show=show)
        return done

    def _call(self, command: Sequence[str], capture: bool, show: Callable[[str], object]) -> tuple[Done, str]:
        """Return how a command ended, and what was captured; kill the whole process group on an interrupt."""
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        lines: deque[str] = deque(maxlen=TAIL)
        request = {"command": [*command], "mark": self._mark, "capture": capture}
        try:
            with contextlib.suppress(BrokenPipeError):  # the process was killed, which its exit code shows
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            for line in process.stdout:
                output, mark, end = line.partition(self._mark)
                if output:
                    show(output.rstrip())
                    lines.append(output)
                if mark:
                    ended = json.loads(end)
                    return Done(ended["code"], "".join(lines)), ended["answer"]
            self.close()  # it ended in the middle of the command
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Done(process.returncode, "".join(lines)), ""

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", str(_PROCESS)],
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=self._hold,
        )
