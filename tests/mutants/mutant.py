"""A mutant: a line of the guard that is changed, and the test that must notice.

The change is applied in a copy of the tree, and the test runs there in a process of its own. That process is forked
from a server that has imported the heavy libraries, but no code of this project, so a mutant costs about a second.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LIBRARIES = ["torch", "pyarrow.parquet", "scipy.special", "ibis", "duckdb", "obstore", "hypothesis", "pytest"]
_BROKEN = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "UnboundLocalError", "Failed: Timeout")
"""How a test fails that has found nothing, since the change is no program, or waits for ever."""


@dataclass(frozen=True)
class Mutant:
    """A row of the table.

    Attributes:
        part: the part of the guard.
        guards: the gate or rule that the line belongs to.
        file: the file.
        text: a piece of the line, which the file holds once.
        change: what replaces it.
        quick: whether `make test` runs it too.
        test: the test that must fail, as pytest names it.
    """

    part: str
    guards: str
    file: str
    text: str
    change: str
    quick: bool
    test: str

    def __str__(self) -> str:
        text, change = (" ".join(words.split()) for words in (self.text, self.change))
        return f"{self.guards}: {text} → {change}"

    def changed(self, source: str) -> str:
        """Return the source with the change.

        Raises:
            ValueError: the source does not hold the text once.
        """
        count = source.count(self.text)
        if count != 1:
            problem = f"{self.file} holds {self.text!r} {count} times, expected once"
            raise ValueError(f"renew the row {self.guards!r} of tests/mutants/mutants.tsv: {problem}")
        return source.replace(self.text, self.change)


def workers(count: int) -> ProcessPoolExecutor:
    """Return `count` workers, which use a new process for each call."""
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return ProcessPoolExecutor(count, context, max_tasks_per_child=1)


def copied(place: Path, root: Path = ROOT) -> Path:
    """Copy the files that git knows or would add, as they are now and without the pages, to a new folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", ":!docs"]
    for name in subprocess.check_output(command, cwd=root, text=True).split("\0"):
        if (root / name).is_file():  # others are removed, or repositories of their own
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, place / name)
    return place


def why_alive(mutant: Mutant, tree: Path, pool: ProcessPoolExecutor) -> str | None:
    """Run the mutant's test with the change in a copy of the tree. Return None if it fails, as it must.

    Raises:
        ValueError: the row must be renewed.
    """
    with _applied(mutant, tree / mutant.file):
        failures, code = pool.submit(_run, tree, [mutant.test]).result()
    if code == pytest.ExitCode.OK:
        return f"{mutant.test} passes"
    if code != pytest.ExitCode.TESTS_FAILED or not failures:
        return f"{mutant.test} could not run: pytest ended with {code!r}"
    when, message = failures[0]
    return f"{mutant.test} broke in its {when}: {message}" if when != "call" or message.startswith(_BROKEN) else None


def why_red(tests: Sequence[str], tree: Path, pool: ProcessPoolExecutor) -> str | None:
    """Run tests on unchanged code. Return None if all pass, as they must."""
    failures, code = pool.submit(_run, tree, list(tests)).result()
    return None if code == pytest.ExitCode.OK else f"on unchanged code, pytest ended with {code!r}: {failures}"


@contextlib.contextmanager
def _applied(mutant: Mutant, file: Path) -> Iterator[None]:
    """Change a file of a copy, and restore it, its time included, so that its bytecode is valid again."""
    source = file.read_text(encoding="utf-8")
    before = file.stat()
    file.write_text(mutant.changed(source), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(source, encoding="utf-8")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


class _Failures:
    """A plugin of pytest that notes the phase and the message of each failure."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.noted.append((str(report.when), crash.message if crash else str(report.longrepr)))


def _run(tree: Path, tests: list[str]) -> tuple[list[tuple[str, str]], int]:
    """Run tests in a copy of the tree, in this process, and return their failures and pytest's exit code."""
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]  # this module comes from the working tree
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]  # of the run that runs mutants
    os.environ["PYTHONPATH"] = str(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path).resolve() not in (ROOT, Path.cwd()))]
    os.chdir(tree)
    shutil.rmtree(tree / "run", ignore_errors=True)
    failures = _Failures()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        options = ["-x", "-m", "", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tree / 'run'}"]
        code = pytest.main([*options, *tests], plugins=[failures])
    return failures.noted, int(code)
