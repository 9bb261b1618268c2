"""Tests of the lock that all stages of a workspace share."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from din import stage
from din.errors import InputError
from din.workspace import Workspace

ROOT = Path(__file__).parent.parent
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
    assert stage.stages_from("fetch", workspace) == []


def test_a_stage_that_begins_withdraws_the_verdict(tmp_path: Path) -> None:
    """Every stage of dvc.yaml removes an older gate report when it begins; a promotion keeps it."""
    workspace = Workspace(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", workspace.pipeline)
    workspace.reports.mkdir()
    for name in stage.stages_of(workspace):
        workspace.gate.touch()
        with stage.running(name, workspace):
            assert not workspace.gate.exists()
    workspace.gate.touch()
    with stage.running("promote", workspace):
        assert workspace.gate.exists()


def test_a_stage_that_fails_withdraws_the_reports_after_it(tmp_path: Path) -> None:
    """The reports of earlier stages and its own stay."""
    workspace = Workspace(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", workspace.pipeline)
    workspace.verdict("raw").parent.mkdir(parents=True)
    reports = (workspace.verdict("raw"), workspace.evaluation, workspace.verdict("predictions"), workspace.parity)
    for report in reports:
        report.touch()
    with pytest.raises(SystemExit), stage.running("evaluate", workspace, workspace.evaluation):
        raise InputError("no rows")
    assert [report.exists() for report in reports] == [True, True, False, False]
