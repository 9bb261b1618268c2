"""`din reproduce` on a promotion of the whole pipeline, in a folder that never saw the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from workspace import Workspace

from din.registry.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the first test waits for a whole pipeline

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture
def reproduced(promoted: Workspace, tmp_path: Path) -> Callable[..., tuple[int, str, list[str]]]:
    """Return a function that runs `din reproduce 1` and returns its exit code, output and the lines of its error.

    Without a repository, it is a clone of the promoted one, without DVC's cache. A change edits the files of the run
    before they are recorded.
    """

    def run(change: Change | None = None, repository: Path | None = None) -> tuple[int, str, list[str]]:
        registry = promoted.root / "registry"
        if change:
            registry = tmp_path / "registry"
            record(promoted, Registry(str(registry), "simulate"), change)
        if repository is None:
            repository = tmp_path / "clone"
            promoted.git("clone", "--quiet", ".", str(repository))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        command = ["din", "reproduce", "1", "--registry", str(registry), "--repository", str(repository)]
        done = Workspace.at(elsewhere).run(*command)
        return done.returncode, done.stdout, done.stderr.splitlines()

    return run


def record(promoted: Workspace, registry: Registry, change: Change) -> None:
    """Promote the same bundle in another registry, with changed files of its run."""
    origin = Registry(str(promoted.root / "registry"), "simulate")
    old = origin.record(1)
    names = [key.partition("/")[2] for key in old.files]
    files = {name: origin.promoted_file(old, name) for name in names}
    change(files)
    version = registry.put_bundle(promoted.root / "models" / "bundle")
    hashes = registry.put_run("changed", files)
    registry.append(version, None, by="ann", reason="test", run_id="changed", files=hashes)


def set_param(files: dict[str, bytes], key: str, value: Any) -> None:
    params = YAML(typ="safe").load(files["params.yaml"])
    *blocks, name = key.split(".")
    block = params
    for part in blocks:
        block = block[part]
    block[name] = value
    files["params.yaml"] = json.dumps(params, default=str).encode()


def test_a_promotion_is_reproduced_bit_for_bit(promoted: Workspace, reproduced: Callable[..., Any]) -> None:
    """The raw log comes from DVC's cache by its hash, the model is trained again, and all files are equal."""
    code, printed, errors = reproduced(repository=promoted.root)
    assert code == 0, errors
    assert "machine: equal" in printed
    assert "code and packages: equal" in printed
    assert f"data/raw: equal, from {promoted.root}" in printed
    assert "training din on" in printed and "resuming" not in printed
    assert "Stage 'train' is cached" not in printed
    assert f"record 1 ({promoted.version()[:12]}) is reproduced" in printed
    assert "differs" not in printed


def test_another_seed_is_not_a_reproduction(reproduced: Callable[..., Any]) -> None:
    """The raw log comes from its source, and a run with another seed exits 3 and names the first file that differs."""
    code, printed, errors = reproduced(lambda files: set_param(files, "train.learning.seed", 99))
    assert code == 3, errors
    assert "data/raw: equal, from its source" in printed
    assert "difference" in printed
    assert "files of the bundle differ, first MODEL_CARD.md" in errors[-1]


def test_a_raw_log_that_is_nowhere(reproduced: Callable[..., Any]) -> None:
    """Without a stored copy and without its source, the one line of the error says where the log was looked for.

    Before that, the output has another processor and another package beside the recorded ones.
    """

    def move(files: dict[str, bytes]) -> None:
        set_param(files, "fetch.source", "table")
        set_param(files, "fetch.table.events", "gone/*.csv")
        machine = json.loads(files["machine/train.json"])
        files["machine/train.json"] = json.dumps(machine | {"processor": "z80"}).encode()
        code = json.loads(files["code/train.json"])
        code["packages"]["torch"] = "0.1"
        files["code/train.json"] = json.dumps(code).encode()

    code, printed, errors = reproduced(move)
    assert (code, len(errors)) == (2, 1), errors
    assert "record 1: its raw log is in no DVC remote or cache" in errors[0]
    assert "gone/*.csv" in errors[0]
    assert "set DIN_DVC_REMOTE" in errors[0]
    assert "train.processor" in printed and "z80" in printed
    assert "the last bits of weights and metrics may differ" in printed
    assert any(line.split()[:2] == ["torch", "0.1"] for line in printed.splitlines())


def test_code_that_was_never_committed(reproduced: Callable[..., Any]) -> None:
    """If a stage ran other code than the commit's, the one line of the error names the first file, and nothing runs."""

    def edit(files: dict[str, bytes]) -> None:
        code = json.loads(files["code/train.json"])
        code["files"]["din/train/fit.py"] = "0" * 64
        files["code/train.json"] = json.dumps(code).encode()
        files["git.json"] = json.dumps(json.loads(files["git.json"]) | {"dirty": True}).encode()

    code, printed, errors = reproduced(edit)
    assert (code, len(errors)) == (2, 1), errors
    assert "record 1: its code differs from commit" in errors[0]
    assert "in 1 files, first din/train/fit.py; it was promoted with uncommitted changes" in errors[0]
    assert "Running stage" not in printed


@pytest.mark.parametrize(
    ("name", "content"), [("params.yaml", b"- 1\n"), ("params.yaml", b"promote: 1\n"), ("dvc.lock", b"- 1\n")]
)
def test_files_of_another_form(name: str, content: bytes, reproduced: Callable[..., Any]) -> None:
    """The one line of the error names the file; a record may hold anything under the right hash."""
    code, printed, errors = reproduced(lambda files: files.update({name: content}))
    assert (code, len(errors)) == (2, 1), errors
    assert f"{name} of record 1: the document: Input should be an object" in errors[0]
    assert "Running stage" not in printed
