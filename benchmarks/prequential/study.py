"""Make the models of each day, and score the next day's impressions with them.

On each morning there are four models, named as in `benchmarks.daily`:

    scratch     learned all days before the validation days by epochs, then the validation and the test days once
    stale       the first part of that; it is shipped as it was judged
    champion    yesterday's champion, after one more day; it began as the first of `scratch`
    first       the first of `scratch`

The stages run in one process, one day after the other in the same workspace. Nothing that is finished is run again, and
a killed training resumes from its checkpoint.

    <folder>/study.json                          the parameters, the days and the code
    <folder>/workspace/                          the workspace, with a registry of all bundles
    <folder>/models/<date>-<seed>-<policy>.json  the bundle that was made at the end of a day
    <folder>/scores/<date>-<seed>.parquet        the day's rows, scored by the bundles that were there before the day
    <folder>/output.txt                          the output of the stages
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, learning_seconds, scored
from din import code, documents
from din.artifacts import atomic_path, write_json
from din.errors import InputError
from din.features.reader import Features
from din.featurize.build import featurize
from din.gates.earlier_champion import score_champion
from din.names import Version
from din.params import Params, to_json
from din.registry.registry import Registry
from din.serve.export import export
from din.sources.fetch import fetch, look
from din.train.evaluate import evaluate
from din.train.refit import refit
from din.train.run import train
from din.workspace import Workspace
from validation import features, predictions, raw
from validation.run import validate

LEARNING = (SCRATCH, STALE, CHAMPION)
"""The policies that make a model every day."""
_STAGES = (fetch, featurize, train, evaluate, refit, export, validate, score_champion)
_SUITES = (raw, features, predictions)
_ROWS = ("user", "item", "label", "sequence", "timestamp")
_ANY_CALIBRATION = {"min_calibration": 0.0, "max_calibration": 1e9, "max_log_loss_over_constant": 1e9}
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Made:
    """A model that was made at the end of a day.

    Attributes:
        version: the version of its bundle.
        seconds: the CPU seconds of its learning.
    """

    __pydantic_config__ = documents.STRICT

    version: Version
    seconds: float


@dataclass(frozen=True)
class Settings:
    """Everything that the figures depend on, besides the seeds.

    Attributes:
        log: a hash of the parameters.
        code: a hash of the modules that the stages import.
        first: the day at the end of which the first champion is made.
        last: the last day that is scored.
    """

    __pydantic_config__ = documents.STRICT

    log: str
    code: str
    first: str
    last: str


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        day: the newest day of the log that it reads.
        seed: the seed of the trainings.
        policy: the policy of the model that it makes. None: it scores the rows of the day.
    """

    day: date
    seed: int
    policy: str | None


@dataclass(frozen=True)
class Study:
    """A comparison in a folder.

    Attributes:
        folder: the folder; see the module.
        params: the parameters of all runs, without what depends on the day, the seed and the policy.
        seeds: the seeds of the trainings.
        days: the days of the runs. The first run makes the first champion, the next one the first model of each policy,
            and each later day is scored.
    """

    folder: Path
    params: Params
    seeds: Sequence[int]
    days: Sequence[date]

    @classmethod
    def opened(cls, folder: Path, params: Params, seeds: Sequence[int], count: int) -> "Study":
        """Return the study of the last `count` days of a log. Finished work in the folder is kept.

        Raises:
            InputError: the log is too short, it can't be read, or the folder holds another study.
        """
        prepared = _prepared(params)
        seen = look(workspace_in(folder), prepared)
        days = days_of_runs(
            date.fromisoformat(seen.first_day),
            date.fromisoformat(seen.last_day),
            count,
            params.featurize.valid_days,
        )
        settings = Settings(_hash(to_json(prepared)), _code(), days[0].isoformat(), days[-1].isoformat())
        _keep_to(folder / "study.json", settings)
        return cls(folder, prepared, seeds, days)

    @property
    def scored_days(self) -> Sequence[date]:
        """The days whose rows are scored."""
        return self.days[2:]

    @cached_property
    def tasks(self) -> list[Task]:
        """All pieces of work, in order."""
        return [Task(day, seed, policy) for day in self.days for seed in self.seeds for policy in self._policies(day)]

    @property
    def waiting(self) -> list[Task]:
        """The tasks that are not finished, in order."""
        return [task for task in self.tasks if not self._result(task).exists()]

    def prepare(self, day: date) -> None:
        """Bring log and features of the workspace to the end of a day.

        Raises:
            InputError: the log can't be used, or rows are not held out by time.
            GateClosed: a suite of validation is closed.
        """
        here, params = self._workspace, self._until(day)
        with self._output():
            fetch(here, params)
            validate(here, "raw", raw.PHASES, params)
            featurize(here, params)
            validate(here, "features", features.PHASES, params)
        opened = Features(here.features)
        if not opened.by_time:
            protocol = opened.manifest["protocol"]
            raise InputError(f"featurize.protocol is {protocol}; expected temporal, since days are to be compared")

    def run(self, task: Task) -> None:
        """Do a piece of work, for whose day the workspace was prepared.

        Raises:
            InputError: a stage can't use its input, e.g. because training diverged.
            GateClosed: the suite of the predictions is closed.
        """
        if task.policy is None:
            self._score(task)
        else:
            self._make(task)

    def made(self, day: date, seed: int, policy: str) -> Made:
        """Return the model that a policy made at the end of a day."""
        path = self._result(Task(day, seed, policy))
        return documents.read(Made, path, "remove the folder to begin anew")

    def scores(self, day: date, seed: int) -> pa.Table:
        """Return a day's rows with their scores."""
        return pq.read_table(self._result(Task(day, seed, None)))

    def _policies(self, day: date) -> Sequence[str | None]:
        """Return the policies of a day's tasks; None scores the day, before any model learns it."""
        if day == self.days[0]:
            return (SCRATCH,)
        if day == self.days[1]:
            return LEARNING
        if day == self.days[-1]:
            return (None,)
        return (None, *LEARNING)

    def _make(self, task: Task) -> None:
        here, params = self._workspace, self._params(task)
        with self._output():
            train(here, params)
            evaluate(here, params)
            validate(here, "predictions", predictions.PHASES, params)
            refit(here, params)
            export(here, params)
        version = self._registry.put_bundle(here.bundle)
        write_json(self._result(task), asdict(Made(version, learning_seconds(here))))

    def _score(self, task: Task) -> None:
        yesterday = task.day - _DAY
        serving = {policy: self.made(yesterday, task.seed, policy) for policy in LEARNING}
        serving[FIRST] = self.made(self.days[0], task.seed, SCRATCH)
        with TemporaryDirectory(dir=self.folder) as place:
            bundles = {name: self._registry.fetch(made.version, Path(place) / name) for name, made in serving.items()}
            table = scored(self._workspace, _test_rows(Features(self._workspace.features)), bundles)
        path = self._result(task)
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)

    def _params(self, task: Task) -> Params:
        params = self._until(task.day)
        learning = replace(params.train.learning, seed=task.seed, advance=task.policy != STALE)
        if task.policy != CHAMPION:
            return replace(params, train=replace(params.train, start="scratch", learning=learning))
        yesterday = task.day - _DAY
        before = self.made(yesterday, task.seed, SCRATCH if yesterday == self.days[0] else CHAMPION)
        going_on = replace(params.train, start="champion", champion=before.version, learning=learning)
        return replace(params, train=going_on)

    def _until(self, day: date) -> Params:
        return replace(self.params, data=replace(self.params.data, until=day))

    def _result(self, task: Task) -> Path:
        if task.policy is None:
            return self.folder / "scores" / f"{task.day}-{task.seed}.parquet"
        return self.folder / "models" / f"{task.day}-{task.seed}-{task.policy}.json"

    @contextmanager
    def _output(self) -> Iterator[None]:
        """Append what the stages print to the file of their output."""
        with (self.folder / "output.txt").open("a", encoding="utf-8") as file, redirect_stdout(file):
            yield

    @property
    def _workspace(self) -> Workspace:
        return workspace_in(self.folder)

    @property
    def _registry(self) -> Registry:
        return Registry.of(self._workspace, self.params)


def workspace_in(folder: Path) -> Workspace:
    """Return the workspace of a study's folder, and make it if it is missing."""
    workspace = Workspace(folder / "workspace")
    workspace.root.mkdir(parents=True, exist_ok=True)
    return workspace


def days_of_runs(first: date, last: date, count: int, valid_days: int) -> list[date]:
    """Return the days of the runs that a comparison of the last `count` days of a log needs; see `Study`.

    Args:
        first: the first day of the log.
        last: its last day.
        count: the number of days to score.
        valid_days: the number of validation days. A run also needs a day to learn and a day to test.

    Raises:
        InputError: the log is too short.
    """
    most = (last - first).days - valid_days - 2
    if count > most:
        reason = (
            f"the first model learns a day, validates {valid_days} and tests one, and the next one serves a day later"
        )
        advice = f"ask for at most {most}" if most > 0 else f"a log needs at least {valid_days + 4} days"
        raise InputError(f"--days {count}: the log has the days {first} to {last}, and {reason}; {advice}")
    return [last - _DAY * back for back in range(count + 1, -1, -1)]


def _test_rows(features: Features) -> pa.Table:
    """Return the rows of the test split, in the order of the files, with the columns that requests need."""
    parts = [shard.impressions for shard in features.shards("test")]
    return pa.table({name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS})


def _prepared(params: Params) -> Params:
    """Return the parameters of all runs: one test day, no limit that a young model could miss, and a registry here."""
    return replace(
        params,
        featurize=replace(params.featurize, test_days=1),
        evaluate=replace(params.evaluate, lr_epochs=1),  # nothing is compared with the floor LR
        validate_predictions=replace(params.validate_predictions, **_ANY_CALIBRATION),
        promote=replace(params.promote, registry="registry"),
    )


def _keep_to(path: Path, settings: Settings) -> None:
    """Store the settings, or compare them with those that are stored.

    Raises:
        InputError: they differ.
    """
    if not path.exists():
        write_json(path, asdict(settings))
        return
    kept = asdict(documents.read(Settings, path, "remove the folder to begin anew"))
    differing = [name for name, value in asdict(settings).items() if kept[name] != value]
    if differing:
        raise InputError(
            f"{path.parent}: begun with another {' and '.join(differing)}; give another --folder, or remove this one"
        )


def _code() -> str:
    modules = {function.__module__ for function in _STAGES} | {suite.__name__ for suite in _SUITES}
    return _hash(code.digests(code.closure(modules, [field.name for field in fields(Params)])))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
