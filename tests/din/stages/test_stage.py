"""Tests of the lock that all stages of a workspace share, and of what a stage leaves when it fails."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from select import select

import pytest

from din.base import documents
from din.base.errors import GateClosed, InputError
from din.base.workspace import Workspace
from din.stages import stage
from din.stages.stage import MOST_TOLD, StageOutcome

HOLD = """
import sys
from pathlib import Path
from din.stages.stage import workspace_lock
from din.base.workspace import Workspace

with workspace_lock(Workspace(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(root: Path) -> "subprocess.Popen[str]":
    """Start a process that takes the lock and holds it until it gets a line."""
    command = [sys.executable, "-c", HOLD, str(root)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def test_a_second_stage_waits_and_names_the_first(tmp_path: Path) -> None:
    """The second stage names the process that it waits for, and runs once that process is killed."""
    first = holder(tmp_path)
    assert said(first) == "held\n"
    second = holder(tmp_path)
    assert second.stderr
    assert second.stderr.readline() == f"waiting for the stage that is already running here (pid {first.pid})\n"
    assert select([second.stdout], [], [], 0.5)[0] == []
    first.kill()
    first.communicate()
    assert said(second) == "held\n"
    assert (tmp_path / ".din/stage.lock").read_text() == str(second.pid)
    second.communicate("\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("x" * 5000), "x" * MOST_TOLD),
        (InputError("\udcff.csv: no rows"), "\\udcff.csv: no rows"),
        (KeyError("item"), "KeyError: 'item'"),
    ],
)
def test_an_outcome_keeps_the_beginning_of_the_error(error: Exception, message: str, tmp_path: Path) -> None:
    """It is bounded, and readable whatever the message holds; a stage that succeeds keeps none."""
    workspace = Workspace(tmp_path)
    with pytest.raises(SystemExit), stage.running("fetch", workspace):
        raise error
    outcome = documents.read(StageOutcome, workspace.outcome("fetch"))
    assert outcome.message == message
    with stage.running("fetch", workspace):
        pass
    assert documents.read(StageOutcome, workspace.outcome("fetch")).message == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(9)])
def test_a_stage_that_does_not_end_has_failed(error: BaseException, tmp_path: Path) -> None:
    """While it runs, and after a kill, its outcome is not that of an earlier run."""
    workspace = Workspace(tmp_path)
    with stage.running("fetch", workspace):
        pass
    with pytest.raises(type(error)), stage.running("fetch", workspace):
        running = documents.read(StageOutcome, workspace.outcome("fetch"))
        raise error
    assert running.exit_code is None
    assert documents.read(StageOutcome, workspace.outcome("fetch")) == running


def test_an_outcome_that_cannot_be_written_changes_no_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(SystemExit) as ended, stage.running("gate", workspace):
        workspace.outcome("gate").unlink()
        workspace.outcome("gate").parent.rmdir()
        workspace.outcome("gate").parent.touch()
        raise GateClosed("closed", None)
    assert ended.value.code == GateClosed.exit_code
    assert "gate: its outcome can't be written" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("file", [None, "data/raw/001.parquet"])
def test_a_full_disk_is_no_bug(number: int, file: str | None, tmp_path: Path, capsys) -> None:
    """The message names the file, or else the workspace, and what to do."""
    workspace = Workspace(tmp_path)
    with pytest.raises(SystemExit) as ended, stage.running("fetch", workspace):
        raise OSError(number, "at byte 3", file)
    message = f"{file or tmp_path}: {os.strerror(number)}; free some space and run the same command again"
    assert (ended.value.code, capsys.readouterr().err) == (1, f"fetch: {message}\n")
    assert documents.read(StageOutcome, workspace.outcome("fetch")).message == message
