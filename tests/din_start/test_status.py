"""`din status` of a workspace with a small pipeline of its own."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from din.base.errors import GateClosed
from din.base.names import Version
from din.base.process import environment
from din.base.workspace import Workspace
from din.params.reading import load
from din.release.registry.records import Override
from din.release.registry.registry import Registry
from din.stages import stage
from din_start.status import print_status, status

PIPELINE = """\
stages:
  first: {cmd: echo 1 > a, params: [gate], outs: [a]}
  second: {cmd: cp a b, deps: [a], outs: [b]}
  third: {cmd: "true", always_changed: true}
"""


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose small pipeline DVC has run."""
    workspace = Workspace(tmp_path_factory.mktemp("reproduced") / "workspace")
    workspace.root.mkdir()
    workspace.pipeline.write_text(PIPELINE)
    workspace.params.write_bytes((Path(__file__).parents[2] / "params.yaml").read_bytes())
    for command in ("init --no-scm", "repro"):
        subprocess.run(["dvc", *command.split(), "--quiet"], cwd=workspace.root, env=environment(), check=True)
    return workspace.root


@pytest.fixture
def workspace(reproduced: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(reproduced, tmp_path / "workspace"))


def test_how_stages_ended_and_what_is_stale(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """A stage has the ending of its last command, and a changed parameter makes it stale; JSON says the same."""
    with stage.running("first", workspace):
        pass
    with pytest.raises(SystemExit), stage.running("second", workspace):
        raise GateClosed("shut")
    capsys.readouterr()
    found = status(workspace)
    assert [(one.name, one.ended, one.run, one.stale) for one in found.stages] == [
        ("first", "done", "local", False),
        ("second", "closed", "local", False),
        ("third", None, None, False),
    ]
    assert (found.champion, found.problems, found.exit_code) == (None, [], 0)
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("\n  min_auc: ", "\n  min_auc: 0.9 # ", 1))
    found = status(workspace)
    assert [one.stale for one in found.stages] == [True, False, False]
    print_status(found, as_json=True)
    assert json.loads(capsys.readouterr().out)["stages"][0]["stale"] is True
    print_status(found)
    printed = capsys.readouterr().out
    assert "champion: none" in printed and "what changed: `dvc status`" in printed


def test_the_champion_comes_with_its_record(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says who promoted and why, and which gates they overrode."""
    monkeypatch.setattr("din_start.status.query", lambda *_: "{}")  # DVC has nothing to say of this, and takes seconds
    registry = Registry.of(workspace, load(workspace.params))
    override = Override(gates=["min_auc"], compared=True)
    record = registry.append(Version("a" * 64), None, by="ann", reason="the first", override=override)
    found = status(workspace)
    assert found.champion == record
    print_status(found)
    assert f"since {record.at}, by ann, overriding min_auc: the first" in capsys.readouterr().out


def test_parts_that_cannot_be_told_are_named(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry that can't be read, or a DVC that fails, takes nothing else from the page."""
    (workspace.root / "registry").write_text("")
    (workspace.root / ".dvc" / "config").write_text("[")
    found = status(workspace)
    assert [one.stale for one in found.stages] == [None, None, None]
    assert [problem.split(":")[0] for problem in found.problems] == ["dvc status", "registry"]
    print_status(found)
    printed = capsys.readouterr().out
    assert "champion: unknown" in printed
    assert "unknown: registry: " in printed
    assert found.exit_code == 2


def test_unreadable_parameters_are_not_given_to_dvc(workspace: Workspace) -> None:
    """DVC would expand merge keys without end."""
    lists = [f"b{n}: &b{n}\n  <<: [{', '.join(['*a' if n == 0 else f'*b{n - 1}'] * 10)}]\n" for n in range(8)]
    workspace.params.write_text("".join(["a: &a {p: 1, q: 2}\n", *lists]))
    found = status(workspace)
    assert [one.stale for one in found.stages] == [None, None, None]
    assert "more than 100,000 values" in found.problems[0]
    assert found.exit_code == 2
