"""Run the days of a month, one after the other, as a scheduler would, and keep what happened.

Each day is a run of `dags.workspace`: `open_run`, every stage of dvc.yaml, `promote`, `close_run`. A *policy* is a set
of parameters with a registry namespace of its own. A finished day is not run again, and an interrupted one goes on with
its next step.

    <folder>/month.json                     the settings
    <folder>/source/                        see `source`
    <folder>/remote, registry               what the runs share
    <folder>/plants/<name>/                 makes a fault of `benchmarks.lessons` in the stage `refit`
    <folder>/homes/<policy>                 workspaces and DVC's cache; no policy takes results of another
    <folder>/days/<policy>/<date>.json      the steps of a run
    <folder>/bundles/<policy>/<date>/       the bundle that it exported
    <folder>/scores/<date>.parquet          the day's rows, scored by the bundles that were there before the day
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.daily import CHAMPION, SCRATCH, STALE, learning_seconds, scored
from benchmarks.environments import ROOT
from benchmarks.month.faults import FAULTS, planned
from benchmarks.month.source import PRICE, Source, date_of
from dags import plan, workspace
from dags.workspace import Outcome, Run
from din import documents
from din.artifacts import MANIFEST, atomic_path, replace_directory, sha256_file, write_json
from din.errors import InputError, Unavailable
from din.model import artifact
from din.params.overlays import edit, read_overlay
from din.params.reading import Params, parse, plain
from din.sources.daily_simulation import World
from din.workspace import Workspace

LOG = ROOT / "docs/examples/month.yaml"
POLICIES: Mapping[str, Mapping[str, Any]] = {
    CHAMPION: {"train.start": "champion"},
    SCRATCH: {"train.start": "scratch"},
    STALE: {"train.start": "scratch", "train.learning.advance": False},
}
"""The parameters of each policy. `stale` ships the model that was judged."""
TRUTH = "truth"
"""The column of the true probabilities, beside one for each bundle that scores a day."""
KILLED = "train"
"""The stage that is killed on one day."""
_SECONDS_BEFORE_KILL = 1.0
_PLANT = """import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec


class Planter(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "din.train.refit":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        load = spec.loader.exec_module

        def load_planted(module):
            load(module)
            sound = module.refit

            def refit(*arguments):
                sys.path.append({root!r})
                from benchmarks.lessons.plants import PLANTS, planted

                with planted(PLANTS[{name!r}]):
                    sound(*arguments)

            module.refit = refit

        spec.loader.exec_module = load_planted
        return spec


sys.meta_path.insert(0, Planter())
"""
"""A module that plants a fault in the stage `refit`, in whatever process imports it."""
_TRIES = 3


@dataclass(frozen=True)
class Step:
    """A step of a run: `open`, a stage, or `promote`.

    Attributes:
        name: its name.
        code: its exit code; None if it was killed.
        cpu: the CPU seconds that it took.
        why: what closed it, or its error. Empty if it succeeded.
    """

    __pydantic_config__ = documents.STRICT

    name: str
    code: int | None
    cpu: float
    why: str


@dataclass(frozen=True)
class Day:
    """The run of a day, as far as it has come.

    Attributes:
        number: the day, counted from 1.
        fault: the name of its fault, or None.
        steps: in the order in which they ended.
        bundle: the version of the bundle that it exported, or None.
        table_rows: the rows of that bundle's embedding table.
        learning: the CPU seconds of learning in `train` and `refit`, without the start of the processes.
        finished: whether the run has ended.
    """

    __pydantic_config__ = documents.STRICT

    number: int
    fault: str | None
    steps: tuple[Step, ...] = ()
    bundle: str | None = None
    table_rows: int | None = None
    learning: float = 0.0
    finished: bool = False

    @property
    def promoted(self) -> bool:
        """True if its bundle became the champion."""
        return bool(self.steps) and self.steps[-1].name == "promote" and self.steps[-1].code == 0

    def cpu(self, *names: str) -> float:
        """Return the CPU seconds of the steps with these names, by default of all, without what was killed."""
        return sum(step.cpu for step in self.steps if step.code is not None and (not names or step.name in names))


@dataclass(frozen=True)
class Settings:
    """The settings of a month.

    Attributes:
        commit: the commit that runs.
        days: the number of days.
        earlier: the number of days of the log before the first run's.
        impressions: the impressions of a usual day.
        faults: the names of the faults to plant, in their order.
        seed: what to add to the seeds of the log and of the training.
    """

    __pydantic_config__ = documents.STRICT

    commit: str
    days: int
    earlier: int
    impressions: int
    faults: tuple[str, ...]
    seed: int = 0


@dataclass(frozen=True)
class Month:
    """A month in a folder.

    Attributes:
        folder: the folder; see the module.
        repository: the repository whose commit runs.
        settings: the settings.
        extra: further parameters of all runs, by dotted key.
    """

    folder: Path
    repository: Path
    settings: Settings
    extra: Mapping[str, Any]

    @classmethod
    def opened(cls, folder: Path, repository: Path, asked: Settings, extra: Mapping[str, Any]) -> "Month":
        """Return a month that is in the folder already, or else begin it. It keeps to the commit with which it began.

        Raises:
            InputError: the folder holds a month with other settings.
        """
        path = folder / "month.json"
        if not path.exists():
            write_json(path, asdict(asked))
            return cls(folder, repository, asked, extra)
        kept = documents.read(Settings, path, "remove the folder to begin anew")
        there, here = asdict(kept), asdict(replace(asked, commit=kept.commit))
        differing = [f"{name} {there[name]!r} there, {here[name]!r} here" for name in here if there[name] != here[name]]
        if differing:
            raise InputError(
                f"{folder}: holds another month: {'; '.join(differing)}; give another --folder, or remove this one"
            )
        return cls(folder, repository, kept, extra)

    @cached_property
    def faults(self) -> Mapping[int, str]:
        """The name of the fault of each day that has one."""
        return planned(self.settings.days, self.settings.faults)

    @cached_property
    def kill_day(self) -> int:
        """The sound day, in the middle of the month, on which a stage is killed."""
        middle = self.settings.days // 2 + 1
        return next(number for number in range(middle, self.settings.days + 1) if number not in self.faults)

    @cached_property
    def source(self) -> Source:
        """The source of the month."""
        simulate = self._defaults.fetch.simulate
        daily = replace(simulate.daily, impressions=self.settings.impressions)
        world = World(replace(simulate, daily=daily, seed=simulate.seed + self.settings.seed))
        return Source(self.folder / "source", world)

    @cached_property
    def _defaults(self) -> Params:
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        edited = edit(text, read_overlay(LOG), LOG)
        return parse(Params, plain(edited.text, LOG), LOG)

    def log_day(self, number: int) -> int:
        """Return the day of the log, counted from 0, of a day of the month, counted from 1."""
        return self.settings.earlier + number - 1

    def date(self, number: int) -> str:
        """Return the date of a day of the month."""
        return date_of(self.log_day(number)).isoformat()

    def run_id(self, policy: str, number: int) -> str:
        """Return the id of a day's run."""
        return f"{self.date(number)}-{policy}"

    def params(self, policy: str) -> Mapping[str, Any]:
        """Return the parameters of a policy's runs, by dotted key."""
        return {
            "data.window_days": self.settings.earlier + 1,
            "fetch.source": "table",
            "fetch.table.events": self.source.events_glob,
            "fetch.table.items": str(self.source.items_path),
            "fetch.table.history": str(self.source.history_path),
            "fetch.table.keep": [PRICE],
            "fetch.table.timestamp_unit": "s",
            "fetch.table.daily": True,
            "featurize.protocol": "temporal",
            "featurize.test_days": 1,
            "featurize.fields": {
                "item": {"category": "categorical"},
                "context": {PRICE: "numeric"},
            },
            "promote.model_name": f"month-{policy}",
            "train.learning.seed": self._defaults.train.learning.seed + self.settings.seed,
            **POLICIES[policy],
            **self.extra,
        }

    def day(self, policy: str, number: int) -> Day:
        """Return the run of a day, as far as it has come."""
        path = self._record(policy, number)
        if path.exists():
            return documents.read(Day, path, "remove the month's folder to begin anew")
        return Day(number, self.faults.get(number) if policy == CHAMPION else None)

    def bundle(self, policy: str, number: int) -> Path:
        """Return the folder for the bundle that the run of a day exports."""
        return self.folder / "bundles" / policy / self.date(number)

    def scores(self, number: int) -> Path:
        """Return the file with the scores of a day's rows."""
        return self.folder / "scores" / f"{self.date(number)}.parquet"

    def keep(self, policy: str, day: Day) -> Day:
        """Store the run of a day, and return it."""
        write_json(self._record(policy, day.number), asdict(day))
        return day

    def home(self, policy: str) -> Path:
        """Return the folder in which the runs of a policy work."""
        return self.folder / "homes" / policy

    def enter(self, policy: str) -> None:
        """Set the variables of `dags.workspace` for runs of a policy in this process and its children."""
        places = {"HOME": self.home(policy), "DVC_REMOTE": self.folder / "remote", "REGISTRY": self.folder / "registry"}
        os.environ.update({f"DIN_{name}": str(place) for name, place in places.items()})
        os.environ["DIN_REPOSITORY"] = str(self.repository)

    def _record(self, policy: str, number: int) -> Path:
        return self.folder / "days" / policy / f"{self.date(number)}.json"


def run_day(month: Month, policy: str, number: int, earlier: Mapping[str, Path]) -> Day:
    """Run a day, or what is left of it, and return it.

    Args:
        month: the month.
        policy: a key of `POLICIES`.
        number: the day, counted from 1.
        earlier: by name, the bundles that are to score the day's rows.

    Raises:
        Unavailable: git, DVC's remote or the registry failed. The same call again goes on.
    """
    day = month.day(policy, number)
    if day.finished:
        return day
    month.enter(policy)
    fault = FAULTS[day.fault] if day.fault else None
    if policy == CHAMPION:  # the other policies read what it read
        month.source.deliver(month.log_day(number), fault.plant if fault else None)
    name = month.run_id(policy, number)
    before = FAULTS[month.faults[number - 1]] if number - 1 in month.faults else None
    params = {
        **month.params(policy),
        **(fault.params if fault else {}),
        **(before.accepted if before else {}),
    }
    began = _cpu()
    try:
        run = workspace.open_run(name, month.date(number), params, month.settings.commit)
    except InputError as error:
        return month.keep(policy, replace(_with(day, "open", 2, began, str(error)), finished=True))
    if not day.steps:
        day = month.keep(policy, _with(day, "open", 0, began, ""))
    here = Workspace(month.home(policy) / "workspaces" / name)
    with learning_with(month.folder / "plants", fault.lesson if fault else None):
        day = _stages(month, policy, day, run, here)
    if earlier and here.evaluation.exists() and day.fault is None:
        _score(month, number, here, earlier)
    if here.bundle.exists() and _done(day, "export"):
        day = _kept_bundle(month, policy, day, here)
    day = month.keep(policy, replace(day, finished=True))
    workspace.close_run(run)
    return day


@contextmanager
def learning_with(folder: Path, name: str | None) -> Iterator[None]:
    """Let every `din refit` that starts in this block learn with a plant of `benchmarks.lessons`.

    Args:
        folder: the folder for the plants.
        name: the plant, or None.
    """
    if name is None:
        yield
        return
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "sitecustomize.py").write_text(_PLANT.format(root=str(ROOT), name=name))  # Python imports it at its start
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(place), *([inherited] if inherited else [])])
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if inherited:
            os.environ["PYTHONPATH"] = inherited


def _stages(month: Month, policy: str, day: Day, run: Run, here: Workspace) -> Day:
    """Run the stages that have not ended, and promote."""
    names = [*(stage.name for stage in plan.load(month.repository / "dvc.yaml")), "promote"]
    while not _done(day, names[-1]):
        began = _cpu()
        for outcome in workspace.run_all(run, "daily"):
            name = outcome.stage
            if not _done(day, name):
                day = month.keep(policy, _with(day, name, outcome.exit_code, began, _why(outcome, here)))
            began = _cpu()
            if outcome.exit_code in (2, 3):
                return day
            if outcome.exit_code == 1 or sum(one.name == name for one in day.steps) > _TRIES:
                raise Unavailable(f"{name} of run {run.run_id} exited {outcome.exit_code}:\n{outcome.table}")
            following = names[names.index(name) + 1 :][:1]
            killed = any(one.name == KILLED and one.code is None for one in day.steps)
            if policy == CHAMPION and day.number == month.kill_day and following == [KILLED] and not killed:
                threading.Thread(target=_kill_stage, args=[here], daemon=True).start()
    return day


def _score(month: Month, number: int, here: Workspace, earlier: Mapping[str, Path]) -> None:
    rows = pq.read_table(here.predictions / "test.parquet")
    truth = month.source.truth(month.log_day(number), rows["sequence"].to_numpy())
    table = scored(here, rows, earlier, {TRUTH: truth})
    path = month.scores(number)
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _kept_bundle(month: Month, policy: str, day: Day, here: Workspace) -> Day:
    target = month.bundle(policy, day.number)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replace_directory(target) as folder:
        shutil.copytree(here.bundle, folder, dirs_exist_ok=True)
    rows = artifact.read_config(target / artifact.IN_BUNDLE)["table"]["rows"]
    return replace(
        day,
        bundle=sha256_file(target / MANIFEST),
        table_rows=rows,
        learning=learning_seconds(here),
    )


def _kill_stage(here: Workspace) -> None:
    """SIGKILL the next stage of a workspace, a second after it took the stage lock."""
    ended = _locker(here)
    pid = None
    while pid is None or pid == ended:  # a lock that is being taken is empty for a moment
        time.sleep(0.02)
        pid = _locker(here)
    time.sleep(_SECONDS_BEFORE_KILL)
    os.kill(pid, signal.SIGKILL)


def _locker(here: Workspace) -> int | None:
    """Return the process that last took the stage lock."""
    try:
        return int(here.stage_lock.read_text())
    except (OSError, ValueError):
        return None


def _done(day: Day, name: str) -> bool:
    return any(step.name == name and step.code == 0 for step in day.steps)


def _with(day: Day, name: str, code: int | None, began: float, why: str) -> Day:
    return replace(day, steps=(*day.steps, Step(name, code, round(_cpu() - began, 3), why)))


def _cpu(process: str = "self") -> float:
    """Return the CPU seconds of a process, its children that have ended and, likewise, those that go on."""
    place = Path("/proc", process)
    times = (place / "stat").read_text().rpartition(")")[2].split()[11:15]
    children = (place / "task").glob("*/children")
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK") + sum(
        _cpu(child) for path in children for child in path.read_text().split()
    )


def _why(outcome: Outcome, here: Workspace) -> str:
    """Return the gates or expectations that closed, or the reason of the report, or else the error."""
    if outcome.exit_code == 0:
        return ""
    if outcome.exit_code == 3 and outcome.report:
        report = json.loads((here.root / outcome.report).read_text())
        gates = [gate["name"] for gate in report.get("gates", ()) if gate["verdict"] != "open"]
        failed = [
            one["name"]
            for one in report.get("expectations", ())
            if not one["success"] and one["severity"] == "critical"
        ]
        if found := [*gates, *dict.fromkeys(failed)]:
            return ", ".join(found)
        if reason := report.get("reason"):
            return reason
    return outcome.table
