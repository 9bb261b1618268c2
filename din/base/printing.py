"""Print tables for people: coloured on a terminal, plain and without line breaks in logs."""

import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.box import SIMPLE, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from din.base.errors import InputError

_STYLES = {"open": "green", "closed": "bold red", "borderline": "yellow"}


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows, with floats rounded to four digits, None as a dash, and verdicts in colour."""
    table = Table(*columns, title=Text(title, "table.title"), title_justify="left", box=SIMPLE)
    for row in rows:
        table.add_row(*(Text(_cell(value), _STYLES.get(str(value), "")) for value in row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text, 120 columns wide at most, so that logs look the same everywhere."""
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=StringIO(), width=120, color_system=None)  # not a terminal of any encoding or width
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n") + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as a table of Markdown, with values as `print_table` prints them."""
    lines = [columns, ["---"] * len(columns), *([_cell(value).replace("|", r"\|") for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def append_summary(path: Path, markdown: str) -> None:
    """Append Markdown to the file that `--markdown` names.

    Raises:
        InputError: the file can't be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown)
    except OSError as error:
        raise InputError(
            f"--markdown {path}: {error.strerror}; expected a file in a folder that can be written"
        ) from None


def say(line: str) -> None:
    """Print a line and flush it, for commands that run for minutes."""
    print(line, flush=True)


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """Flatten nested objects into one with dotted keys."""
    if not isinstance(value, dict):
        return {at: value}
    flattened: dict[str, Any] = {}
    for name, part in value.items():
        flattened |= flat(part, f"{at}.{name}" if at else name)
    return flattened


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_cell(v) for v in value)}]"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
    return "–" if value is None else str(value)
