"""Tests of `din doctor`: each probe, with a planted fault."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.process import environment
from din.base.workspace import Workspace
from din.ops.native import library
from din.params.reading import load
from din.release.registry.objects import Objects
from din.release.registry.registry import Registry
from din_start import doctor
from din_start.doctor import ProbeResult
from tests.factories.bundles import bundle, crown

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return Workspace(tmp_path)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def of(probe: doctor.Probe, workspace: Workspace) -> dict[str, ProbeResult]:
    """Return the findings of a probe by their names. A fault always comes with advice."""
    found = {finding.name: finding for finding in probe(workspace)}
    assert all(finding.fix for finding in found.values() if finding.state in ("warning", "failed"))
    return found


def test_no_compiler_is_a_warning_unless_it_is_demanded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command that was tried."""
    monkeypatch.setenv("CC", "no-such-compiler")
    library.load.cache_clear()
    found = of(doctor.compiler, workspace)["compiler"]
    assert found.state == "warning"
    assert "no-such-compiler" in found.seen
    replace(workspace.params, "    backend: auto ", "    backend: native ")
    assert of(doctor.compiler, workspace)["compiler"].state == "failed"
    library.load.cache_clear()


def test_a_registry_that_is_not_mounted_is_not_a_new_one(workspace: Workspace, tmp_path: Path) -> None:
    """The probe fails, and makes no folder in its place."""
    replace(workspace.params, "registry: registry ", f"registry: {tmp_path}/mount ")
    registry = Registry.of(workspace, load(workspace.params))
    crown(registry, bundle(tmp_path / "bundle"))
    assert {one.state for one in of(doctor.registry, workspace).values()} == {"ok"}
    (tmp_path / "mount").rename(tmp_path / "away")
    assert "has 0 records, but had 1 before" in of(doctor.registry, workspace)["registry"].seen
    assert not (tmp_path / "mount").exists()


def test_more_than_the_machine_has_is_named(workspace: Workspace) -> None:
    """Threads beyond the cores slow each process down, and memory that isn't there ends featurize."""
    assert [one.state for one in of(doctor.processors, workspace).values()] == ["ok", "ok"]
    replace(workspace.params, "    threads: 1 ", "    threads: 9999 ")
    replace(workspace.params, "  memory_mb: 2000 ", "  memory_mb: 999999999 ")
    found = of(doctor.processors, workspace)
    assert found["cores"].state == "warning"
    assert "training wants 9999" in found["cores"].seen
    assert found["memory"].state == "failed"


def test_a_folder_without_a_commit_is_a_warning(workspace: Workspace) -> None:
    """Training works without git, and reproduction does not."""
    assert of(doctor.repository, workspace)["git"].state == "warning"
    subprocess.run(["git", "init", "--quiet", workspace.root], env=environment(), check=True)
    assert of(doctor.repository, workspace)["git"].state == "warning"
    assert of(doctor.repository, Workspace(ROOT))["git"].state == "ok"


def test_files_that_cannot_be_read_fail(workspace: Workspace) -> None:
    """Both files are read as the stages read them, and probes that need the parameters are skipped."""
    assert [one.state for one in of(doctor.files, workspace).values()] == ["ok", "ok"]
    replace(workspace.params, "embedding_dim: 16 ", "embedding_dim: sixteen ")
    workspace.pipeline.write_text("stages: [\n")
    found = of(doctor.files, workspace)
    assert [one.state for one in found.values()] == ["failed", "failed"]
    assert "train.model.embedding_dim" in found["params.yaml"].seen
    assert of(doctor.registry, workspace)["registry"].state == "skipped"


def test_the_store_is_tried_and_left_as_it_was(workspace: Workspace) -> None:
    """A sound store refuses the second write, and nothing of the trial stays."""
    found = of(doctor.registry, workspace)
    assert [one.state for one in found.values()] == ["ok", "ok"]
    assert "no champion yet" in found["registry"].seen
    assert list((workspace.root / "registry").iterdir()) == []


def test_a_store_that_overwrites_fails(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that ignores the condition is named, and the throw-away object is removed nevertheless."""

    def careless(objects: Objects, key: str, content: bytes) -> bool:
        objects.put(key, content)
        return True

    monkeypatch.setattr(Objects, "create", careless)
    found = of(doctor.registry, workspace)["put-if-absent"]
    assert found.state == "failed"
    assert "a second write replaced the first" in found.seen
    assert list((workspace.root / "registry").iterdir()) == []


def test_a_fault_is_exit_1(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and JSON list the same findings, and only a failure sets the exit code."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(doctor, "PROBES", (doctor.versions, doctor.files))
    assert CliRunner().invoke(cli.app, ["doctor"]).exit_code == 0
    workspace.params.unlink()
    text, as_json = (CliRunner().invoke(cli.app, ["doctor", *options]) for options in ([], ["--json"]))
    assert text.exit_code == as_json.exit_code == 1
    shown = [line.split()[:2] for line in text.stdout.splitlines() if line[0] != " "]
    assert shown == [[one["state"], one["name"]] for one in json.loads(as_json.stdout)]
