"""The study: trials in a journal that survives any kill, and the search that adds to them.

A journal belongs to the workspace, and a study in it to features, parameters, space and code of training: trials of
other ones are not comparable. Each process asks the study for one trial after another, and reports each epoch. From the
third epoch on, a trial ends early if its metric is among the worst quarter of complete trials after as many epochs.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import optuna
from optuna.pruners import PercentilePruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.features.reader import Features
from din.stages.stage import workspace_lock
from din.train import checkpoint
from din.train.checkpoint import Progress
from din.train.compute import computing
from din.train.run import code_of_training
from din_tune import training
from din_tune.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)
WHY = "why"
"""The attribute of a trial that says why it failed. A trial that was killed for the first time has none."""
_GO_ON_PERCENT = 75.0
"""The percentage of trials that go on after an epoch. Strongly regularised ones learn slowly, and may win later."""
_COMPARED = 5
"""The smallest number of complete trials, at the same epoch, that a trial is compared with."""
_MOST_FAILURES = 5
"""The number of failed trials, one after another, that ends a search."""


@contextmanager
def only_one(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of the workspace's tuning, which ends with this process.

    Raises:
        InputError: another process holds it.
    """
    workspace.tuning.mkdir(parents=True, exist_ok=True)
    with (workspace.tuning / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another `din tune` is running in this workspace; wait for it, or end it; for more processes on one "
                "study, use --jobs"
            ) from None
        yield


@contextmanager
def held(workspace: Workspace) -> Iterator[Path]:
    """Yield a folder of hard links to the features, which stay as they are when a stage replaces them.

    Raises:
        InputError: features are missing or damaged, or DVC has just removed them.
    """
    place = workspace.held
    shutil.rmtree(place, ignore_errors=True)  # of a killed process
    try:
        with workspace_lock(workspace):  # no stage writes features meanwhile
            Features(workspace.features)
            for path in workspace.features.rglob("*"):
                if path.is_file():
                    _link(path, place / path.relative_to(workspace.features))
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: just removed; run this again when `dvc repro` has ended") from None
    except OSError:  # on another device, or on a file system without hard links
        shutil.copyfile(source, target)


def open_study(workspace: Workspace, features: Path, space: Space) -> Study:
    """Return the study of the features, today's parameters, space and code, in which no trial is running.

    Raises:
        InputError: features are missing, or the journal is damaged.
    """
    train = space.params.train
    Features(features)
    workspace.tuning.mkdir(parents=True, exist_ok=True)
    with computing(train.compute) as compute:
        identity = [checkpoint.directory(features, train, compute, code_of_training(train)), repr(space.searches)]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    journal = _journal(workspace)
    _mend(journal)
    try:
        study = _load(workspace, name, space)
        for trial in study.get_trials(states=[TrialState.RUNNING]):  # it was killed
            study.tell(trial.number, state=TrialState.FAIL)
            if WHY not in trial.user_attrs:  # it is tried once more, with the reason to give if that is killed, too
                again = trial.system_attrs.get("fixed_params", trial.params)
                study.enqueue_trial(again, {WHY: "killed or interrupted twice, perhaps for its memory"})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{journal}: damaged ({error}); remove it and search again: its trials are lost") from None
    for values in space.starts:
        study.enqueue_trial(space.encoded(values), skip_if_exists=True)
    return study


def _mend(journal: Path) -> None:
    """Remove what a killed process left: Optuna's lock, and a last line that was not written to its end."""
    journal.with_name("journal.lock").unlink(missing_ok=True)  # `only_one` holds a lock that a kill releases
    if journal.exists():
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(journal, whole)


def _load(workspace: Workspace, name: str, space: Space, seed: int = 0) -> Study:
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        sampler = TPESampler(seed=seed, n_startup_trials=len(space.starts), multivariate=True)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(_journal(workspace)))),
        sampler=sampler,
        pruner=PercentilePruner(_GO_ON_PERCENT, n_startup_trials=_COMPARED, n_warmup_steps=3, n_min_trials=_COMPARED),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
    )


def _journal(workspace: Workspace) -> Path:
    return workspace.tuning / "journal"


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that have ended, in their order, but not those that are tried again."""
    trials = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in trials if trial.state != TrialState.FAIL or WHY in trial.user_attrs]


def by_metric(study: Study) -> list[FrozenTrial]:
    """Return the trials that have a metric, the best first."""
    return sorted((trial for trial in ended(study) if trial.value is not None), key=lambda trial: -(trial.value or 0))


def seconds(trial: FrozenTrial) -> float:
    """Return the duration of a trial that has ended."""
    return trial.duration.total_seconds() if trial.duration else 0.0


def search(
    workspace: Workspace,
    features: Path,
    study: Study,
    space: Space,
    pool: Executor,
    jobs: int,
    trials: int | None,
    stop_at: float,
) -> None:
    """Add trials to the study until the limits are reached, or one trial after another fails.

    Args:
        pool: runs `jobs` searches at once.
        trials: of the whole study, earlier searches included; None: no limit.
        stop_at: seconds of the monotonic clock.
    """
    wanted = None if trials is None else max(0, trials - len(ended(study)))
    done = len(study.trials)  # part of the seed, so that a resumed search does not draw the same values again
    searches = []
    for number in range(jobs):
        seed = int(np.random.SeedSequence([space.params.train.learning.seed, done, number]).generate_state(1)[0])
        share = None if wanted is None else (wanted + number) // jobs
        searches.append(pool.submit(_search, workspace, features, study.study_name, space, seed, share, stop_at))
    for future in as_completed(searches):
        future.result()


def _search(
    workspace: Workspace, features: Path, name: str, space: Space, seed: int, share: int | None, stop_at: float
) -> None:
    """Add a share of the trials to a study, or as many as there is time for, in one of several processes."""
    study = _load(workspace, name, space, seed)
    failures = 0
    for _ in count() if share is None else range(share):
        if time.monotonic() > stop_at or failures == _MOST_FAILURES:
            return
        trial = study.ask()
        metric, state = _train(features, space, trial, stop_at)
        failures = failures + 1 if state == TrialState.FAIL else 0
        print(_in_words(study, study.tell(trial, metric, state)), file=sys.stderr)


def _train(features: Path, space: Space, trial: Trial, stop_at: float) -> tuple[float | None, TrialState]:
    """Train for a trial, and return its metric and its state. A training that raises an error is a failed trial."""
    state = TrialState.COMPLETE

    def report(progress: Progress) -> bool:
        nonlocal state
        trial.report(progress.best_metric, progress.epoch)
        if trial.should_prune() or time.monotonic() > stop_at:
            state = TrialState.PRUNED
        return state == TrialState.PRUNED

    try:
        trained = training.run(features, space.settings(space.drawn(trial)), report)
    except training.FAILURES as error:
        trial.set_user_attr(WHY, str(error) or type(error).__name__)
        return None, TrialState.FAIL
    return (trained.best_metric if state == TrialState.COMPLETE else None), state


def _in_words(study: Study, trial: FrozenTrial) -> str:
    """Return how a trial ended, and which one is the best."""
    outcome = f"{trial.value:.4f}" if trial.value is not None else trial.user_attrs[WHY]
    words = f"trial {trial.number} {trial.state.name.lower()}: {outcome}, {seconds(trial):.0f} s"
    best = by_metric(study)
    return f"{words}; best {best[0].value:.4f} in trial {best[0].number}" if best else words
