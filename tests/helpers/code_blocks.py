"""The code blocks of the pages, and a shell that executes them."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"(?<=\n\n)((?:    .*\n)+)")
SHELL = re.compile(r"(\$ )?(din|dvc|make|python3?|pip|export|source|git|set) ")
COMMENT = re.compile(r"\s+#\s.*")

EXCLUDED = {
    r"pip install ": "installs packages; tests/din_start/init/test_wheel.py installs this one",
    r"python3 -m venv \.venv && source |source \.venv/bin/activate": "the environment of the tests is active already",
    r".*\b(s3|https)://": "needs a bucket or a repository elsewhere",
    r"din tune\b": "trains for minutes; tests/din_tune searches on a small log",
    r"din params apply tuned\.yaml": "tests/din_tune writes that overlay and applies it",
    r"din serve\b": "serves until Ctrl-C; tests/din_loop/server starts it and sends requests",
    r"din replay\b": "needs the log of a server; tests/din_loop/replay/test_replay.py makes one and replays it",
    r"din watch\b": "needs the log of a server; tests/din_loop/watch/test_watch.py makes one and watches it",
    r"python -m dags\.standalone": "serves until Ctrl-C; tests/dags/test_standalone.py starts it",
    r"python -m benchmarks\.(engines|size) ": "takes from minutes to hours; tests/benchmarks measures small logs",
    r"python -m benchmarks\.prequential ": "takes an hour or more, and one of its logs is made of downloads",
    r"python -m benchmarks\.(quality|tuned) ": "takes hours, on logs that are made of downloads",
    r"git -C logs/downloads/": "needs a repository elsewhere",
    r"python -m benchmarks\.prepared ": "needs downloads; tests/benchmarks/test_prepared.py writes small ones",
}
"""Patterns of statements that can't run on one machine without a network, each with the reason."""

ENDINGS = {"python -m validation raw": 3}
"""Exit codes other than 0 that a page announces: a gate is closed."""

QUIET = {
    "BROWSER": "true",  # opens nothing
    "MAKEFLAGS": "--dry-run",  # a target of make takes from minutes to hours
    **{f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@dataclass(frozen=True)
class Block:
    """A block of code, with the page and the line where it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_session(self) -> bool:
        """True if the block shows what its commands print."""
        return self.text.startswith("$ ")


def blocks() -> Iterator[Block]:
    """Yield all blocks in the order of their pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = sorted((*FENCED.finditer(text), *INDENTED.finditer(text)), key=re.Match.start)
        for match in found:
            *language, content = match.groups()
            place = (page, text.count("\n", 0, match.start()) + 1)
            yield Block(*place, *language, content) if language else Block(*place, "", dedent(content))


BLOCKS = list(blocks())


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def shell_blocks() -> list[Block]:
    return [block for block in of("", "bash") if SHELL.match(block.text)]


def statements(block: Block) -> Iterator[str]:
    """Yield the statements of a block of commands, without comments; one may take several lines, as a loop does."""
    statement = ""
    for line in block.text.splitlines():
        if block.is_session and not line.startswith("$ "):
            continue
        statement += COMMENT.sub("", line.removeprefix("$ ")) + "\n"
        if statement.endswith("\\\n"):
            continue
        if subprocess.run(["bash", "-n", "-c", statement], capture_output=True).returncode == 0:
            yield statement.strip()
            statement = ""
    assert not statement, f"{block}: bash can't parse {statement!r}"


def shown(block: Block) -> re.Pattern[str]:
    """Return a pattern of what a session shows between its statements; an ellipsis leaves something out."""
    lines = [line for line in block.text.splitlines() if not line.startswith("$ ")]
    return re.compile(re.escape("\n".join(lines)).replace("…", ".*"))


def is_excluded(statement: str) -> bool:
    return any(re.match(pattern, statement) for pattern in EXCLUDED)


def execute(block: Block, folder: Path, variables: Mapping[str, str]) -> str:
    """Execute the statements of a block in one shell, without the excluded ones, and return what they print.

    Each must end with exit code 0, or with the one in `ENDINGS`. The shell's home is the folder above its own. What
    still runs in the background at the end is terminated.
    """
    script = ["trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"]
    for statement in statements(block):
        if is_excluded(statement):
            continue
        expected = ENDINGS.get(statement, 0)
        fault = shlex.quote(f"{block}: expected exit code {expected} of {statement}, got")
        script += [statement, f"code=$?; [ $code = {expected} ] || {{ echo {fault} $code; exit 99; }}; (exit $code)"]
    done = subprocess.run(
        ["bash", "-c", "\n".join([*script, "exit 0"])],
        cwd=folder,
        env={**variables, **QUIET, "HOME": str(folder.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{block}: exit code {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout
