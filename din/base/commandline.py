"""Parts of a command line that `din` and `python -m validation` share: examples, JSON, and usage errors of one line."""

import atexit
import contextlib
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from din.base.errors import shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Result = TypeVar("Result", bound="DataclassInstance")
Command = TypeVar("Command", bound=Callable[..., Any])

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and everything else to standard error.")]

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer exports only this subclass of it


def examples(*lines: str) -> str:
    """Return the end of a command's `--help`: example command lines, with or without a comment."""
    return "\n".join(["Examples:", *(f"  {line}" for line in lines)])


def commands(app: typer.Typer, panel: str | None = None) -> Callable[..., Callable[[Command], Command]]:
    """Return a decorator that adds a function to a command line, given the examples of its `--help`."""

    def command(*lines: str, name: str | None = None) -> Callable[[Command], Command]:
        return app.command(name, rich_help_panel=panel, epilog=examples(*lines))

    return command


def print_version(wanted: bool) -> None:
    """Print the version of this package and of Python, and exit; a callback of the option `--version`."""
    if wanted:
        print(f"din {version('din-ctr')} (Python {sys.version.split()[0]})")
        raise typer.Exit


def print_result(command: Callable[[], Result], as_json: bool) -> Result:
    """Run a command and return its result.

    With `as_json`, print the result as JSON, and everything that the command prints to standard error.
    """
    if not as_json:
        return command()
    with contextlib.redirect_stdout(sys.stderr):
        result = command()
    print(json.dumps(asdict(result), indent=2))
    return result


def run(app: typer.Typer, name: str) -> None:
    """Run a command line, and exit.

    Wrong arguments exit with code 2 and one line: the command, the mistake, and where to look. A group without a
    command shows its help.
    """
    atexit.register(gc.freeze)  # at exit, Python would look for garbage for 0.5 s if torch was loaded
    try:
        code = app(prog_name=name, standalone_mode=False)
    except typer.Abort:
        print("aborted", file=sys.stderr)
        sys.exit(1)
    except _UsageError as error:
        if line := _in_one_line(error, name):
            print(line, file=sys.stderr)
        sys.exit(2)
    sys.exit(code)


def _in_one_line(error: Exception, name: str) -> str:
    from pydantic_core import ValidationError

    message: str = getattr(error, "format_message")()  # noqa: B009  # the base class has no such method
    if not message:  # a group without a command has shown its help
        return ""
    cause = error.__cause__
    got = f", got {shown(cause.errors()[0]['input'])}" if isinstance(cause, ValidationError) else ""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else name
    problem = f"{message[:1].lower()}{message[1:].rstrip('.')}{got}"
    return f"{command}: {problem}; `{command} --help` shows options and examples"
