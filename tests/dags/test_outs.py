"""Stages that DVC runs in a worker's process: their exit codes, and what is kept of their output."""

from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.stage import run

from dags.outs import Outs
from din.base.process import Done

STAGES = """
stages:
  good: {cmd: ["echo $DVC_STAGE", "echo x > out; printf end >&2"], outs: [out]}
  closed: {cmd: "echo table; exit 3"}
  killed: {cmd: "echo begun; kill -9 $$"}
  careless: {cmd: "echo all is well", outs: [never]}
  refused: {cmd: "true", deps: [nowhere]}
"""


def test_all_that_a_stage_prints_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is passed on as well; a stage that is done prints nothing; if DVC refuses a stage, its message is kept."""
    monkeypatch.setattr(run, "_run", run._run)
    monkeypatch.chdir(tmp_path)  # DVC looks for stages in the current folder
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(STAGES)
    outs = Outs(tmp_path)
    assert [outs.reproduce("good"), outs.reproduce("good")] == [Done(0, "good\nend"), Done(0, "")]
    assert "good\nend\n" in capsys.readouterr().out
    assert outs.reproduce("closed") == Done(1, "table\n")
    assert outs.reproduce("killed") == Done(1, "begun\n")
    code, told = outs.reproduce("careless")
    assert code == 1 and told.startswith("all is well\n") and "'never' does not exist" in told
    assert outs.reproduce("refused") == Done(1, "failed to reproduce 'refused': dependency 'nowhere' does not exist")
