"""Learn the last day of a log with a fault, through the product's own stages, and let the gates judge.

    python -m benchmarks.lessons --data ~/logs --write

The command tries learning rates on three logs. A lesson that loses two margins or more on the next day must not be
promoted, and the usual one must be. `make defects` tries all of `tests.faults.learning` on one log.

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

import argparse
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import stages, study
from benchmarks.arguments import positive
from benchmarks.daily import CHAMPION, SCRATCH, advantage, scored, test_rows
from benchmarks.environments import ROOT
from benchmarks.figures import publish
from benchmarks.logs import read_log
from benchmarks.source import Source, date_of
from din import documents
from din.document_types import GateReport
from din.errors import GateClosed, InputError
from din.features.reader import Features
from din.metrics.estimates import Interval
from din.params import Params
from din.promotion.promote import promote
from din.registry.champions import pin
from din.registry.registry import Registry
from din.sources.daily_simulation import World
from din.workspace import Workspace
from tests.faults.learning import PLANTS, Plant, planted

STARTS = (CHAMPION, SCRATCH)
RATES = {"× 1": None, **{f"× {factor}": PLANTS[f"rate_{factor}"] for factor in (5, 10, 20, 50)}}
SIMULATED = ((1_200, 2_000), (2_000, 5_000))
"""Users, and impressions a day, of the simulated logs."""
_KUAIRAND = "kuairand-pure"
_LESSON = date(2022, 5, 3)
_DAY = timedelta(days=1)
_DELTAS = ("champion_delta_auc", "lesson_delta_auc")
_IMPRESSIONS = 1000
_NEXT_DAY = 20_000
_GATES_SHOWN = 4


@dataclass(frozen=True)
class Log:
    """A log and the day of it that is the lesson. The log holds the next day, too."""

    params: Params
    day: date


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


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 1 = wrong verdicts, 2 = bad input, 3 = closed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lessons", description="Try learning rates of a lesson.")
    parser.add_argument("--data", type=Path, help=f"the folder that holds {_KUAIRAND}/; default: leave that log out")
    parser.add_argument("--jobs", type=positive, default=1, help="logs at a time")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/daily.md")
    given = parser.parse_args()
    cases = [
        study.Case(f"{users:,} users, {impressions:,} impressions a day", rates, (users, impressions, None))
        for users, impressions in SIMULATED
    ]
    if given.data:
        cases.append(study.Case("KuaiRand-Pure, 3 May", rates, (0, 0, given.data.resolve())))
    wrong: list[Lesson] = []

    def measured() -> str:
        tables = []
        for case, lessons in zip(cases, study.results(study.STORE / "lessons", cases, given.jobs), strict=True):
            wrong.extend(one for one in lessons if one.verdict == "MISSED")
            wrong.extend(one for one in lessons[:1] if one.judged.closed)
            tables.append(f"**{case.name}**\n\n{table(lessons)}")
        return "\n".join(tables)

    return publish("rates" if given.write else "", measured) or int(bool(wrong))


def rates(kept: Path, users: int, impressions: int, data: Path | None) -> list[Lesson]:
    """Return each rate's lesson beside that of the usual one.

    Args:
        kept: the document of the case.
        users: the users of a simulated log.
        impressions: the impressions of a usual day of it.
        data: the folder of KuaiRand instead.
    """
    with TemporaryDirectory() as place:
        folder = Path(place)
        if data:
            log = Log(read_log(ROOT / f"docs/examples/{_KUAIRAND}-prepared.yaml", data), _LESSON)
        else:
            log = simulated(folder / "log", users, impressions)
        site = Site.prepared(folder / "site", log.params, log.day, (CHAMPION,))
        judged = {what: site.judge(CHAMPION, plant)[0] for what, plant in RATES.items()}
    return [Lesson(what, one, judged["× 1"].margin) for what, one in judged.items()]


def simulated(folder: Path, users: int, impressions: int, days: int = 13) -> Log:
    """Write a log by days, as `docs/examples/month.yaml` describes it.

    The day after the lesson has many impressions, so that little is left to chance.

    Args:
        folder: a new folder.
        users: the number of users.
        impressions: the impressions of a usual day.
        days: the days before the lesson.
    """
    params = read_log(ROOT / "docs/examples/month.yaml")
    simulate = replace(params.fetch.simulate, users=users)
    usual, many = (
        Source(folder, World(replace(simulate, daily=replace(simulate.daily, impressions=count))))
        for count in (impressions, _NEXT_DAY)
    )
    usual.deliver(days + 1)
    next_day = Path(usual.tables["events"].format(date=date_of(days + 1)))
    pq.write_table(many.events(days + 1), next_day)
    fetch = replace(params.fetch, source="table", table=replace(params.fetch.table, **usual.tables, daily=True))
    fields = {"item": {"category": "categorical"}}
    featurize = replace(params.featurize, fields=fields, protocol="temporal")
    return Log(replace(params, fetch=fetch, featurize=featurize), date_of(days))


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
        site._run((*stages.STAGES.values(), _promote), here, site._params(SCRATCH, site._registry, day - _DAY))
        site._run(stages.FEATURES.values(), here, site._params(SCRATCH, site._registry))
        for start in starts:
            here_params = site._params(start, site._registry)
            site._run(stages.MODEL.values(), here, here_params)
            shutil.copytree(here.root, site._workspace(start).root)
            if start == SCRATCH:
                shutil.rmtree(here.shipped)
                shutil.copytree(here.model, here.shipped)
                site._run((stages.STAGES["export"],), here, here_params)
                shutil.copytree(here.bundle, site._before(start))
            else:
                champion = Registry.of(here, here_params)
                champion.fetch(champion.history()[-1].version, site._before(start))
        truth = Workspace(here.root.rename(folder / "truth"))
        fetched = (stages.STAGES["fetch"], stages.STAGES["featurize"])
        site._run(fetched, truth, site._params(SCRATCH, site._registry, day + _DAY))
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
                refused = self._refused(("refit",), here, params)
            refused = refused or self._refused(("export",), here, params)
            effect = None if refused else self._effect(start, here.bundle)
            refused = refused or self._refused(("check_parity",), here, params)
            found = []
            for run, used in runs.items():
                closed = refused or self._refused(("gate", "promote"), here, self._params(start, used))
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
        return scored(truth, test_rows(Features(truth.features)), {name: bundle})

    def _refused(self, names: Sequence[str], here: Workspace, params: Params) -> list[str]:
        """Run stages, and return the gates that are not open, or the stage that refused. Empty if all were done."""
        try:
            self._run([{**stages.STAGES, "promote": _promote}[name] for name in names], here, params)
        except GateClosed:
            gates = documents.read(GateReport, here.gate)["gates"] if here.gate.exists() else []
            return [one["name"] for one in gates if one["verdict"] != "open"] or [names[0]]
        except InputError:
            return [names[0]]
        return []

    def _run(self, some: Iterable[stages.Stage], here: Workspace, params: Params) -> None:
        stages.run(some, here, params, self.folder / "output.txt")

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


def _promote(workspace: Workspace, params: Params) -> None:
    promote(workspace, params, by="benchmarks.lessons")


def _margin(here: Workspace) -> float:
    gates = {one["name"]: one["threshold"] for one in documents.read(GateReport, here.gate)["gates"]}
    found = [-gates[name] for name in _DELTAS if isinstance(gates.get(name), float)]
    return found[0] if found else math.nan


def table(lessons: Iterable[Lesson]) -> str:
    """Return a table with a row for each lesson."""
    head = ("lesson", "run", "AUC of the next day, effect", "margin", "not open", "")
    return study.table(head, map(_row, lessons))


def _row(lesson: Lesson) -> Sequence[str]:
    judged = lesson.judged
    effect = judged.effect
    bounds = f"{effect.point:+.4f} [{effect.lower:+.4f}, {effect.upper:+.4f}]" if effect else ""
    gates = [f"`{name}`" for name in judged.closed[:_GATES_SHOWN]]
    more = len(judged.closed) - len(gates)
    closed = ", ".join([*gates, *([f"{more} more"] if more else [])])
    margin = f"{lesson.permitted:.4f}" if math.isfinite(lesson.permitted) else ""
    return lesson.what, judged.run, bounds, margin, closed, lesson.verdict


if __name__ == "__main__":
    sys.exit(main())
