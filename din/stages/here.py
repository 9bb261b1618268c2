"""Run a command as a stage of the workspace in the current directory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from din.base.errors import InputError
from din.base.workspace import Workspace, require

HERE = Workspace(Path())


def check_root(*files: Path) -> None:
    """End the command, before it writes anything here, unless these files of a workspace's root exist."""
    try:
        require(*files)
    except InputError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


@contextmanager
def running(name: str, report: Path | None = None) -> Iterator[None]:
    """Run a command as a stage, see `din.stages.stage.running`, but write nothing in a folder without params.yaml."""
    from din.stages import stage  # imported here, because no `--help` needs it

    check_root(HERE.params)
    with stage.running(name, HERE, report):
        yield
