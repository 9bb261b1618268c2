"""Run console scripts of this environment in this process, one after the other, as `dags.console` asks for them.

A request is a line of JSON on standard input: {"command": [name, argument, ...], "mark": text, "capture": bool}. The
output of a command ends with the mark and {"code": its exit code, "answer": its standard output, if captured}.

This file imports nothing of the pipeline, because `din` must come from the checkout that a run pins.
"""

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import TextIO


def main() -> None:
    """Answer requests until standard input ends. The commands have an empty standard input."""
    requests = os.fdopen(os.dup(sys.stdin.fileno()))
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    for line in requests:
        request = json.loads(line)
        captured = io.StringIO()
        code = call(request["command"], captured if request["capture"] else sys.stdout)
        sys.stdout.flush()
        sys.stderr.flush()
        print(request["mark"], json.dumps({"code": code, "answer": captured.getvalue()}), flush=True)


def call(command: Sequence[str], stdout: TextIO) -> int:
    """Run a command and return its exit code."""
    sys.argv = [*command]
    try:
        function = script(command[0])  # its packages may keep the stdout that they see when they are imported
        with contextlib.redirect_stdout(stdout):
            code = function()
    except SystemExit as ended:
        code = ended.code
    except Exception:
        traceback.print_exc()
        return 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        return 1
    return code or 0


@cache
def script(name: str) -> Callable[[], int | str | None]:
    """Return the function behind a console script."""
    (found,) = {one.value: one for one in entry_points(group="console_scripts", name=name)}.values()
    return found.load()


if __name__ == "__main__":
    main()
