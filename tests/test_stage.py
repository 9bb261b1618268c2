"""Tests of the lock that all stages of a workspace share, and of what a stage leaves when it fails."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from din import documents, stage
from din.artifacts import read_json
from din.document_types import MOST_TOLD, StageOutcome
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
    """Every stage of dvc.yaml removes an older gate report when it begins, and its promotion; a promotion keeps it."""
    workspace = Workspace(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", workspace.pipeline)
    workspace.reports.mkdir()
    for name in stage.stages_of(workspace):
        workspace.gate.touch()
        with stage.running("promote", workspace):
            assert workspace.gate.exists()
        with stage.running(name, workspace):
            assert not workspace.gate.exists()
            assert not workspace.outcome("promote").exists()


def test_a_stage_that_fails_leaves_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page says where the run stopped and why, even if an older run left the outputs of `fetch`."""
    workspace = Workspace(tmp_path)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    workspace.raw.mkdir(parents=True)
    workspace.fetch.parent.mkdir()
    workspace.fetch.touch()
    with stage.running("fetch", workspace):
        pass
    assert not workspace.report.exists()
    with pytest.raises(SystemExit) as ended, stage.running("fetch", workspace):
        raise InputError("events.csv row 4: user_id is missing")
    assert ended.value.code == 2
    page = workspace.report.read_text(encoding="utf-8")
    assert "The run stopped at fetch: it ended with exit code 2." in page
    assert "events.csv row 4: user_id is missing" in page
    assert capsys.readouterr().err.endswith("report: reports/report.html\n")


def test_a_page_that_fails_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is the stage's, and the reason for the missing page is one line."""
    workspace = Workspace(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", workspace.pipeline)
    with pytest.raises(SystemExit) as ended, stage.running("fetch", workspace):
        workspace.report.mkdir(parents=True)
        raise InputError("no rows")
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "fetch: no rows"
    assert len(told) == 2 and told[1].startswith("warning: no run report was written: IsADirectoryError")


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
    assert "message" in outcome and outcome["message"] == message
    with stage.running("fetch", workspace):
        pass
    assert "message" not in read_json(workspace.outcome("fetch"))


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
