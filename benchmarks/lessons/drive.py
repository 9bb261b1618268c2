"""Learn the last day of a log with a fault, through the product's own stages, and let the gates judge.

The sound part is made once: a champion of the day before, and a workspace for each start, in which everything before
`refit` is done. A fault then costs `refit`, `export`, `check_parity` and the gates, with the limits as shipped.

    start       the model that learns the day                  judged against
    champion    the champion of the day before                 the champion
    scratch     one that was trained until the day before      the champion; and once more as a first run, without one

The truth is the AUC on the next day, less that of the model before the lesson.

    <folder>/registry                            the registry with the champion
    <folder>/champion, scratch                   the workspace of each start
    <folder>/before-champion, before-scratch     the bundle of the model before the lesson
    <folder>/truth                               the workspace of the next day
    <folder>/output.txt                          the output of the stages
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.daily import advantage, scored
from benchmarks.environments import ROOT
from benchmarks.lessons.plants import Plant, planted
from benchmarks.logs import read_log
from benchmarks.month.source import Source, date_of
from din import documents
from din.document_types import GateReport
from din.errors import GateClosed, InputError
from din.features.reader import Features
from din.featurize.build import featurize
from din.gates.gate import gate
from din.metrics.estimates import Interval
from din.params import Params
from din.promotion.promote import promote
from din.registry.champions import pin
from din.registry.registry import Registry
from din.serve.export import export
from din.serve.parity import check_parity
from din.sources.daily_simulation import World
from din.sources.fetch import fetch
from din.train.evaluate import evaluate
from din.train.refit import refit
from din.train.run import train
from din.workspace import Workspace
from validation import features, predictions, raw
from validation.run import validate

CHAMPION, SCRATCH = STARTS = ("champion", "scratch")
Stage = Callable[[Workspace, Params], object]
_FEATURES: Sequence[Stage] = (
    fetch,
    lambda workspace, params: validate(workspace, "raw", raw.PHASES, params),
    featurize,
    lambda workspace, params: validate(workspace, "features", features.PHASES, params),
)
_MODEL: Sequence[Stage] = (
    train,
    evaluate,
    lambda workspace, params: validate(workspace, "predictions", predictions.PHASES, params),
    refit,
)


def _promote(workspace: Workspace, params: Params) -> None:
    promote(workspace, params, by="benchmarks.lessons")


_DAY = timedelta(days=1)
_DELTAS = ("champion_delta_auc", "lesson_delta_auc")
_IMPRESSIONS = 1000
_NEXT_DAY = 20_000
_ROWS = ("user", "item", "label", "sequence", "timestamp")


@dataclass(frozen=True)
class Judged:
    """A lesson and what became of it.

    Attributes:
        run: "goes on", "from scratch" or "first run".
        closed: the gates that are not open, or the stage that refused it. Empty: it was promoted.
        margin: the loss of AUC that was permitted. NaN: no gate compared it with the model before the lesson.
        effect: the AUC of the next day less that of the model before the lesson. None: it was not exported.
    """

    run: str
    closed: Sequence[str]
    margin: float
    effect: Interval | None


@dataclass(frozen=True)
class Lesson:
    """A lesson beside the sound one.

    Attributes:
        what: its fault.
        judged: what became of it.
        permitted: the margin of the sound lesson.
    """

    what: str
    judged: Judged
    permitted: float

    @property
    def verdict(self) -> str:
        """Caught or MISSED if the lesson loses two margins or more, else refused or harmless."""
        effect = self.judged.effect
        if effect is None or effect.point <= -2 * self.permitted:
            return "caught" if self.judged.closed else "MISSED"
        return "refused" if self.judged.closed else "harmless"


@dataclass(frozen=True)
class Site:
    """A log in a folder, with everything before the lesson done.

    Attributes:
        folder: the folder; see the module.
        params: the parameters, without those that depend on the day and the start.
        day: the day that is the lesson.
    """

    folder: Path
    params: Params
    day: date

    @classmethod
    def prepared(cls, folder: Path, params: Params, day: date, starts: Sequence[str] = STARTS) -> "Site":
        """Do the sound part below a new folder.

        Raises:
            InputError: a stage refuses the log.
            GateClosed: a gate refuses the champion of the day before, or a suite the lesson.
        """
        params = replace(
            params,
            featurize=replace(params.featurize, test_days=1),
            check_parity=replace(params.check_parity, max_impressions=_IMPRESSIONS),
            gate=replace(params.gate, max_latency_ms=None),  # a lesson changes no time, and a busy machine does
        )
        site = cls(folder, params, day)
        here = Workspace(folder / "sound")
        here.root.mkdir(parents=True)
        everything = (*_FEATURES, *_MODEL, export, check_parity, gate, _promote)
        site._run(everything, here, site._params(SCRATCH, site._registry, day - _DAY))
        site._run(_FEATURES, here, site._params(SCRATCH, site._registry))
        for start in starts:
            here_params = site._params(start, site._registry)
            site._run(_MODEL, here, here_params)
            shutil.copytree(here.root, site._workspace(start).root)
            if start == SCRATCH:
                shutil.rmtree(here.shipped)
                shutil.copytree(here.model, here.shipped)
                site._run((export,), here, here_params)
                shutil.copytree(here.bundle, site._before(start))
            else:
                champion = Registry.of(here, here_params)
                champion.fetch(champion.history()[-1].version, site._before(start))
        truth = here.root.rename(folder / "truth")
        site._run((fetch, featurize), Workspace(truth), site._params(SCRATCH, site._registry, day + _DAY))
        return site

    def judge(self, start: str, plant: Plant | None = None) -> list[Judged]:
        """Learn the day and let the gates judge, also as a first run if it starts from scratch.

        Args:
            start: one of those that were prepared.
            plant: what is wrong with the lesson. None: nothing.
        """
        with TemporaryDirectory(dir=self.folder) as place:
            here = Workspace(Path(place) / "workspace")
            registry, empty = Path(place) / "registry", Path(place) / "empty"
            shutil.copytree(self._workspace(start).root, here.root)
            shutil.copytree(self._registry, registry)
            runs = {"goes on": registry} if start == CHAMPION else {"from scratch": registry, "first run": empty}
            params = self._params(start, registry)
            with planted(plant):
                refused = self._refused((refit,), here, params)
            refused = refused or self._refused((export,), here, params)
            effect = None if refused else self._effect(start, here.bundle)
            refused = refused or self._refused((check_parity,), here, params)
            found = []
            for run, used in runs.items():
                closed = refused or self._refused((gate, _promote), here, self._params(start, used))
                found.append(Judged(run, closed, math.nan if refused else _margin(here), effect))
            return found

    def _effect(self, start: str, bundle: Path) -> Interval:
        """Return the next day's AUC of a bundle, less that of the model before the lesson."""
        before = self.folder / f"before-{start}.parquet"
        if not before.exists():
            pq.write_table(self._scored("before", self._before(start)), before)
        table = pq.read_table(before)
        return advantage([table.append_column("after", self._scored("after", bundle)["after"])], "after", "before")

    def _scored(self, name: str, bundle: Path) -> pa.Table:
        """Return the rows of the next day with the probabilities of a bundle."""
        truth = Workspace(self.folder / "truth")
        parts = [shard.impressions for shard in Features(truth.features).shards("test")]
        rows = pa.table({column: np.concatenate([getattr(part, column) for part in parts]) for column in _ROWS})
        return scored(truth, rows, {name: bundle})

    def _refused(self, stages: Sequence[Stage], here: Workspace, params: Params) -> list[str]:
        """Run stages, and return the gates that are not open, or the stage that refused. Empty if all were done."""
        try:
            self._run(stages, here, params)
        except GateClosed:
            gates = documents.read(GateReport, here.gate)["gates"] if here.gate.exists() else []
            return [one["name"] for one in gates if one["verdict"] != "open"] or [stages[0].__name__]
        except InputError:
            return [stages[0].__name__]
        return []

    def _run(self, stages: Sequence[Stage], here: Workspace, params: Params) -> None:
        with self._output():
            for stage in stages:
                stage(here, params)

    @contextmanager
    def _output(self) -> Iterator[None]:
        with (self.folder / "output.txt").open("a", encoding="utf-8") as file, redirect_stdout(file):
            yield

    def _params(self, start: str, registry: Path, until: date | None = None) -> Params:
        params = replace(
            self.params,
            data=replace(self.params.data, until=until or self.day),
            promote=replace(self.params.promote, registry=str(registry)),
        )
        if start == SCRATCH:
            return params
        champion = Registry.of(self._workspace(start), params)
        pinned = pin(champion, replace(params.train, start=CHAMPION), self.day)
        return replace(params, train=replace(params.train, start=CHAMPION, champion=pinned))

    def _workspace(self, start: str) -> Workspace:
        return Workspace(self.folder / start)

    def _before(self, start: str) -> Path:
        return self.folder / f"before-{start}"

    @property
    def _registry(self) -> Path:
        return self.folder / "registry"


def _margin(here: Workspace) -> float:
    gates = {one["name"]: one["threshold"] for one in documents.read(GateReport, here.gate)["gates"]}
    found = [-gates[name] for name in _DELTAS if isinstance(gates.get(name), float)]
    return found[0] if found else math.nan


@dataclass(frozen=True)
class Log:
    """A log and the day of it that is the lesson. The log holds the next day, too."""

    params: Params
    day: date


def simulated(folder: Path, users: int, impressions: int, days: int = 13, settings: Sequence[str] = ()) -> Log:
    """Write a log by days, as `docs/examples/month.yaml` describes it.

    The day after the lesson has many impressions, so that little is left to chance.

    Args:
        folder: a new folder.
        users: the number of users.
        impressions: the impressions of a usual day.
        days: the days before the lesson.
        settings: further parameters, KEY=VALUE.
    """
    params = read_log(ROOT / "docs/examples/month.yaml", None, settings)
    simulate = replace(params.fetch.simulate, users=users)
    usual, many = (
        Source(folder, World(replace(simulate, daily=replace(simulate.daily, impressions=count))))
        for count in (impressions, _NEXT_DAY)
    )
    usual.deliver(days + 1)
    next_day = Path(usual.events_glob.format(date=date_of(days + 1)))
    pq.write_table(many.events(days + 1), next_day)
    table = replace(
        params.fetch.table,
        events=usual.events_glob,
        items=str(usual.items_path),
        history=str(usual.history_path),
        daily=True,
    )
    fields = {"item": {"category": "categorical"}}
    featurize_ = replace(params.featurize, fields=fields, protocol="temporal")
    fetch_ = replace(params.fetch, source="table", table=table)
    return Log(replace(params, fetch=fetch_, featurize=featurize_), date_of(days))
