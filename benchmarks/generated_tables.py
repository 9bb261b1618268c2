"""The generated tables of the pages, and the line above each that names its origin.

A table lies between two marks of a page. Its first line is its origin, which the command that measures it writes:

    <!-- begin: month -->
    `python -m benchmarks.month --write`, commit c0ce35b, 2026-11-26, AMD EPYC, 2 cores.

    (tables)
    <!-- end -->

`python -m benchmarks.evidence` measures them all.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.environments import ROOT
from din.base.errors import GateClosed, InputError, Unavailable
from din.base.git import git

CHANGED = " with changes"
"""The end of a commit in an origin, if the code was not that of the commit."""
_END = "<!-- end -->"
_ORIGIN = re.compile(r"`(?P<command>[^`]+)`, commits? (?P<commit>.+?), (?P<date>\d{4}-\d\d-\d\d), (?P<machine>.+)\.")


class Parts(NamedTuple):
    """A page, cut at the marks of a table.

    Attributes:
        head: the text until the table, its first mark among it.
        origin: the first line of the table; None if there is none yet.
        tables: the rest of the table.
        tail: the text from its last mark on.
    """

    head: str
    origin: re.Match[str] | None
    tables: str
    tail: str


@dataclass(frozen=True)
class GeneratedTable:
    """A generated table, or several that one command writes.

    Attributes:
        name: the name in its first mark.
        page: the page, relative to the root of the repository.
        command: the beginning of the command that writes it.
    """

    name: str
    page: str
    command: str

    @property
    def path(self) -> Path:
        """The path of the page."""
        return ROOT / self.page

    def parts(self) -> Parts:
        """Read the page.

        Raises:
            InputError: the page can't be read, lacks a mark, or the second comes first.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.page}: {error.strerror}; expected a page to put the tables into") from None
        begin = f"<!-- begin: {self.name} -->"
        head, opened, rest = text.partition(f"{begin}\n")
        body, closed, tail = rest.partition(_END)
        if not (opened and closed):
            advice = f"put {begin} and, after it, {_END} on lines of their own"
            raise InputError(f"{self.page}: no place for the tables; {advice}")
        origin = _ORIGIN.match(body)
        tables = body[origin.end() :] if origin else body
        return Parts(head + opened, origin, tables.strip(), closed + tail)

    def line(self, arguments: Sequence[str]) -> str:
        """Return the whole command. It names the last part alone of an absolute path, and leaves out `--jobs`."""
        named = [
            Path(argument).name if Path(argument).is_absolute() else argument for argument in _without_jobs(arguments)
        ]
        return " ".join([self.command, *map(shlex.quote, named)])

    def writer(self) -> Callable[[str], None]:
        """Return a function that writes the tables with an origin of now. Call this before long measurements.

        Raises:
            InputError: see `parts`.
        """
        self.parts()
        origin = f"`{self.line(sys.argv[1:])}`, commit {commit()}, {datetime.now(UTC).date()}, {machine()}."
        return partial(self._write, origin)

    def _write(self, origin: str, tables: str) -> None:
        parts = self.parts()
        self.path.write_text(f"{parts.head}{origin}\n\n{tables.strip()}\n{parts.tail}", encoding="utf-8")


def _without_jobs(arguments: Sequence[str]) -> list[str]:
    """Leave out `--jobs N`, which decides no figure."""
    return [argument for before, argument in pairwise(["", *arguments]) if "--jobs" not in (before, argument)]


def commit() -> str:
    """Return the commit of the code, and whether files of it other than the pages were changed."""
    changed = git(ROOT, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return git(ROOT, "rev-parse", "--short=7", "HEAD").strip() + (CHANGED if changed else "")


def machine() -> str:
    """Return the processor of this machine and the number of its cores."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{names[0] if names else '?'}, {os.cpu_count()} cores"


def publish(name: str, measured: Callable[[], str]) -> int:
    """Measure, print the tables, write them to their page, and return the exit code of the command.

    Args:
        name: the name of the table; if it is empty, nothing is written. A page without a place for it is refused before
            anything is measured.
        measured: returns the tables. It may take hours.
    """
    try:
        write = TABLES[name].writer() if name else None
        text = measured()
    except (InputError, GateClosed, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(text)
    if write:
        write(text)
    return 0


_PAGES = {
    "bench": ("results", "python -m benchmarks"),
    "serving": ("results", "python -m benchmarks.serving"),
    "defects": ("defects", "python -m benchmarks.defects.page"),
    "warranty": ("results", "python -m benchmarks.warranty"),
    "month": ("simulated-logs", "python -m benchmarks.month"),
    "four-ways": ("simulated-logs", "python -m benchmarks.prequential"),
    "drifts": ("watching", "python -m benchmarks.drifts"),
    "quality": ("quality", "python -m benchmarks.quality"),
    "tuned": ("quality", "python -m benchmarks.tuned"),
    "ablation": ("tuning", "python -m benchmarks.ablation"),
    "blend": ("tuning", "python -m benchmarks.blend"),
    "kuairand": ("daily", "python -m benchmarks.prequential"),
    "rates": ("daily", "python -m benchmarks.lessons"),
    "attention": ("serving", "python -m benchmarks.attention"),
    "engines": ("spark", "python -m benchmarks.engines"),
    "size": ("results", "python -m benchmarks.size"),
}
TABLES = {name: GeneratedTable(name, f"docs/{page}.md", command) for name, (page, command) in _PAGES.items()}
"""All generated tables, by name."""
