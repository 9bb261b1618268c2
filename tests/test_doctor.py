"""The looks of `din doctor`, each with a planted fault."""

import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from din import cli, doctor
from din.doctor import Finding
from din.ops.native import library
from din.process import environment
from din.registry.objects import Objects
from din.workspace import Workspace

ROOT = Path(__file__).parent.parent


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a folder with the parameters and stages of the repository."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return Workspace(tmp_path)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def of(look: doctor.Look, workspace: Workspace) -> dict[str, Finding]:
    """Return the findings of a look by their names. A fault always comes with advice."""
    found = {finding.name: finding for finding in look(workspace)}
    assert all(finding.mend for finding in found.values() if finding.state in ("warning", "failed"))
    return found


def test_packages_outside_their_bounds_and_missing_ones(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package outside its bounds fails, a missing one of an extra is an extra that is not installed."""
    assert {one.state for one in of(doctor.packages, workspace).values()} == {"ok"}
    declared = ["numpy<1", 'no-such-package; extra == "serve"', 'rich>=1; extra == "train"']
    monkeypatch.setattr(metadata, "requires", lambda name: declared)
    found = of(doctor.packages, workspace)
    assert found["packages"].state == "failed"
    assert "numpy" in found["packages"].seen and "expected <1" in found["packages"].seen
    assert (found["extra serve"].state, found["extra serve"].seen) == ("skipped", "not installed: no-such-package")
    assert found["extra train"].state == "ok"


def test_no_compiler_is_a_warning(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command that was tried."""
    monkeypatch.setenv("CC", "no-such-compiler")
    library.load.cache_clear()
    found = of(doctor.compiler, workspace)["compiler"]
    library.load.cache_clear()
    assert found.state == "warning"
    assert "no-such-compiler" in found.seen


def test_more_threads_than_cores_are_a_warning(workspace: Workspace) -> None:
    """Threads count for each process."""
    assert of(doctor.processors, workspace)["cores"].state == "ok"
    replace(workspace.params, "    threads: 1 ", "    threads: 9999 ")
    found = of(doctor.processors, workspace)["cores"]
    assert found.state == "warning"
    assert "training wants 9999" in found.seen


def test_more_memory_than_there_is_fails(workspace: Workspace) -> None:
    """The limit of featurize is compared with the machine's memory."""
    assert of(doctor.memory, workspace)["memory"].state == "ok"
    replace(workspace.params, "  memory_mb: 2000 ", "  memory_mb: 999999999 ")
    assert of(doctor.memory, workspace)["memory"].state == "failed"


def test_a_memory_limit_of_a_container_counts(workspace: Workspace, tmp_path: Path) -> None:
    """The least limit of the groups around the process is taken, and a group without one has no say."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\n")
    limits = {"a": "max", "b": "3000000000", "c": "9223372036854771712"}
    for name, text in limits.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "memory.max").write_text(f"{text}\n")
    assert doctor.memory_mb(meminfo, [tmp_path / name for name in limits]) == 3000
    assert doctor.memory_mb(meminfo, [tmp_path / "a"]) == 16_384
    assert doctor.memory_mb(tmp_path / "none", []) is None


def test_little_disk_is_a_warning(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how much is free."""
    assert of(doctor.disk, workspace)["disk"].seen.endswith(str(workspace.root))
    monkeypatch.setattr(doctor, "LITTLE_DISK_GB", 1e9)
    assert of(doctor.disk, workspace)["disk"].state == "warning"


def test_a_folder_without_a_repository_is_a_warning(workspace: Workspace) -> None:
    """Training works without git, and reproduction does not."""
    assert of(doctor.repository, workspace)["git"].state == "warning"
    assert of(doctor.repository, Workspace(ROOT))["git"].state == "ok"


def test_a_repository_without_a_commit_is_a_warning(workspace: Workspace) -> None:
    """Nothing that is there already is to be installed or begun."""
    subprocess.run(["git", "init", "--quiet", workspace.root], env=environment(), check=True)
    found = of(doctor.repository, workspace)["git"]
    assert (found.state, found.seen) == ("warning", "no commit yet")
    assert found.mend.startswith("`git add --all` and `git commit`")


def test_files_that_cannot_be_read_fail(workspace: Workspace) -> None:
    """Both files are read as the stages read them, and looks that need the parameters are skipped."""
    assert [one.state for one in of(doctor.parameters, workspace).values()] == ["ok", "ok"]
    replace(workspace.params, "embedding_dim: 16 ", "embedding_dim: sixteen ")
    workspace.pipeline.write_text("stages: [\n")
    found = of(doctor.parameters, workspace)
    assert [one.state for one in found.values()] == ["failed", "failed"]
    assert "train.model.embedding_dim" in found["params.yaml"].seen
    assert of(doctor.registry, workspace)["registry"].state == "skipped"


def test_an_empty_folder_is_not_a_repository(tmp_path: Path) -> None:
    """The advice is the one of all commands: go elsewhere, or begin a repository."""
    found = of(doctor.parameters, Workspace(tmp_path))
    assert [(one.state, one.seen) for one in found.values()] == [("failed", "not found")] * 2
    assert all("`din init --events FILE`" in one.mend for one in found.values())


def test_one_package_is_counted_as_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra may have a single package."""
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=1"])
    assert of(doctor.packages, workspace)["packages"].seen == "1 package, within bounds"


def dvc(workspace: Workspace, *arguments: str) -> None:
    subprocess.run(["dvc", *arguments, "--quiet"], cwd=workspace.root, env=environment(), check=True)


def test_remotes_are_asked(workspace: Workspace, tmp_path: Path) -> None:
    """Without DVC's folder the look fails; with it, so does a remote that can't be reached with what is installed."""
    assert of(doctor.remotes, workspace)["dvc"].state == "failed"
    dvc(workspace, "init", "--no-scm")
    assert of(doctor.remotes, workspace)["dvc"] == Finding("dvc", "ok", "0 remotes: results stay on this machine")
    dvc(workspace, "remote", "add", "here", str(tmp_path))
    found = of(doctor.remotes, workspace)["dvc remote"]
    assert (found.state, found.seen) == ("ok", f"here: {tmp_path}: answers")
    dvc(workspace, "remote", "modify", "here", "url", "s3://no-bucket/store")
    found = of(doctor.remotes, workspace)["dvc remote"]
    assert found.state == "failed"
    assert found.seen.startswith("here: s3://no-bucket/store: ")


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


def test_a_registry_that_cannot_be_opened_fails(workspace: Workspace) -> None:
    """A file in the place of the registry's folder is named."""
    (workspace.root / "registry").write_text("")
    found = of(doctor.registry, workspace)["registry"]
    assert found.state == "failed"
    assert str(workspace.root / "registry") in found.seen


@pytest.mark.parametrize(("fault", "code"), [(False, 0), (True, 1)])
def test_a_fault_is_exit_1(fault: bool, code: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and JSON list the same findings, and only a failure sets the exit code."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(doctor, "LOOKS", (doctor.versions, doctor.parameters))
    if fault:
        workspace.params.unlink()
    done = CliRunner().invoke(cli.app, ["doctor", "--json"])
    findings = json.loads(done.stdout)
    assert done.exit_code == code
    text = CliRunner().invoke(cli.app, ["doctor"])
    assert text.exit_code == code
    assert [line.split()[:2] for line in text.stdout.splitlines() if line[0] != " "] == [
        [one["state"], one["name"]] for one in findings
    ]
