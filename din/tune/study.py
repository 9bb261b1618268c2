"""The study: trials in a journal that survives any kill, and the search that adds to them.

A journal belongs to the workspace, and a study in it to features, parameters, space and code of training: trials of
other ones are not comparable. One process asks for trials and tells their results. Those that train report each epoch,
and end early if the metric is worse than the median of earlier trials after as many epochs.
"""

import fcntl
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from din.errors import InputError
from din.features.reader import Features
from din.progress import progress
from din.train import checkpoint
from din.train.checkpoint import Progress
from din.train.compute import computing
from din.tune import training
from din.tune.space import Space, Values
from din.workspace import Workspace

optuna.logging.set_verbosity(optuna.logging.ERROR)
START, SECONDS, WHY = "start", "seconds", "why"
"""Attributes of a trial: its number among the starts, its duration, and why it failed."""
KILLED = "killed"
_MOST_FAILURES = 5
"""The number of failed trials, one after another, that ends a search."""
_FINAL_TRAININGS = 16
_FINAL_SHARE = 0.4
"""The largest share of the minutes that is kept for further seeds."""


@dataclass(frozen=True)
class Budget:
    """How long to search.

    Attributes:
        minutes: of the whole command; None: as many as the trials take.
        trials: of the whole study; None: as many as fit into the minutes.
        began: the clock at the start of the command.
    """

    minutes: float | None
    trials: int | None
    began: float

    @property
    def seconds_left(self) -> float:
        """The seconds until the command should end."""
        return float("inf") if self.minutes is None else self.began + 60 * self.minutes - time.monotonic()

    def final(self, seconds: float, jobs: int) -> float:
        """Return the seconds to keep for the trainings after the search, given those of one training."""
        wanted = -(-_FINAL_TRAININGS // jobs) * seconds
        return 0.0 if self.minutes is None else min(wanted, _FINAL_SHARE * 60 * self.minutes)


@dataclass(frozen=True)
class Ended:
    """How a trial ended: its state, the best metric of its epochs if there is one, its seconds, and why it failed."""

    state: TrialState
    metric: float | None
    seconds: float
    why: str = ""


@contextmanager
def only_one(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of the workspace's tuning, which ends with this process.

    Raises:
        InputError: another process holds it.
    """
    workspace.tuning.mkdir(parents=True, exist_ok=True)
    with (workspace.tuning / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InputError(
                f"another `din tune` is running in this workspace (pid {lock.read().strip()}); wait for it, or end it; "
                "for more processes on one study, use --jobs"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def open_study(workspace: Workspace, space: Space) -> Study:
    """Return the study of today's features, parameters, space and code, in which no trial is running.

    Raises:
        InputError: features are missing, or the journal is damaged.
    """
    train = space.params.train
    Features(workspace.features)
    workspace.tuning.mkdir(parents=True, exist_ok=True)
    with computing(train.compute) as compute:
        identity = [checkpoint.directory(workspace.features, train, compute), repr(space.distributions)]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    journal = _journal(workspace)
    _mend(journal)
    try:
        study = _load(workspace, name)
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            Trial(study, trial._trial_id).set_user_attr(WHY, KILLED)
            study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{journal}: damaged ({error}); remove it, and its trials are lost") from None
    known = {trial.user_attrs.get(START) for trial in study.trials if trial.user_attrs.get(WHY) != KILLED}
    for number, values in enumerate(space.starts):
        if number not in known:
            study.enqueue_trial(space.encoded(values), {START: number})
    seed = train.learning.seed + len(study.trials)  # a resumed search does not draw the same values again
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        study.sampler = TPESampler(seed=seed, n_startup_trials=len(space.starts), multivariate=True)
    return study


def _mend(journal: Path) -> None:
    """Cut off a last line that was not written to its end, since the disk was full."""
    if journal.exists():
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(journal, whole)


def _load(workspace: Workspace, name: str) -> Study:
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(_journal(workspace)))),
        pruner=MedianPruner(n_startup_trials=2, n_warmup_steps=1),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
    )


def _journal(workspace: Workspace) -> Path:
    return workspace.tuning / "journal"


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that were not killed, in their order."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [one for one in study.get_trials(states=states) if one.user_attrs.get(WHY) != KILLED]


def by_metric(study: Study) -> list[FrozenTrial]:
    """Return the trials that have a metric, the best first."""
    return sorted((one for one in ended(study) if one.value is not None), key=lambda one: -(one.value or 0))


def mean_seconds(study: Study) -> float:
    """Return the mean duration of a training that was not ended early; infinite if there is none yet."""
    known = [one.user_attrs[SECONDS] for one in ended(study) if one.state == TrialState.COMPLETE]
    return fmean(known) if known else float("inf")


def search(workspace: Workspace, study: Study, space: Space, budget: Budget, pool: Executor, jobs: int) -> None:
    """Add trials to the study until the budget ends, or one trial after another fails."""
    waiting: dict[Future[Ended], Trial] = {}
    failures = 0
    with progress(budget.trials, "tuning", "trial", initial=len(ended(study))) as bar:
        while True:
            while len(waiting) < jobs and failures < _MOST_FAILURES:
                count = len(ended(study)) + len(waiting)
                left = budget.seconds_left - budget.final(mean_seconds(study), jobs)
                if left <= 0 or (budget.trials is not None and count >= budget.trials):
                    break
                trial = study.ask(space.distributions)
                place = (workspace, study.study_name, trial._trial_id)
                values = space.decoded(trial.params)
                waiting[pool.submit(train_trial, *place, space, values, time.monotonic() + left)] = trial
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                how = future.result()
                say = bar.write if sys.stderr.isatty() else print
                say(_tell(study, waiting.pop(future), how), file=sys.stderr)
                bar.update()
                failures = failures + 1 if how.why else 0


def _tell(study: Study, trial: Trial, how: Ended) -> str:
    """Write the end of a trial to the study, and return it in words."""
    trial.set_user_attr(SECONDS, how.seconds)
    if how.why:
        trial.set_user_attr(WHY, how.why)
    study.tell(trial, how.metric if how.state == TrialState.COMPLETE else None, how.state)
    best = by_metric(study)
    found = how.why or f"{how.metric:.4f}"
    known = f"; best {best[0].value:.4f} in trial {best[0].number}" if best else ""
    return f"trial {trial.number} {how.state.name.lower()}: {found}, {how.seconds:.0f} s{known}"


def train_trial(workspace: Workspace, name: str, trial_id: int, space: Space, values: Values, stop_at: float) -> Ended:
    """Train for a trial, and report each epoch to its study. A training that can't go on is a failed trial."""
    trial = Trial(_load(workspace, name), trial_id)
    began = time.monotonic()

    state = TrialState.COMPLETE

    def report(progress: Progress) -> bool:
        nonlocal state
        trial.report(progress.best_metric, progress.epoch)
        if trial.should_prune() or time.monotonic() > stop_at:
            state = TrialState.PRUNED
        return state == TrialState.PRUNED

    try:
        metric = training.run(workspace.features, space.settings(values), report).best_metric
        return Ended(state, metric, time.monotonic() - began)
    except training.FAILURES as error:
        return Ended(TrialState.FAIL, None, time.monotonic() - began, str(error) or type(error).__name__)
