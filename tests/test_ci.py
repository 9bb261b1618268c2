"""Tests of the script that CI runs."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ("ruff", "pyright", "lint-imports", "pytest")


def ci(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/run` with further variables in its environment."""
    command = ["bash", str(ROOT / ".ci/run")]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)


def test_ci_runs_lint_and_then_the_suites() -> None:
    """The commands that make would run, in their order; the pages in a browser come last."""
    done = ci(MAKEFLAGS="--dry-run")
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith(TOOLS)]
    lint = ["ruff check .", "ruff format --check .", "pyright", "lint-imports"]
    pages = "pytest -m slow -rs tests/report/test_browser.py"
    assert commands == [*lint, "pytest -n 2 --dist loadscope --no-loadscope-reorder", pages]


def test_ci_stops_where_lint_fails(tmp_path: Path) -> None:
    """The suite does not start, and the exit code is that of make."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$@"\nexit 2\n')
    make.chmod(0o755)
    done = ci(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (2, "lint\n")
