"""Run commands as forks of one process that has imported their packages, since imports cost more than most stages.

The process is the fork server of `multiprocessing`, which runs nothing itself, so no state passes from one command to
the next. It starts with the first command. If this process is killed, a command that runs ends its work.
"""

import os
import runpy
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from din.errors import InputError
from din.process import TAIL, Done

_FORKS = get_context("forkserver")


def preload(commands: Iterable[str]) -> None:
    """Let the process import all that commands may import. It must not have started."""
    _FORKS.set_forkserver_preload(sorted(imports(commands)))


def imports(commands: Iterable[str]) -> set[str]:
    """Return the modules that commands may import, which `din.code` knows.

    The fork server passes over a module that raises ImportError, such as one of an extra, and dies of any other error.
    """
    from din import code

    modules: set[str] = set()
    for command in commands:
        with suppress(InputError):  # it is not a command of this repository
            modules |= code.closure(code.imports_of_command(command), ())
    return modules


def run(command: list[str], cwd: str, env: Mapping[str, str]) -> Done:
    """Run a command to its end, pass on each line that it prints, and return its exit code and its last lines."""
    reading, writing = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_execute, args=(command, cwd, dict(env), writing))
    process.start()
    writing.close()
    lines: deque[str] = deque(maxlen=TAIL)
    with os.fdopen(os.dup(reading.fileno()), errors="replace") as output:
        for line in output:
            print(line.rstrip("\n"), flush=True)
            lines.append(line)
    process.join()
    return Done(process.exitcode or 0, "".join(lines))


def _execute(command: list[str], cwd: str, env: Mapping[str, str], output: Connection) -> None:
    """Become a command, which prints to a pipe."""
    os.dup2(output.fileno(), sys.stdout.fileno())
    os.dup2(output.fileno(), sys.stderr.fileno())
    output.close()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    match command:
        case ["din", *_]:
            from din.cli import main

            sys.argv = [*command]
            main()
        case ["python", "-m", "validation" as module, *arguments]:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case _:
            os.execvp(command[0], command)
