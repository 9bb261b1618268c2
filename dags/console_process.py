"""Run console scripts of this environment, one after the other, as `dags.console` asks for them.

A request is a line of JSON on standard input: {"command": [name, argument, ...], "mark": text, "capture": bool}. The
output of a command ends with the mark and {"code": its exit code, "answer": its standard output, if captured}.

Every command runs in a fork of this process, and so does every stage that `dvc repro` starts. This process runs none of
them. It imports the modules that a stage may import before the stage starts, and those that a command has imported
after the command has ended. So a package is imported once, however many stages use it, and no state passes from one
command or stage to the next. It must not start a thread, since a fork does not have the threads of its parent.

This file imports nothing of the pipeline, because `din` must come from the checkout that a run pins.
"""

import contextlib
import gc
import json
import os
import runpy
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from multiprocessing import get_context
from multiprocessing.connection import Connection
from tempfile import TemporaryFile
from typing import IO

_FORK = get_context("fork")


def main() -> None:
    """Answer requests until standard input ends. The commands have an empty standard input."""
    requests = os.fdopen(os.dup(sys.stdin.fileno()))
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    for line in requests:
        request = json.loads(line)
        with TemporaryFile("w+") as captured:
            code = call(request["command"], captured if request["capture"] else sys.stdout)
            captured.seek(0)
            print(request["mark"], json.dumps({"code": code, "answer": captured.read()}), flush=True)


def call(command: list[str], stdout: IO[str]) -> int | None:
    """Run a command and the stages that it asks for, and return its exit code, which is negative for a signal."""
    ours, theirs = _FORK.Pipe()
    child = _FORK.Process(target=_command, args=(command, stdout, theirs))
    gc.freeze()
    child.start()
    theirs.close()
    with contextlib.suppress(EOFError):
        while True:
            asked = ours.recv()
            if isinstance(asked, list):
                load(asked)
            else:
                ours.send(stage(*asked))
    child.join()
    return child.exitcode


def stage(command: str, cwd: str, env: Mapping[str, str]) -> int | None:
    """Run a stage's command and return its exit code; return None if it is not a plain command of the checkout."""
    try:
        from din import code

        modules = code.closure(code.imports_of_command(command), ())
    except Exception:  # it is a shell's, or `din.code` of the run's commit works in another way
        return None
    load(modules)
    child = _FORK.Process(target=_stage, args=(command.split(), cwd, env))
    gc.freeze()
    child.start()
    child.join()
    return child.exitcode


def load(modules: Iterable[str]) -> None:
    """Import modules. An error is left to the command that needs the module."""
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                import_module(name)


def _command(command: list[str], stdout: IO[str], parent: Connection) -> None:
    """Run a command in this process, and name its modules to the parent at the end."""
    os.dup2(stdout.fileno(), sys.stdout.fileno())
    try:
        if command[0] == "dvc":
            _lend_stages(parent)
        _script(command)
    finally:
        parent.send([*sys.modules])


def _lend_stages(parent: Connection) -> None:
    """Let DVC ask the parent to run a stage, where it would start a shell."""
    from dvc.stage import run
    from dvc.stage.exceptions import StageCmdFailedError

    in_shell = run._run

    def in_parent(executable: str, command: str, **options: object) -> None:
        parent.send((command, options["cwd"], options["env"]))
        code = parent.recv()
        if code is None:
            in_shell(executable, command, **options)
        elif code:
            raise StageCmdFailedError(command, code)

    run._run = in_parent


def _stage(words: list[str], cwd: str, env: Mapping[str, str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    match words:
        case ["python", "-m", module, *arguments]:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case _:
            _script(words)


def _script(command: list[str]) -> None:
    """Run the function behind a console script, and exit with its code."""
    (found,) = {one.value: one for one in entry_points(group="console_scripts", name=command[0])}.values()
    sys.argv = [*command]
    sys.exit(found.load()())


if __name__ == "__main__":
    main()
