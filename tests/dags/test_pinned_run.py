"""The first stages of runs in workspaces of their own."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import dags.worker
from dags.__main__ import read
from dags.checkout import FOREIGN_DAYS, WorkerSettings, check_out, discard, set_params, workspace
from dags.pinned_run import PinnedRun, open_run
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.params.reading import load
from din.release.registry.registry import Registry
from tests.dags.workers import Worker, World
from tests.factories import documents_of
from tests.factories.bundles import bundle, crown
from tests.pipeline.workspace import Workspace as Checkout

pytestmark = pytest.mark.timeout(900)


def git(root: Path, *arguments: str) -> str:
    """PinnedRun git in a repository as a test user, and return its output."""
    return Checkout.at(root).git(*arguments)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a repository and what the workers share."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def here(world: World) -> Worker:
    """Return a worker that sees 18 days of the log."""
    return world.worker("here")


@pytest.fixture
def checked_out(world: World, here: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a checkout with the given parameters, on which no command of the pipeline has run."""
    monkeypatch.setenv("DIN_REPOSITORY", str(here.checkout))
    settings = WorkerSettings.from_env()

    def build(**values: object) -> Path:
        check_out(settings, world.commit, Workspace(tmp_path / "w"))
        set_params(settings, Workspace(tmp_path / "w"), values)
        return tmp_path / "w"

    return build


def test_paths_hold_wherever_the_workspace_lies(here: Worker, checked_out: Callable[..., Path]) -> None:
    """Relative ones start at the repository, each of a list; URLs and absolute ones stay; the day is in quotes."""
    values = {"fetch.table.events": "log/a.csv, s3://b/*.csv,/c.csv", "train.learning.epochs": 3}
    root = checked_out(**values, **{"data.until": "2024-01-18"})
    assert load(root / "params.yaml").data.until == date(2024, 1, 18)  # refuses a bare date, as DVC does
    params = YAML(typ="safe").load(root / "params.yaml")
    assert params["fetch"]["table"]["events"] == f"{here.checkout}/log/a.csv,s3://b/*.csv,/c.csv"
    assert params["fetch"]["table"]["items"] == f"{here.checkout}/log/items.csv"
    assert params["promote"]["registry"] == f"{here.checkout}/registry"
    assert (params["train"]["learning"]["epochs"], params["fetch"]["table"]["users"]) == (3, None)


def test_a_worker_without_dvc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which Python lacks it, before a process of that Python fails."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "dvc"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InputError, match=r"dvc: not installed for .*python"):
        WorkerSettings.from_env()


def test_a_registry_that_others_cannot_find(checked_out: Callable[..., Path]) -> None:
    """For a relative registry, or a repository that is a URL, the message names the missing setting."""
    root = checked_out()
    settings = WorkerSettings("https://example.org/repo.git", root, "remote", None)
    with pytest.raises(InputError, match="DIN_REGISTRY"):
        set_params(settings, Workspace(root), {})


def test_uncommitted_changes_do_not_run(
    here: Worker, checked_out: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names the edited file, and the workspace has the committed one."""
    edited = here.checkout / "README.md"
    text = edited.read_text()
    edited.write_text("edited")
    assert WorkerSettings.from_env().commit(None) == here.world.commit
    assert "README.md" in caplog.text
    assert (checked_out() / "README.md").read_text() == text
    with pytest.raises(InputError, match="no commit nosuch"):
        WorkerSettings.from_env().commit("nosuch")
    with pytest.raises(InputError, match=r"no commit .*embedded null byte"):
        WorkerSettings.from_env().commit("main\0")
    with pytest.raises(InputError, match=r"no commit 0{40}; push it"):
        check_out(WorkerSettings.from_env(), "0" * 40, Workspace(here.checkout / "elsewhere"))
    edited.write_text(text)


def test_a_repository_that_does_not_answer_is_tried_again() -> None:
    """It is no fault of the name that was given."""
    settings = WorkerSettings("https://127.0.0.1:9/ctr.git", Path(), "remote", None)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        settings.commit("main")


def test_a_name_means_the_same_by_url(tmp_path: Path) -> None:
    """A branch whose path ends like another's, an annotated tag and a full ref name the same commit as in a folder."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    for message, name in (("first", "alice/main"), ("second", "release")):
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", message)
        git(tmp_path, "branch", name)
    git(tmp_path, "tag", "--annotate", "--message", "tag", "v1", "alice/main")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "third")
    by_url, here = (WorkerSettings(place, tmp_path, "remote", None) for place in (f"file://{tmp_path}", str(tmp_path)))
    full = git(tmp_path, "rev-parse", "v1^0")
    names = (None, "HEAD", "main", "alice/main", "release", "v1", "refs/tags/v1", "heads/release", full)
    assert [by_url.commit(name) for name in names] == [here.commit(name) for name in names]
    assert by_url.commit("main") != by_url.commit("alice/main") == by_url.commit("v1") == full
    with pytest.raises(InputError, match="no commit ain; give a branch"):
        by_url.commit("ain")


def test_unused_workspaces_are_removed(tmp_path: Path) -> None:
    """After a week any task removes them with leftovers of kills, but not those in use or used since."""
    settings = WorkerSettings(str(tmp_path), tmp_path, "remote", None)
    for run_id in ("gone", "busy", "fresh"):
        with workspace(settings, run_id) as (place, _):
            for name in ("", ".tmp-new-", ".tmp-old-"):
                place.root.with_name(f"{name}{place.root.name}").mkdir()
    for name in ("gone", "busy"):
        os.utime(tmp_path / "locks" / name, (0, time.time() - FOREIGN_DAYS * 86_400 - 60))
    before = (tmp_path / "locks" / "busy").stat().st_mtime
    with workspace(settings, "busy"):
        os.utime(tmp_path / "locks" / "busy", (before, before))
        with workspace(settings, "now"):
            pass
    left = {path.name for path in (tmp_path / "workspaces").iterdir()}
    assert left == {f"{prefix}{name}" for prefix in ("", ".tmp-new-", ".tmp-old-") for name in ("busy", "fresh")}


def test_a_removal_that_was_killed_leaves_no_half(
    checked_out: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal that was killed leaves an empty workspace, which the next task fills again."""
    root = checked_out()

    def killed(path: Path, **_: object) -> None:
        if path.exists():
            (path / "dvc.yaml").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            discard(root)
    assert not any(root.iterdir())
    assert (checked_out() / "dvc.yaml").exists()
    assert [path.name for path in root.parent.iterdir()] == [root.name]


def test_another_commit_keeps_the_checkpoints(checked_out: Callable[..., Path], here: Worker) -> None:
    """A run that is opened again on a branch that has moved comes back to what its killed training left."""
    root = checked_out()
    saved = Workspace(root).checkpoints / "hash" / "state.safetensors"
    saved.parent.mkdir(parents=True)
    saved.write_text("weights")
    moved = git(here.checkout, "commit-tree", "-m", "moved", "HEAD^{tree}")
    git(here.checkout, "branch", "moved", moved)
    check_out(WorkerSettings.from_env(), moved, Workspace(root))
    assert git(root, "rev-parse", "HEAD") == moved
    checked_out()
    assert saved.read_text() == "weights"


def test_a_commit_of_something_else(checked_out: Callable[..., Path], here: Worker) -> None:
    """It is bad input, which no scheduler tries again, and the workspace stays what it was."""
    root = checked_out()
    other = git(here.checkout, "commit-tree", "-m", "docs", git(here.checkout, "rev-parse", "HEAD:docs"))
    git(here.checkout, "branch", "docs", other)
    with pytest.raises(InputError, match=rf"commit {other} holds no params\.yaml"):
        check_out(WorkerSettings.from_env(), other, Workspace(root))
    assert git(root, "rev-parse", "HEAD") == here.world.commit


@pytest.mark.parametrize(("key", "advice"), [("data.until", "give it as `until`"), ("plugins", "name the commit")])
def test_a_run_may_not_set_every_key(key: str, advice: str) -> None:
    """Whoever may trigger a run must not choose the code that it runs, and its day has an argument of its own."""
    with pytest.raises(InputError, match=f"{key}='x' is set as a parameter.*{advice}"):
        open_run("sets", params={key: "x"})


@pytest.fixture
def opened(here: Worker, checked_out: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., PinnedRun]:
    """Return a function that opens a run in this process."""
    monkeypatch.setenv("DIN_REGISTRY", str(here.world.registry))
    root = checked_out()

    def opened(run_id: str, until: str = "", commit: str = "", revision: str | None = None, **params: Any) -> PinnedRun:
        asked = PinnedRun(run_id, commit or here.world.commit, until, params, "", revision=revision)
        return dags.worker.Worker(asked, Workspace(root)).open()

    return opened


def test_a_run_is_pinned_when_it_opens(here: Worker, opened: Callable[..., PinnedRun]) -> None:
    """Day and source are pinned, the same call returns the same run, and another run under its id is refused."""
    run = opened("pin/1", revision="nightly")
    assert run.until == "2024-01-18"
    assert json.loads((here.world.record("pin-1") / "run.json").read_text()) == asdict(run)
    here.see(19)
    assert opened("pin/1", commit="0" * 40, revision="nightly") == run  # the branch has moved
    assert opened("pin/1", until="2024-01-18") == run
    others: dict[str, dict[str, Any]] = {
        "parameters": {"train.learning.epochs": 1},
        "last day": {"until": "2024-01-17"},
        "commit": {"commit": "0" * 40, "revision": "HEAD"},
    }
    for part, other in others.items():
        with pytest.raises(InputError, match=f"was opened with {part} [^;]*: ask for the same, or use another run_id"):
            opened("pin/1", **other)
    with pytest.raises(InputError, match="run 'pin/1' has a folder of this name"):
        opened("pin-1")
    assert opened("later").until == "2024-01-19"
    assert opened("past", until="2024-01-18").source == run.source


def test_the_champion_is_pinned_when_a_run_opens(
    here: Worker, opened: Callable[..., PinnedRun], tmp_path: Path
) -> None:
    """A run of Thursday the 18th goes on from the champion of the day before, except on the day from scratch."""
    yesterday = json.dumps(documents_of.facts(until="2024-01-17"))
    folder = bundle(tmp_path / "bundle", **{"facts.json": yesterday})
    version = crown(Registry(str(here.world.registry), "table"), folder).version

    def pinned(**train: str) -> str:
        values = {f"train.{name}": value for name, value in train.items()}
        return opened("-".join(["pins", *train.values()]), "2024-01-18", **values).champion

    assert pinned(start="scratch") == ""
    assert pinned(start="champion") == version
    assert pinned(start="champion", scratch_day="friday") == version
    assert pinned(start="champion", scratch_day="thursday") == "none"


@pytest.mark.slow
def test_a_whole_run_is_one_task(world: World) -> None:
    """It ends at the first stage that fails, and another worker finds what ended before that."""
    one, other = world.worker("whole"), world.worker("follows")
    run, _ = one.call("open", "whole", "--param", "validate_raw.min_rows=1000000000")
    outcome, _ = one.call("all", "--reason", "nightly", run=run, code=3)
    assert (outcome["stage"], outcome["report"]) == ("validate_raw", "reports/validation/raw.json")
    report = json.loads((world.record("whole") / outcome["report"]).read_text())
    assert report["verdict"] == "closed"
    kept = {path.stem for path in (world.record("whole") / "outcome").iterdir()}
    assert kept == {"code", "fetch", "validate_raw"}
    other.stages(run, "fetch")  # it needs what `code` wrote


@pytest.mark.slow
def test_a_run_of_the_next_day_reads_one_day(world: World) -> None:
    """If the path of a log names days, a new workspace reads and writes only the day that this worker has not read."""
    worker = world.worker("daily", days=3)

    def stages_of(run_id: str) -> str:
        run, _ = worker.call("open", run_id, "--param", "fetch.table.events=log/events-{date}.csv")
        worker.stages(run, "code", "fetch")
        worker.call("close", run=run)
        return (world.record(run_id) / "log" / "fetch.txt").read_text()

    assert "3 days from table; 3 days read, " in stages_of("three-days")
    worker.see(4)
    assert "4 days from table; 1 days read, 1 of 6 files written" in stages_of("four-days")


NESTED = """
stages:
  write:
    cmd: mkdir -p out/a out/b && echo 1 | tee out/a/x out/b/x && echo $DIN_SOURCE_FINGERPRINT > out/source
    outs: [out]
  read:
    wdir: deep
    cmd: cp ../out/a/x copy.json
    deps: [./../out/a]
    plots: [copy.json]
"""


@pytest.fixture(scope="module")
def nested(world: World) -> str:
    """Return a branch whose pipeline is `NESTED`."""
    origin = world.root / "origin"
    git(origin, "checkout", "--quiet", "-b", "nested")
    (origin / "dvc.yaml").write_text(NESTED)
    (origin / "deep").mkdir()
    (origin / "deep" / "kept").touch()
    git(origin, "add", "--force", "dvc.yaml", "deep/kept")
    git(origin, "commit", "--quiet", "--message", "nested")
    git(origin, "checkout", "--quiet", "-")
    return git(origin, "rev-parse", "nested")


def test_inputs_are_found_by_the_rule_of_the_edges(world: World, nested: str) -> None:
    """A dep inside an out, written with `..`, comes from the worker that wrote it, and a plot is kept as a report.

    It is found by the run's record, even if `din registry gc` has removed the entries of equal runs. The environment of
    a stage pins the source of its run.
    """
    one, other = world.worker("writes"), world.worker("reads")
    run, _ = one.call("open", "nested", "--commit", nested)
    _, told = other.call("stage", "read", run=run, code=2)
    assert "out is needed and comes from stage write" in told
    one.stages(run, "write")
    assert (one.folder("nested") / "out/source").read_text() == f"{run['source']}\n"
    shutil.rmtree(world.registry / "table" / "stages")
    assert other.call("stage", "read", run=run)[0]["report"] == "deep/copy.json"
    assert (world.record("nested") / "deep" / "copy.json").read_text() == "1\n"


@pytest.mark.slow
def test_inputs_are_as_they_were_made(world: World, nested: str) -> None:
    """The worker that wrote an out needs no remote for it, and an out that was altered or removed since is restored."""
    here = world.worker("holds")
    run, _ = here.call("open", "held", "--commit", nested, "--param", "train.learning.seed=5")
    here.stages(run, "write")
    file = here.folder("held") / "out/a/x"
    (world.root / "remote").rename(world.root / "away")
    file.write_text("2\n")
    here.stages(run, "read")
    assert (world.record("held") / "deep" / "copy.json").read_text() == file.read_text() == "1\n"
    file.unlink()
    here.stages(run, "read")
    assert file.read_text() == "1\n"
    (world.root / "away").rename(world.root / "remote")


@pytest.mark.parametrize("key", ["run_id", "commit", "params", "more"])
def test_a_run_of_another_form(key: str, tmp_path: Path) -> None:
    """It is bad input, which no scheduler tries again, and the message names the file."""
    run = {"run_id": "r", "commit": "c", "until": "", "params": {}, "source": ""}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run | {key: 5}))
    with path.open() as file, pytest.raises(InputError, match=rf"run\.json: .*{key}.*; expected the output of `python"):
        read(file)
