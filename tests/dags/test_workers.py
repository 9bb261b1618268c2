"""Whole runs on two workers that share a repository, a remote and a registry."""

import json
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from din.base.artifacts import sha256_file
from din.base.process import environment, query
from din.stages import pipeline
from tests.dags.workers import Worker, World
from tests.pipeline.workspace import BIN, ROOT, wait_for

STAGES = tuple(pipeline.read(ROOT / "dvc.yaml"))
TRAIN, EXPORTED = STAGES.index("train"), STAGES.index("export") + 1
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return what the workers share."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def pair(world: World) -> tuple[Worker, Worker]:
    """Return two workers that see 18 days."""
    return world.worker("one"), world.worker("two")


@pytest.fixture(scope="module")
def reference(world: World) -> str:
    """Return the version that a plain `dvc repro` makes with the same parameters."""
    plain = world.worker("plain")
    path, yaml = plain.checkout / "params.yaml", YAML()
    params = yaml.load(path)
    params["data"]["until"] = "2024-01-18"
    yaml.dump(params, path)
    query([str(BIN / "dvc"), "repro", "export"], plain.checkout, environment(PYTHONPATH=str(plain.checkout)))
    return version(plain.checkout)


def version(root: Path) -> str:
    """Return the version of the bundle in a folder: the hash of its manifest."""
    return sha256_file(root / "models/bundle/manifest.json")


def ran(world: World, run_id: str) -> list[str]:
    """Return the stages that a run executed instead of taking them from an equal run."""
    outcomes = [json.loads(path.read_text()) for path in (world.record(run_id) / "outcome").iterdir()]
    return [stage for stage in STAGES if any(o["stage"] == stage and o["ran"] for o in outcomes)]


def test_a_run_travels_between_workers(world: World, pair: tuple[Worker, Worker], reference: str) -> None:
    """With stages on alternating workers, nothing runs twice, and the bundle of `dvc repro` is promoted once."""
    one, two = pair
    run, _ = one.call("open", "first")
    for number, stage in enumerate(STAGES):
        pair[number % 2].stages(run, stage)
    assert ran(world, "first") == list(STAGES)
    gated = pair[STAGES.index("gate") % 2]  # each worker reads its own copy of the log, so its paths are another's
    (gated.folder("first") / "reports" / "gate.json").unlink()  # the run's record has it too
    assert gated.call("promote", "--reason", "nightly", run=run)[0]["exit_code"] == 0
    assert world.champions() == [reference]
    trainings = [worker for worker in pair if (worker.folder("first") / ".din" / "checkpoints").exists()]
    assert trainings == [pair[TRAIN % 2]]
    one.call("close", run=run)
    assert not one.folder("first").exists()
    assert {"dvc.lock", "params.yaml", "reports"} <= {path.name for path in world.record("first").iterdir()}

    two.see(20)  # the log has grown; the old day gives the same bits on a worker that never trained
    again, _ = two.call("open", "again", "--until", "2024-01-18")
    assert again["source"] == run["source"]
    outcome, _ = two.call("all", "--reason", "rerun", run=again)
    assert ran(world, "again") == ["code", "fetch", "gate"]
    assert "already champion" in outcome["table"]
    assert world.champions() == [reference]


def test_killed_and_retried_elsewhere(tmp_path: Path, reference: str) -> None:
    """A worker killed in `train` takes the stage with it, and a retry on either worker makes the same bundle."""
    world = World(tmp_path)
    one, two = world.worker("one"), world.worker("two")
    run, _ = one.call("open", "killed")
    one.stages(run, *STAGES[:TRAIN])
    process = one.start("stage", "train", run=run)
    checkpoints = one.folder("killed") / ".din" / "checkpoints"
    wait_for(lambda: list(checkpoints.glob("*/state.safetensors")) or process.poll() is not None, 300)
    assert process.poll() is None, "it ended before it could be killed"
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert len(family) > 1 and psutil.wait_procs(family, 10)[1] == []
    two.stages(run, *STAGES[TRAIN:EXPORTED])
    assert version(two.folder("killed")) == reference
    one.stages(run, *STAGES[TRAIN:EXPORTED])
    assert version(one.folder("killed")) == reference


def test_a_killed_fork_is_told_and_continued(tmp_path: Path, reference: str) -> None:
    """If the fork of `train` is killed in `all`, the caller learns it, and the same command goes on to the champion."""
    world = World(tmp_path)
    one = world.worker("one")
    run, _ = one.call("open", "killed")
    process = one.start("all", "--reason", "nightly", run=run)
    checkpoints = one.folder("killed") / ".din" / "checkpoints"
    wait_for(lambda: list(checkpoints.glob("*/state.safetensors")) or process.poll() is not None, 600)
    forks = [child for child in psutil.Process(process.pid).children(True) if child.cmdline()[-1] == "dags.forks"]
    max(forks, key=psutil.Process.create_time).kill()
    out, log = process.communicate()
    outcome = json.loads(out)
    assert (process.returncode, outcome["stage"], outcome["exit_code"]) == (1, "train", None)
    assert "train was killed" in outcome["table"] and "train was killed" in log
    assert world.champions() == []
    one.call("all", "--reason", "nightly", run=run)
    assert ran(world, "killed") == ["code", "fetch", *STAGES[TRAIN:]]
    assert world.champions() == [reference]


def test_a_closed_run_is_promoted_by_an_override(tmp_path: Path) -> None:
    """After `close`, a worker needs only the run's file in the registry."""
    world = World(tmp_path)
    one = world.worker("one")
    run, _ = one.call("open", "held", "--param", "gate.max_auc=0.56")
    outcome, _ = one.call("all", "--reason", "nightly", run=run, code=3)
    assert outcome["stage"] == "gate"
    one.call("close", run=run)
    kept = json.loads((world.record("held") / "run.json").read_text())
    one.call("promote", "--reason", "looked at the slices", run=kept, code=3)
    assert world.champions() == []
    one.call("promote", "--override", "--reason", "looked at the slices", run=kept)
    (path,) = (world.registry / "table" / "promotions").glob("*.json")
    record = json.loads(path.read_text())
    assert record["override"] == {"gates": ["implausible_gain"], "compared": True}
    assert (record["reason"], record["run_id"]) == ("looked at the slices", "held")


def test_two_runs_at_once(pair: tuple[Worker, Worker], world: World) -> None:
    """Two runs with other parameters, side by side on one worker, each end as if they were alone."""
    one, _ = pair
    opening = [one.start("open", f"side-{n}", "--param", f"validate_raw.min_rows={n}") for n in (1, 2)]
    runs = [json.loads(process.communicate()[0]) for process in opening]
    for stage in STAGES[: STAGES.index("validate_raw") + 1]:
        processes = [one.start("stage", stage, run=run) for run in runs]
        for process in processes:
            _, told = process.communicate()
            assert process.returncode == 0, told
    kept = [YAML().load(one.folder(run["run_id"]) / "params.yaml") for run in runs]
    assert [params["validate_raw"]["min_rows"] for params in kept] == [1, 2]
    assert [ran(world, run["run_id"]) for run in runs] == [["code", "fetch", "validate_raw"]] * 2


def test_a_second_task_of_a_stage_waits(pair: tuple[Worker, Worker]) -> None:
    """If two tasks run one stage in one workspace, the second waits for the first, then finds its work done."""
    one, _ = pair
    run, _ = one.call("open", "twice", "--param", "validate_raw.min_rows=3")
    one.stages(run, "code", "fetch")
    first = one.start("stage", "validate_raw", run=run)
    time.sleep(0.5)
    second = one.start("stage", "validate_raw", run=run)
    for process in (first, second):
        _, told = process.communicate()
        assert process.returncode == 0, told
    assert one.call("stage", "validate_raw", run=run)[1].count("> python -m validation raw") == 0
