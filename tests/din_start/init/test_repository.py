"""The repository that `din init` writes, and its update to a later release."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.errors import InputError
from din.base.process import CommandFailed
from din.params.reading import load
from din_start.init import command, render
from din_start.init.choice import Choice
from din_start.params.defaults import defaults

ROOT = Path(__file__).parents[3]
SETS = {
    "fetch.source": Choice("table", "a log"),
    "fetch.table.events": Choice("clicks.csv", "one file"),
    "fetch.table.label": Choice("stars >= 4", "first line\nsecond line"),
    "fetch.table.columns": Choice({"user_id": "u", "item_id": "i"}, "in this order"),
    "train.learning.epochs": Choice(3, "short"),
    "promote.model_name": Choice("clicks", "a name"),
}


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", str(root), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a committed repository."""
    command.create(tmp_path, SETS)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "init")
    return tmp_path


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_this_repository_is_made_of_the_template() -> None:
    """Our dvc.yaml is the rendered one, and so are the defaults before any guess, but for their schema's address."""
    files = render.render(SETS)
    assert files["dvc.yaml"] == (ROOT / "dvc.yaml").read_text()
    assert render.parameters({}).splitlines()[1:] == defaults().splitlines()[1:]
    for name in (".dvcignore", ".airflowignore", ".dvc/config"):
        assert files[name] == (ROOT / name).read_text()


def test_every_value_has_its_reason_above(repository: Path) -> None:
    """Reasons are comments at the keys' own indentation, and the values are as guessed."""
    text = (repository / "params.yaml").read_text()
    assert "    # guessed: first line\n    #          second line\n    label: stars >= 4 " in text
    params = load(repository / "params.yaml")
    assert params.fetch.table.label == "stars >= 4"
    assert params.train.learning.epochs == 3
    assert text.startswith("# yaml-language-server: $schema=params.schema.json\n")


def make(root: Path, target: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["make", target], cwd=root, env=env, capture_output=True, text=True)


def test_style_holds_from_the_start(repository: Path) -> None:
    """`make lint` has nothing to say about the files, nor about the examples of plugins."""
    shutil.copytree(ROOT / "examples/plugins", repository / "plugins", dirs_exist_ok=True)
    done = make(repository, "lint")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_broken_plugin_fails_a_test(repository: Path) -> None:
    """`make test` names its line. `tests/examples/test_five_plugins.py` tries sound ones."""
    edited(repository / "params.yaml", "plugins: [] ", "plugins: [plugins/wrong.py] ")
    (repository / "plugins/wrong.py").write_text("import nothing_of_this_name\n")
    done = make(repository, "test")
    assert done.returncode == 2 and "wrong.py:1: ModuleNotFoundError" in done.stdout


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    """A folder with a params.yaml of its own, in whatever encoding, is refused, and stays as it was."""
    (tmp_path / "params.yaml").write_bytes("märz: 1\n".encode("latin-1"))
    with pytest.raises(InputError, match="exists already, and is not what `din init` wrote"):
        command.create(tmp_path, SETS)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_pipeline_has_a_repository_of_its_own(tmp_path: Path) -> None:
    """Commits of a repository around it are not the pipeline's; a person may begin one within it."""
    git(tmp_path, "init", "-q")
    inner = tmp_path / "pipeline"
    inner.mkdir()
    with pytest.raises(InputError, match=r"pipeline: lies in the git repository .*: run `din init` in a folder"):
        command.create(inner, SETS)
    assert not list(inner.iterdir())
    git(inner, "init", "-q")
    command.create(inner, SETS)
    assert (inner / "params.yaml").exists()


def test_without_git_there_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says so, as that of any later command of git does."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="git: not found; install it"):
        command.create(tmp_path, SETS)
    with pytest.raises(CommandFailed, match="git: not found; install it"):
        command.git(tmp_path, "status")


def test_a_second_guess_replaces_the_first(repository: Path) -> None:
    """A wrong guess is corrected by running it again, but an edited file is not lost."""
    command.create(repository, {key: one for key, one in SETS.items() if key != "train.learning.epochs"})
    assert load(repository / "params.yaml").train.learning.epochs == 20
    edited(repository / "params.yaml", "batch_size: 256  ", "batch_size: 512  ")
    with pytest.raises(InputError, match=r"params\.yaml: exists already"):
        command.create(repository, SETS)


def test_an_update_of_the_same_release_changes_nothing(repository: Path, tmp_path_factory: Any) -> None:
    """Edits stay, and are to be committed first, since git could not undo a merge of edits that it does not hold."""
    edited(repository / "params.yaml", "batch_size: 256  ", "batch_size: 512  ")
    with pytest.raises(InputError, match=r"not committed: params\.yaml; commit first"):
        command.update(repository)
    git(repository, "commit", "-qam", "edit")
    command.update(repository)
    assert git(repository, "status", "--porcelain") == ""
    with pytest.raises(InputError, match=r"guess\.json: not found; run `din init --update` where"):
        command.update(tmp_path_factory.mktemp("foreign"))


@pytest.fixture
def later_release(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template of a later release, which has another description of a stage and another default."""
    template = tmp_path_factory.mktemp("later") / "template"
    template.mkdir()
    for path in render.TEMPLATE.iterdir():
        (template / path.name).write_text(path.read_text())
    edited(template / "stages.yaml", "desc: Check the predictions with", "desc: Judge the predictions with")
    (template / "workflow.yml").write_text("name: later\n")
    later = render.defaults(render.SCHEMA).replace("max_bundle_mb: 2000  ", "max_bundle_mb: 3000  ")
    monkeypatch.setattr(render, "defaults", lambda schema: later)
    monkeypatch.setattr(render, "TEMPLATE", template)
    return template


def test_an_update_keeps_edits_and_brings_news(repository: Path, later_release: Path) -> None:
    """Lines that only one side changed are merged, in every file, and a removed file stays removed."""
    edited(repository / "dvc.yaml", "desc: Train the model", "desc: Fit the model")
    edited(repository / "params.yaml", "min_auc: 0.55  ", "min_auc: 0.6   ")
    git(repository, "commit", "-qam", "edit")
    git(repository, "rm", "-q", ".github/workflows/ctr.yml")
    git(repository, "commit", "-qm", "no workflow")
    command.update(repository)
    assert git(repository, "diff", "HEAD", "--name-only", "params.yaml", "dvc.yaml").split() == [
        "dvc.yaml",
        "params.yaml",
    ]
    assert not (repository / ".github").exists()
    assert git(repository, "diff", "HEAD", "--", ".din-init/files/.github") == ""
    stages = (repository / "dvc.yaml").read_text()
    assert "desc: Fit the model" in stages and "desc: Judge the predictions with" in stages
    params = load(repository / "params.yaml")
    assert (params.gate.min_auc, params.gate.max_bundle_mb) == (0.6, 3000)
    assert params.fetch.table.label == "stars >= 4"
    git(repository, "commit", "-qam", "update")
    command.update(repository)
    assert git(repository, "status", "--porcelain") == ""


def test_an_update_that_fails_leaves_nothing_behind(repository: Path, later_release: Path) -> None:
    """Git can't merge a file that it does not hold. The next call fails alike, instead of finding nothing new."""
    git(repository, "rm", "-q", "--cached", "dvc.yaml")
    with (repository / ".gitignore").open("a") as file:
        file.write("dvc.yaml\n")
    git(repository, "commit", "-qam", "no dvc.yaml")
    for _ in range(2):
        with pytest.raises(CommandFailed, match=r"dvc\.yaml"):
            command.update(repository)
        assert git(repository, "status", "--porcelain") == ""


def test_an_interrupted_update_is_done_again(
    repository: Path, later_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that it has rendered are not taken for those that were merged."""
    with monkeypatch.context() as killed:
        killed.setattr(command.tempfile, "NamedTemporaryFile", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            command.update(repository)
    command.update(repository)
    assert "desc: Judge the predictions" in (repository / "dvc.yaml").read_text()
    assert git(repository, "diff", "HEAD", "--name-only", "params.yaml").strip() == "params.yaml"


def test_conflicts_are_marked(repository: Path, later_release: Path) -> None:
    """A line that both sides changed is marked as git marks it, and the command says so."""
    edited(repository / "dvc.yaml", "desc: Check the predictions with", "desc: Look at the predictions with")
    git(repository, "commit", "-qam", "edit")
    with pytest.raises(InputError, match=r"^dvc\.yaml: your edits and the new release change the same lines"):
        command.update(repository)
    text = (repository / "dvc.yaml").read_text()
    assert "<<<<<<< ours\n    desc: Look at" in text and "desc: Judge the predictions" in text


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints every guess with its reason, and the next command; names from the log steer no terminal."""
    monkeypatch.chdir(tmp_path)
    rows = [f"u{k % 60},i{k % 40},{1700000000 + k * 1400},{k * 7 % 3 % 2},c{k % 5}" for k in range(600)]
    header = "user_id,item_id,timestamp,click,cat\x1b]0;owned\x07\u202e"
    (tmp_path / "clicks.csv").write_text("\n".join([header, *rows]))
    done = CliRunner().invoke(cli.app, ["init", "--events", "clicks.csv"])
    assert done.exit_code == 0, done.output
    assert "fetch.table.label: click\n    the name means an answer of the user" in done.output
    assert "dvc repro && din promote" in done.output
    assert r"cat\x1b]0;owned\x07\u202e is left out" in done.output
    assert done.output.replace("\n", "").isprintable()
    assert load(tmp_path / "params.yaml").fetch.table.label == "click"
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "init")
    assert CliRunner().invoke(cli.app, ["init", "--update"]).stdout.startswith("up to date")
    for wrong in ([], ["--update", "--events", "clicks.csv"]):
        done = CliRunner().invoke(cli.app, ["init", *wrong])
        assert done.exit_code == 2 and "give one of these" in done.output
