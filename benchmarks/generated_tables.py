"""`make figures`: list every generated table, and mark those whose code has changed since they were measured.

A table lies between two marks of a page. Its first line is its origin, which the command that measures it writes:

    <!-- begin: month -->
    `python -m benchmarks.month --write`, commit c0ce35b, 2026-11-26, AMD EPYC, 2 cores, code 3f2a9c1b77d0.

    (tables)
    <!-- end -->

The code is a digest of all modules that the command may import (`din.code`; comments and docstrings don't count), of
the defaults of the blocks of parameters that it reads, and of other files. If it differs from today's, `STALE` follows
the origin.

Not seen: versions of packages, the compiler, and the logs that a command reads.
"""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.environments import PEERS, ROOT
from din import code
from din.artifacts import sha256_file
from din.errors import GateClosed, InputError, Unavailable
from din.git import git
from din.params import Params, to_json
from din.pipeline import stages_of
from din.workspace import Workspace

STALE = "**Stale: the code behind these figures has changed since.** `make figures` lists all tables."
_UNREAD = frozenset({"benchmarks.generated_tables", "din.sources.served"})
"""Modules that decide no figure, unless a table runs them: a new table changes no other one, and few read the log of a
server."""
_END = "<!-- end -->"
_ORIGIN = re.compile(
    r"`(?P<command>[^`]+)`, commits? (?P<commit>.+), (?P<date>\d{4}-\d\d-\d\d), (?P<machine>.+), code (?P<code>\w+)\."
)


class Parts(NamedTuple):
    """A page, cut at the marks of a table.

    Attributes:
        head: the text until the table, its first mark among it.
        origin: the first line of the table; None if there is none yet.
        stale: whether `STALE` follows.
        tables: the rest of the table.
        tail: the text from its last mark on.
    """

    head: str
    origin: re.Match[str] | None
    stale: bool
    tables: str
    tail: str


@dataclass(frozen=True)
class GeneratedTable:
    """A generated table, or several that one command writes.

    Attributes:
        name: the name in its first mark.
        page: the page, relative to the root of the repository.
        command: the beginning of the command that writes it.
        takes: the time of the command, roughly, on two cores.
        runs: the modules that the command runs, and commands of the pipeline.
        blocks: the blocks of the parameters that it reads.
        files: patterns of other files that decide the figures.
    """

    name: str
    page: str
    command: str
    takes: str
    runs: tuple[str, ...]
    blocks: tuple[str, ...] = tuple(field.name for field in fields(Params))
    files: tuple[str, ...] = ()

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
        tables = body[origin.end() :].strip() if origin else body.strip()
        return Parts(head + opened, origin, tables.startswith(STALE), tables.removeprefix(STALE).strip(), closed + tail)

    def code(self) -> str:
        """Return the digest of the code that the command runs, with its parameters and files."""
        modules = {name for run in self.runs for name in (code.imports_of_command(run) if " " in run else [run])}
        digests = code.digests(code.closure(modules, self.blocks) - (_UNREAD - modules))
        params = to_json(Params())
        files = {path.name: sha256_file(path) for pattern in self.files for path in sorted(ROOT.glob(pattern))}
        text = json.dumps([digests, {block: params[block] for block in self.blocks}, files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def writer(self) -> Callable[[str], None]:
        """Return a function that writes the tables with an origin of now. Call this before long measurements.

        Raises:
            InputError: see `parts`.
        """
        self.parts()
        commit = git(ROOT, "rev-parse", "--short=7", "HEAD").strip()
        if git(ROOT, "status", "--porcelain", "--", ".", ":!docs"):
            commit += " with changes"
        arguments = [Path(one).name if Path(one).is_absolute() else one for one in sys.argv[1:]]
        command = " ".join([self.command, *map(shlex.quote, arguments)])
        today = datetime.now(UTC).date()
        return partial(self._write, f"`{command}`, commit {commit}, {today}, {machine()}, code {self.code()}.")

    def _write(self, origin: str, tables: str) -> None:
        parts = self.parts()
        self.path.write_text(f"{parts.head}{origin}\n\n{tables.strip()}\n{parts.tail}", encoding="utf-8")

    def mark(self) -> bool:
        """Put `STALE` below the origin if the code has changed, else remove it, and return whether it has changed."""
        parts = self.parts()
        if parts.origin is None:
            return False
        changed = parts.origin["code"] != self.code()
        if changed != parts.stale:
            self._write(f"{parts.origin[0]}\n\n{STALE}" if changed else parts.origin[0], parts.tables)
        return changed


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


_EXAMPLES = ("docs/examples/*.yaml",)
_BENCH = ("benchmarks.__main__", "benchmarks.ours", *(f"benchmarks.peers.{peer}" for peer in PEERS), "din train")
_PIPELINE = (*(stage.command for stage in stages_of(Workspace(ROOT)).values()), "din promote")
_COMMANDS = (
    GeneratedTable("bench", "docs/benchmarks.md", "python -m benchmarks", "ten minutes", _BENCH, ("train",)),
    GeneratedTable(
        "quality",
        "docs/quality.md",
        "python -m benchmarks.quality",
        "an hour",
        ("benchmarks.quality",),
        files=("benchmarks/quality.yaml", *_EXAMPLES),
    ),
    GeneratedTable(
        "tuned", "docs/quality.md", "python -m benchmarks.tuned", "hours", ("benchmarks.tuned",), files=("params.yaml",)
    ),
    GeneratedTable(
        "ablation",
        "docs/tuning.md",
        "python -m benchmarks.ablation",
        "an hour",
        ("benchmarks.ablation",),
        files=("params.yaml",),
    ),
    GeneratedTable(
        "warranty", "docs/warranty.md", "python -m benchmarks.warranty", "two hours", ("benchmarks.warranty",)
    ),
    GeneratedTable(
        "drifts",
        "docs/watching.md",
        "python -m benchmarks.drifts",
        "an hour",
        ("benchmarks.drifts", "din.sources.served"),
    ),
    GeneratedTable(
        "serving",
        "docs/latency.md",
        "python -m benchmarks.serving",
        "ten minutes",
        ("benchmarks.serving", "din serve"),
        ("train",),
        files=("benchmarks/load.lua",),
    ),
    GeneratedTable(
        "attention",
        "docs/scoring.md",
        "python -m benchmarks.attention",
        "five minutes",
        ("benchmarks.attention",),
        ("train",),
    ),
    GeneratedTable(
        "engines",
        "docs/spark.md",
        "python -m benchmarks.engines",
        "ten minutes",
        ("benchmarks.engines", "benchmarks.size", "din featurize"),
    ),
    GeneratedTable("size", "docs/size.md", "python -m benchmarks.size", "hours", ("benchmarks.size", *_PIPELINE)),
    GeneratedTable("month", "docs/month.md", "python -m benchmarks.month", "ten minutes", ("benchmarks.month",)),
    *(
        GeneratedTable(
            name, page, "python -m benchmarks.prequential", "an hour", ("benchmarks.prequential",), files=_EXAMPLES
        )
        for name, page in (("five-seeds", "docs/month.md"), ("kuairand", "docs/daily.md"))
    ),
    GeneratedTable("rates", "docs/daily.md", "python -m benchmarks.lessons", "ten minutes", ("benchmarks.lessons",)),
    GeneratedTable(
        "defects",
        "docs/defects.md",
        "make defects",
        "half an hour",
        ("tests.faults.page", *_PIPELINE),
        files=("tests/faults/*.csv",),
    ),
)
TABLES = {table.name: table for table in _COMMANDS}
"""All generated tables, by name."""


def main() -> int:
    """List the tables and mark the stale ones, and return the exit code: 0 = done, 2 = a page lacks its marks."""
    rows = [["table", "page", "state", "takes", "measured", "commit", "command"]]
    try:
        for table in TABLES.values():
            state = "stale" if table.mark() else "fresh"
            origin = table.parts().origin
            measured = origin.group("date", "commit", "command") if origin else ("", "", "")
            rows.append([table.name, table.page, state if origin else "missing", table.takes, *measured])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
