"""Run commands as forks of one process that has imported their packages, since imports cost more than most stages.

    code = serve(work)      # `work(execute)` runs in a fork; execute(["din", "train"], cwd, env) runs in another one

The process that forks runs nothing itself. Before a command, it imports the modules of this repository that the command
may import, which `din.code` knows. So a package is imported once, however many stages use it, and no state passes from
one stage to the next. The process must not start a thread, since a fork does not have the threads of its parent.
"""

import contextlib
import gc
import os
import runpy
import sys
from collections import deque
from collections.abc import Callable, Mapping
from importlib import import_module
from multiprocessing import get_context

from din.process import TAIL, Done

Execute = Callable[[list[str], str, Mapping[str, str]], Done]
_FORK = get_context("fork")


def serve(work: Callable[[Execute], object]) -> int | None:
    """Run `work` in a fork, and the commands that it asks for in forks beside it.

    Returns:
        The exit code of `work`, which is negative for a signal.
    """
    ours, theirs = _FORK.Pipe()

    def execute(command: list[str], cwd: str, env: Mapping[str, str]) -> Done:
        theirs.send((command, cwd, env))
        return theirs.recv()

    def child() -> None:
        ours.close()  # otherwise it would wait for ever if its parent is killed
        work(execute)

    worker = _FORK.Process(target=child)
    worker.start()
    theirs.close()
    with contextlib.suppress(EOFError):
        while True:
            ours.send(_run(*ours.recv()))
    worker.join()
    return worker.exitcode


def _run(command: list[str], cwd: str, env: Mapping[str, str]) -> Done:
    """Run a command to its end, pass on each line that it prints, and return its exit code and its last lines."""
    _load(command)
    reading, writing = os.pipe()
    process = _FORK.Process(target=_execute, args=(command, cwd, env, writing))
    gc.freeze()  # otherwise the first collection in the fork copies all pages that hold Python objects
    process.start()
    os.close(writing)
    lines: deque[str] = deque(maxlen=TAIL)
    with os.fdopen(reading, errors="replace") as output:
        for line in output:
            print(line.rstrip("\n"), flush=True)
            lines.append(line)
    process.join()
    return Done(process.exitcode or 0, "".join(lines))


def _load(command: list[str]) -> None:
    """Import the modules that a command may import. An error is left to the command that needs the module."""
    from din import code

    named = {"din": 2, "python": 4}.get(command[0], 1)  # the words that name a command: the others are its options
    with contextlib.suppress(Exception):
        for name in code.closure(code.imports_of_command(" ".join(command[:named])), ()):
            if name not in sys.modules:
                with contextlib.suppress(Exception):
                    import_module(name)


def _execute(command: list[str], cwd: str, env: Mapping[str, str], output: int) -> None:
    """Become a command, which prints to a file descriptor."""
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
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
