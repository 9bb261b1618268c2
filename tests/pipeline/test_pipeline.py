"""The pipeline as users run it: dvc, din, kills and reruns."""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from din.base.artifacts import hash_tree
from din.stages import pipeline
from tests.pipeline.workspace import ROOT, Workspace, kill, wait_for

pytestmark = pytest.mark.timeout(900)  # the first test waits for a whole pipeline

VICTIMS = ("dvc", "stage", "group")
KILLS = int(os.environ.get("KILLS", "6"))


def test_every_stage_leaves_its_outcome(promoted: Workspace) -> None:
    """Every stage and the promotion leave an outcome with exit code 0."""
    outcomes = [json.loads(path.read_text()) for path in (promoted.root / ".din/outcome").iterdir()]
    assert {outcome["exit_code"] for outcome in outcomes} == {0}
    assert len(outcomes) == len(pipeline.read(ROOT / "dvc.yaml")) + 1


@pytest.fixture(scope="module")
def finished(promoted: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a copy of the finished workspace with nothing left to commit."""
    workspace = promoted.copy(tmp_path_factory.mktemp("finished") / "copy")
    workspace.commit("finished")
    return workspace


def test_the_model_finds_most_of_what_was_planted(promoted: Workspace) -> None:
    """DIN beats popularity and LR, and comes near the oracle even on a log this small."""
    report = promoted.json("reports/evaluation.json")
    lift = (report["test"]["auc"] - 0.5) / (report["oracle"]["auc"] - 0.5)
    assert lift > 0.6
    assert report["test"]["auc"] > max(report["floors"][floor]["auc"] for floor in ("popularity", "lr"))


@pytest.mark.slow
def test_the_second_repro_runs_the_checks_and_the_gate_only(promoted: Workspace) -> None:
    """If nothing changed, only `code`, `fetch` and `gate` run, and committed files and dvc.lock stay as they were."""
    before = promoted.lock()
    done = promoted.run("dvc", "repro")
    ran = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert (done.returncode, ran) == (0, ["code", "fetch", "gate"])
    assert promoted.lock() == before
    assert promoted.git("status", "--porcelain", "--untracked-files=no") == ""


@pytest.fixture
def edited(finished: Workspace) -> Iterator[Workspace]:
    yield finished
    finished.git("checkout", "--quiet", ".")
    finished.git("clean", "--quiet", "--force", "-d")


def test_dvc_draws_every_plot(finished: Workspace) -> None:
    """`dvc plots show` finds the data of each plot in dvc.yaml."""
    done = finished.run("dvc", "plots", "show")
    assert done.returncode == 0
    assert "WARNING" not in done.stdout + done.stderr
    plots = YAML(typ="safe").load((finished.root / "dvc.yaml").read_text())["plots"]
    assert (finished.root / "dvc_plots/index.html").read_text().count('"$schema"') == len(plots)


EDITS = {
    "a limit of the gate": ("params.yaml", "  min_auc: 0.5", "  min_auc: 0.6", {"gate"}),
    "a comment": ("din/metrics/ranking.py", "@dataclass", "# new\n@dataclass", set()),
    "code in C": (
        "din/ops/native/dice.c",
        "#include",
        "static const int changed = 1;\n#include",
        {"train", "evaluate", "refit", "export", "check_parity", "gate"},
    ),
    "an upgrade of torch": (  # its metadata lies before the installed ones
        "torch-99.0.dist-info/METADATA",
        "",
        "Metadata-Version: 2.1\nName: torch\nVersion: 99.0\n",
        {"train", "evaluate", "refit", "export", "check_parity"},
    ),
}


@pytest.mark.parametrize(("file", "old", "new", "stages"), EDITS.values(), ids=EDITS)
def test_an_edit_reruns_the_stages_that_it_concerns(
    file: str, old: str, new: str, stages: set[str], edited: Workspace
) -> None:
    """After `din code`, DVC finds changed dependencies in exactly the stages that an edit concerns."""
    path = edited.root / file
    path.parent.mkdir(exist_ok=True)
    text = path.read_text() if path.exists() else ""
    assert old in text
    path.write_text(text.replace(old, new, 1))
    done = edited.run("din", "code", PYTHONPATH=str(edited.root))
    assert done.returncode == 0, done.stderr
    with Repo(str(edited.root)) as repository:
        status = repository.status()
    changed = {name for name, reasons in status.items() if any("changed deps" in reason for reason in reasons)}
    assert {name.rpartition(":")[2] for name in changed} == stages


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace after another undisturbed run."""
    workspace = Workspace(tmp_path_factory.mktemp("reference"))
    done = workspace.run("dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace


@pytest.mark.slow
def test_two_runs_leave_the_same_lock(promoted: Workspace, reference: Workspace) -> None:
    """Two runs, at different times and in different folders, leave the same dvc.lock, byte for byte."""
    assert reference.lock() == promoted.lock()


def start_training(workspace: Workspace, lock: bytes) -> subprocess.Popen[bytes]:
    """Train anew, with an earlier lock and without run-cache and checkpoint; return dvc once the stage has begun."""
    (workspace.root / "dvc.lock").write_bytes(lock)
    log = workspace.root / "run.log"
    log.unlink(missing_ok=True)
    for path in (".dvc/cache/runs", ".din/checkpoints"):
        shutil.rmtree(workspace.root / path, ignore_errors=True)
    process = workspace.start("dvc", "repro", "train")
    wait_for(lambda: "Running stage 'train'" in log.read_text() and workspace.stage_pid() is not None)
    return process


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * KILLS)
def test_killed_in_training_and_run_again_gives_the_same_weights(tmp_path: Path) -> None:
    """SIGKILL of dvc, its stage or the group at random moments of training changes no bit; `make kills` kills often."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    chance, workspace = random.Random(seed), Workspace(tmp_path)
    assert workspace.run("dvc", "repro", "validate_features").returncode == 0
    before = (workspace.root / "dvc.lock").read_bytes()
    process, begin = start_training(workspace, before), time.monotonic()
    assert process.wait() == 0
    seconds = time.monotonic() - begin
    undisturbed = hash_tree(workspace.root / "models/din")
    killed = 0
    resumed = 0
    while killed < KILLS:
        victim = VICTIMS[killed % len(VICTIMS)]
        at = chance.uniform(0, seconds)
        process = start_training(workspace, before)
        time.sleep(at)
        if process.poll() is not None:  # training had ended
            continue
        kill(process, workspace, victim)
        killed += 1
        done = workspace.run("dvc", "repro", "train")
        resumes = "resuming at epoch" in done.stdout
        resumed += resumes
        state = "from a checkpoint" if resumes else "from the start, or not at all"
        print(f"{killed:3} {victim:5} after {at:5.2f} s, {state}", flush=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert hash_tree(workspace.root / "models/din") == undisturbed
    assert resumed, "no kill came after the first epoch; run the test again with more KILLS"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_anywhere_and_run_again_ends_as_if_nothing_had_happened(
    victim: str, reference: Workspace, tmp_path: Path
) -> None:
    """After SIGKILL in a random stage, `dvc repro` gives the same bundle, bit for bit, and an open gate."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    stage = chance.choice(list(pipeline.read(ROOT / "dvc.yaml")))
    workspace = Workspace(tmp_path)
    process = workspace.start("dvc", "repro")
    wait_for(lambda: workspace.running() == stage, 600)
    time.sleep(chance.uniform(0, 1))
    kill(process, workspace, victim)
    assert process.returncode != 0, f"{stage}: nothing was killed"
    done = workspace.run("dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert workspace.version() == reference.version()
    assert workspace.json("reports/gate.json")["verdict"] == "open"
