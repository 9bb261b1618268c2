"""A whole search on a tiny log: what it reads and writes, and what it survives."""

import itertools
import json
import math
import multiprocessing
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from din import plugins
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.features.reader import Features
from din.metrics.estimates import Estimate
from din.model import MODELS
from din.model.din import DIN
from din.params.blocks import to_json
from din.params.overlays import edit, read_overlay
from din.params.reading import Params
from din.train.fit import fit
from din_start.params.defaults import defaults
from din_tune import result, seeds, tuning
from din_tune.result import Finalist, TrialRow, Tuned
from din_tune.space import Space
from din_tune.study import WHY, ended, only_one, open_study, search
from din_tune.training import executor
from din_tune.tuning import tune
from tests.factories.features import PLAIN, write_features
from tests.helpers.html_page import Page
from tests.helpers.settings import changed

TRIALS = 3


def tuned(workspace: Workspace, params: Params, trials: int = TRIALS) -> Tuned:
    return tune(workspace, params, None, trials, 1)


def test_a_search_reads_no_test_row_and_leaves_an_overlay(
    workspace: Workspace, tiny: Params, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features have no test rows. Trial 0 is `din train`. A search without trials or time left adds nothing."""
    found = tuned(workspace, tiny)
    assert capsys.readouterr().err.count("\ntrial ") + 1 == TRIALS == len(found.trials)
    assert (found.trials[0].changes, found.trials[0].state) == ({}, "complete")
    assert found.trials[0].metric == fit(Features(workspace.features), tiny.train)[1].best_metric
    assert [one.trial for one in found.candidates] == [
        None,
        *sorted((1, 2), key=lambda at: -(found.trials[at].metric or 0)),
    ]
    won = next(one for one in found.candidates if one.trial == found.winner)
    assert won.mean == max(one.mean or 0 for one in found.candidates)
    written = {path.relative_to(workspace.root).parts[0] for path in workspace.root.iterdir()}
    assert written <= {"data", "params.yaml", ".din", "reports", "tuned.yaml"}
    assert [path.name for path in workspace.reports.iterdir()] == ["tuning.html"]
    text = Page(workspace.tuning_page.read_text()).text
    assert found.verdict.partition(":")[0] in text

    space = Space.of(tiny)
    study = open_study(workspace, workspace.features, space)
    with executor(workspace, tiny, 1) as pool:
        for trials, stop_at in ((TRIALS, math.inf), (None, time.monotonic())):
            search(workspace, workspace.features, study, space, pool, 1, trials, stop_at)
    assert [one.number for one in ended(study)] == list(range(TRIALS))
    if found.overlay:  # on another processor, today's parameters may be the best
        lines = workspace.tuned.read_text().splitlines()
        assert all(" # " in line for line in lines if ": " in line and line.startswith(" "))
        changes = edit(workspace.params.read_text(), read_overlay(workspace.tuned), "x").changes
        assert {change.key for change in changes} >= {f"train.{one.key}" for one in found.keys}
        assert all(one.reason in workspace.tuned.read_text() for one in found.keys)

    # A stage replaces the features while a search trains, which goes on with those that it began with.
    shutil.rmtree(workspace.tuning)
    judge = seeds.run_and_judge

    def disturbed(*given: Any) -> Estimate:
        shutil.rmtree(workspace.features)
        write_features(workspace.features, users=30, shards=1, declared=PLAIN)
        return judge(*given)

    monkeypatch.setattr(seeds, "run_and_judge", disturbed)
    assert [one.metrics for one in tuned(workspace, tiny).candidates] == [one.metrics for one in found.candidates]
    assert not workspace.held.exists()


def test_further_seeds_go_on_from_those_that_are_kept(
    workspace: Workspace, tiny: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without time, two seeds are trained. A later call trains two more, and one whose file is damaged."""
    space = Space.of(tiny)
    folder = seeds.folder(workspace, "study")

    def trained(stop_at: float) -> tuple[list[Finalist], int]:
        with executor(workspace, tiny, 1) as pool:
            final_round = seeds.FinalRound(workspace.features, space, pool, folder, 1, 1.0, stop_at)
            found = final_round.against_today([(1, space.starts[1])])
        return found, len(re.findall(r"seed \d, .*: 0\.", capsys.readouterr().err))

    two, trainings = trained(time.monotonic())
    assert ([len(one.metrics) for one in two], trainings) == ([2, 2], 4)
    next(folder.iterdir()).write_bytes(b"PK")
    four, trainings = trained(math.inf)
    assert ([one.metrics[:2] for one in four], trainings) == ([one.metrics for one in two], 1 + 4)
    assert trained(time.monotonic()) == (four, 0)


@pytest.mark.parametrize(("minutes", "searching_s"), [(1000, 60_000 - 650), (15, 450)])
def test_the_search_leaves_time_for_further_seeds(
    workspace: Workspace, tiny: Params, monkeypatch: pytest.MonkeyPatch, minutes: int, searching_s: float
) -> None:
    """Two trials of 100 s tell that thirteen more trainings in two processes will take 650 s.

    If that is more than half of the minutes, the search has half.
    """
    limits: list[tuple[int | None, float]] = []

    def searched(_: Workspace, __: Path, study: optuna.Study, space: Space, *given: Any) -> None:
        *_, trials, stop_at = given
        limits.append((trials, stop_at))
        trial = study.ask()
        space.drawn(trial)
        study.tell(trial, 0.7)

    monkeypatch.setattr(tuning, "search", searched)
    monkeypatch.setattr(tuning, "seconds", lambda _: 100.0)
    monkeypatch.setattr(tuning, "_finish", lambda *given: limits.append((None, given[-1].stop_at)))
    monkeypatch.setattr(result, "write", lambda *_: None)
    monkeypatch.setattr(result, "print_tuned", lambda _: None)
    began = time.monotonic()
    tune(workspace, tiny, minutes, None, 2)
    assert [trials for trials, _ in limits] == [2, None, None]
    all_s = 60 * minutes
    assert [stop_at - began for _, stop_at in limits] == pytest.approx([all_s, searching_s, all_s], abs=60)


def test_a_gain_of_luck_may_be_chance() -> None:
    """Two equal models whose seeds differ: their users are certain, but two seeds are not."""
    rng = np.random.default_rng(1)
    sure = 0
    for _ in range(200):
        today, *others = rng.normal(0.75, 0.001, size=(1 + seeds.BEST, 2))
        judged = [
            seeds._judged(n, {}, [_certain(x) for x in row], [_certain(x) for x in today])
            for n, row in enumerate(others)
        ]
        best = max(judged, key=lambda one: one.mean or 0)
        sure += best.lower is not None and best.lower > 0
    assert sure <= 0.05 * 200


def _certain(value: float) -> Estimate:
    influence = np.tile([1e-6, -1e-6], 50)
    return Estimate(value, np.arange(100), influence, np.ones((2, 100), bool))


def test_a_metric_of_zero_counts() -> None:
    """Only a training that failed has no metric."""
    today = Finalist(None, {}, [0.0, 0.5, None], None)
    best = Finalist(3, {}, [0.2, 0.6, 0.7], 0.5, gain=0.15)
    found = Tuned(
        "auc",
        (1, 2, 3),
        [TrialRow(at, "complete", 0.5, 1.0, {}, "") for at in range(4)],
        [today, best],
        3,
        (),
        None,
        "",
    )
    assert "trial 3 (4 in all) gains +0.1500 on average over new seeds and wins on 2 of 2." in found.verdict


def test_a_killed_trial_is_tried_again(workspace: Workspace, tiny: Params) -> None:
    """It is marked as failed, trials that ended stay, half a line is cut off, and its lock of the journal is removed.

    Killed again, it has failed: its values may need more memory than there is.
    """
    space = Space.of(tiny)
    study = open_study(workspace, workspace.features, space)
    first, killed = study.ask(), study.ask()
    for trial in (first, killed):
        space.drawn(trial)
    study.tell(first, 0.7)
    with (workspace.tuning / "journal").open("ab") as journal:
        journal.write(b'{"op_code":')
    (workspace.tuning / "journal.lock").symlink_to("nowhere")  # Optuna would wait for ever
    study = open_study(workspace, workspace.features, space)
    assert [(one.number, one.value) for one in ended(study)] == [(0, 0.7)]
    assert study.trials[killed.number].state == TrialState.FAIL
    assert space.drawn(study.ask()) == space.starts[2]
    waiting = [one.system_attrs["fixed_params"] for one in study.trials if one.state == TrialState.WAITING]
    assert [space.decoded(one) for one in waiting] == [*space.starts[3:], space.starts[1]]
    for _ in waiting:
        again = study.ask()
    study = open_study(workspace, workspace.features, space)
    assert [one.number for one in ended(study)] == [0, again.number]
    assert study.trials[again.number].user_attrs["why"] == "killed or interrupted twice, perhaps for its memory"


def test_other_settings_have_other_trials(workspace: Workspace, tiny: Params) -> None:
    """Trials of other features or parameters are not comparable."""
    longer = replace(tiny, train=changed(tiny.train, epochs=3))
    names = {open_study(workspace, workspace.features, Space.of(params)).study_name for params in (tiny, longer)}
    manifest = workspace.features / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()), indent=3))
    names.add(open_study(workspace, workspace.features, Space.of(tiny)).study_name)
    assert len(names) == 3


def test_trainings_that_diverge_are_failed_trials(workspace: Workspace, tiny: Params) -> None:
    """Some don't end the search, and five in a row do. If there is no other, the reason of the last is given."""
    wild = replace(tiny, train=changed(tiny.train, learning_rate=1e30))
    for trials, failed in [(2, 2), (99, 7)]:
        with pytest.raises(InputError, match=rf"no trial has a metric yet; the last of {failed} failed: the loss is"):
            tune(workspace, wild, None, trials, 1, ["train.learning.learning_rate"])


def test_failures_cost_no_earlier_trial(workspace: Workspace, tiny: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that fail end the search. If today's parameters fail too, nothing is compared, and no overlay goes."""
    built = itertools.count()

    class Failing(DIN):
        def __init__(self, *args, **options) -> None:
            if next(built):
                raise RuntimeError("out of memory")
            super().__init__(*args, **options)

    monkeypatch.setattr(MODELS, "_things", dict(MODELS._things))
    MODELS.register("failing")(Failing)
    workspace.tuned.write_text("of an earlier search")
    failing = replace(tiny, train=changed(tiny.train, name="failing"))
    with pytest.raises(InputError, match="today's parameters failed with 4 of 4 further seeds; expected metrics"):
        tuned(workspace, failing, 99)
    trials = ended(open_study(workspace, workspace.features, Space.of(failing)))
    assert [one.state.name for one in trials] == ["COMPLETE", *["FAIL"] * 5]
    assert trials[-1].user_attrs[WHY] == "out of memory"
    assert workspace.tuned.read_text() == "of an earlier search"


@pytest.mark.slow
def test_ten_kills_cost_no_trial(workspace: Workspace, tiny: Params) -> None:
    """A search that is killed at any moment keeps the trainings that have ended, and the next one goes on from them."""
    workspace.params.write_text(edit(defaults(), {"train": to_json(tiny.train)}, "tiny").text)
    command = [sys.executable, "-m", "din.cli", "tune", "--trials", "8", "--jobs"]
    journal = workspace.tuning / "journal"
    chance = random.Random(7)
    kept: dict[int, float | None] = {}
    for number in range(10):
        size = journal.stat().st_size if journal.exists() else 0
        began = time.monotonic()
        process = subprocess.Popen([*command, str(1 + number % 2)], cwd=workspace.root, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > size):
            time.sleep(0.05)
        start = time.monotonic() - began  # a process that trains starts about as fast
        time.sleep(chance.uniform(0, 2 * start))
        process.send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM)))
        assert process.wait(60) in (-signal.SIGKILL, -signal.SIGTERM, 0)
        now = {one.number: one.value for one in ended(_study(journal))}
        assert kept.items() <= now.items()
        kept = now
    process = subprocess.Popen([*command, "1"], cwd=workspace.root, stderr=subprocess.DEVNULL)
    while not _further(workspace):
        time.sleep(0.05)
    process.kill()
    process.wait()
    further = _further(workspace)
    subprocess.run([*command, "1"], cwd=workspace.root, check=True)
    assert kept
    assert further.items() <= _further(workspace).items()
    assert len(ended(_study(journal))) == 8
    assert workspace.tuning_page.exists()


def _further(workspace: Workspace) -> dict[Path, int]:
    """Return the kept trainings with further seeds, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in workspace.tuning.glob("seeds/*/[!.]*.npz")}


def _study(journal: Path) -> optuna.Study:
    """Read the one study of a journal."""
    return optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(journal))))


@pytest.mark.slow
def test_two_processes_share_a_search(workspace: Workspace, tiny: Params) -> None:
    """They add exactly as many trials as were asked for."""
    found = tune(workspace, tiny, None, 5, 2)
    assert [one.number for one in found.trials] == list(range(5))


DYING = """
import multiprocessing, os, signal
from din.model import MODELS
from din.model.din import DIN

@MODELS.register("dying")
class Dying(DIN):
    def __init__(self, *args, **options):
        if multiprocessing.parent_process():
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(*args, **options)
"""


@pytest.mark.slow
def test_a_killed_process(workspace: Workspace, tiny: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says that it may be for its memory, and no other process stays."""
    monkeypatch.setattr(MODELS, "_things", dict(MODELS._things))
    (workspace.root / "dying.py").write_text(DYING)
    params = replace(tiny, plugins=("dying.py",), train=changed(tiny.train, name="dying"))
    plugins.load(params.plugins, workspace.root)
    with pytest.raises(Unavailable, match=r"a training process was killed, perhaps for its memory; .* than 2;"):
        tune(workspace, params, None, 4, 2)
    end = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


def test_one_search_a_workspace(workspace: Workspace, tiny: Params) -> None:
    """A second one is bad input."""
    with only_one(workspace), pytest.raises(InputError, match="another `din tune` is running"):
        tuned(workspace, tiny)


def test_a_damaged_journal_is_named(workspace: Workspace, tiny: Params) -> None:
    """The message says what to remove."""
    workspace.tuning.mkdir(parents=True)
    (workspace.tuning / "journal").write_text("nonsense\n{}\n")
    with pytest.raises(InputError, match=r"journal: damaged .*; remove it"):
        tuned(workspace, tiny)


def test_features_are_needed(tmp_path: Path, tiny: Params) -> None:
    """The message names the command that makes them."""
    with pytest.raises(InputError, match="run `dvc repro featurize`"):
        tuned(Workspace(tmp_path), tiny)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_can_be_retried(workspace: Workspace, tiny: Params) -> None:
    """The message says that nothing is lost."""
    workspace.reports.mkdir()
    (workspace.reports / ".tmp-tuning.html").symlink_to("/dev/full")
    with pytest.raises(Unavailable, match="No space left on device; free some space and run the same command again"):
        tuned(workspace, tiny, trials=1)
