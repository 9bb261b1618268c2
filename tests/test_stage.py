"""Tests of the lock that all stages of a workspace share."""

import subprocess
import sys
from pathlib import Path

import pytest

from din import stage
from din.errors import InputError
from din.workspace import Workspace

HOLD = """
import sys
from pathlib import Path
from din.stage import workspace_lock
from din.workspace import Workspace

with workspace_lock(Workspace(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


def holder(root: Path) -> "subprocess.Popen[str]":
    """Start a process that takes the lock and holds it until it gets a line."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    """Return the next line that a process prints."""
    assert process.stdout
    return process.stdout.readline()


def test_a_second_stage_waits_and_names_the_first(tmp_path: Path) -> None:
    """The second stage names the process that it waits for, and runs once that process ends."""
    first = holder(tmp_path)
    assert said(first) == "held\n"
    second = holder(tmp_path)
    assert second.stderr
    assert second.stderr.readline() == f"waiting for the stage that is already running here (pid {first.pid})\n"
    first.communicate("\n")
    assert said(second) == "held\n"
    assert (tmp_path / ".din/stage.lock").read_text() == str(second.pid)
    second.communicate("\n")


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A killed stage blocks nobody."""
    killed = holder(tmp_path)
    assert said(killed) == "held\n"
    killed.kill()
    killed.communicate()
    out, told = holder(tmp_path).communicate("\n")
    assert (out, told) == ("held\nreleased\n", "")


@pytest.mark.parametrize("text", [None, "stages: [", "other: 1\n", "[]"])
def test_a_pipeline_that_cannot_be_read_is_bad_input(tmp_path: Path, text: str | None) -> None:
    """The file is named; a stage that runs without DVC has no later reports."""
    workspace = Workspace(tmp_path)
    if text is not None:
        workspace.pipeline.write_text(text)
    with pytest.raises(InputError, match=r"dvc\.yaml"):
        stage.stages_of(workspace)
    assert stage.reports_after("fetch", workspace) == []
