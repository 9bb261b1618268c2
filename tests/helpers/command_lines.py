"""The command lines of `din` and `python -m validation`, parsed but not run."""

import shlex
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from din import cli
from validation.__main__ import app as validation_app


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield a parser and all below it, each with the words that call it."""
    yield name, command
    for word, child in getattr(command, "commands", {}).items():
        yield from _commands(child, f"{name} {word}")


PARSERS = {
    **dict(_commands(get_command(cli.app), "din")),
    **dict(_commands(get_command(validation_app), "python -m validation")),
}


def parsed(line: str) -> str:
    """Parse a command line without running it, and return the words that call its command."""
    words = shlex.split(line.partition(" | ")[0].partition(" > ")[0], comments=True)
    name = next(name for name in sorted(PARSERS, key=len, reverse=True) if words[: len(name.split())] == name.split())
    rest = words[len(name.split()) :]
    if hasattr(PARSERS[name], "commands"):
        assert not rest or rest[0].startswith("-"), f"{name} has no command {rest[0]}"
    else:
        PARSERS[name].make_context(name, rest)
    return name
