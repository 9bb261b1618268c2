"""Learn the last day of a log (the *lesson*) with a fault, through the pipeline's own stages, and let the gates judge.

    python -m benchmarks.lessons --data ~/logs --write

The command tries learning rates on three logs. A lesson that loses two margins or more on the next day must not be
promoted, and the sound one must be, unless by chance it is worse. `make defects` tries all faults in
`benchmarks.defects.learning`, and `make warranty` some of them on many logs.

The sound part is done once: it makes a champion of the day before, and for each start a workspace in which all stages
before `refit` have run. Each fault then costs `refit`, `export`, `check_parity` and the gates, with the default limits.

    start       the model that learns the day               compared with
    champion    the champion of the day before              the champion
    scratch     a model trained up to the day before        the champion, and again as a first run, with no champion

The true effect of a lesson is the AUC on the next day, minus that of the model that it would replace: the champion, or
in a first run the model before the lesson.

    <folder>/registry                            the registry with the champion
    <folder>/champion, scratch                   the workspace of each start
    <folder>/before-champion                     the bundle of the champion
    <folder>/before-scratch                      the bundle of the judged model from scratch
    <folder>/truth                               the workspace of the next day
    <folder>/output.txt                          the output of the stages
"""

import argparse
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from benchmarks import harness, in_process
from benchmarks.daily import CHAMPION, SCRATCH, advantage, scored, test_rows
from benchmarks.defects.learning import PLANTS, Plant
from benchmarks.environments import ROOT
from benchmarks.generated_tables import publish
from benchmarks.logs import read_log
from benchmarks.simulated_source import date_of, simulated_log
from din.base import documents
from din.base.workspace import Workspace
from din.contracts.verdicts import GateReport
from din.features.reader import Features
from din.metrics.estimates import Interval
from din.params.reading import Params
from din.release.registry.champions import pin
from din.release.registry.registry import Registry

STARTS = (CHAMPION, SCRATCH)
_FIRST_RUN = "first run"
SOUND = "none"
"""The fault of a sound lesson."""
RATES = ("rate_5", "rate_10", "rate_20", "rate_50")
SIMULATED = ((1_200, 2_000), (2_000, 5_000))
"""The users and the impressions per day of the simulated logs."""
DAY = timedelta(days=1)
_EARLIER = 13
"""The number of days of a simulated log before the lesson."""
_KUAIRAND = "kuairand-pure"
_LESSON = date(2022, 5, 3)
_DELTAS = ("champion_delta_auc", "lesson_delta_auc")
_NEXT_DAY = 20_000
_GATES_SHOWN = 4


@dataclass(frozen=True)
class LessonLog:
    """A log and the day that is the lesson. The log also has the next day."""

    params: Params
    day: date


@dataclass(frozen=True)
class Lesson:
    """A lesson and its outcome.

    Attributes:
        what: its fault, or `SOUND`.
        run: "continues", "from scratch" or "first run".
        closed: the gates that are not open, or the stage that refused the lesson. Empty if it was promoted.
        permitted: the loss of AUC that the gate permitted to the sound lesson. NaN if no gate compared it.
        effect: the AUC on the next day, minus that of the model it would replace. None if nothing was exported.
    """

    what: str
    run: str
    closed: Sequence[str]
    permitted: float
    effect: Interval | None

    @property
    def harmful(self) -> bool:
        """Whether the lesson loses two margins or more, or yields no model at all."""
        return self.effect is None or self.effect.point <= -2 * self.permitted

    @property
    def verdict(self) -> str:
        """Caught or MISSED if the lesson is harmful, else refused or harmless."""
        if self.harmful:
            return "caught" if self.closed else "MISSED"
        return "refused" if self.closed else "harmless"

    @property
    def is_wrong(self) -> bool:
        """Whether the gates promoted a harmful lesson, or refused a sound one that is not certainly worse."""
        owed = self.what == SOUND and (self.effect is None or self.effect.upper >= 0)
        return self.verdict == "MISSED" or (owed and bool(self.closed))


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 1 = wrong verdicts, 2 = bad input, 3 = closed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lessons", description="Try learning rates of a lesson.")
    parser.add_argument("--data", type=Path, help=f"the folder that holds {_KUAIRAND}/; default: leave that log out")
    parser.add_argument("--jobs", type=harness.positive, default=1, help="logs at a time")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/daily.md")
    options = parser.parse_args()
    cases = [
        harness.StudyCase(
            f"{users:,} users, {impressions:,} impressions a day", simulated_lessons, (RATES, users, impressions)
        )
        for users, impressions in SIMULATED
    ]
    if options.data:
        cases.append(harness.StudyCase("KuaiRand-Pure, 3 May", kuairand_lessons, (options.data.resolve(),)))
    wrong: list[Lesson] = []

    def measured() -> str:
        tables = []
        for case, (sound, *spoiled) in zip(
            cases, harness.results(harness.STORE / "lessons", cases, options.jobs), strict=True
        ):
            wrong.extend(lesson for lesson in (sound, *spoiled) if lesson.is_wrong)
            tables.append(f"**{case.name}**\n\n{table([sound, *spoiled])}")
        return "\n".join(tables)

    return publish("rates" if options.write else "", measured) or int(bool(wrong))


def simulated_lessons(kept: Path, faults: Sequence[str], users: int, impressions: int, seed: int = 0) -> list[Lesson]:
    """Return the sound lesson of a simulated log, and one with each of the named faults in `PLANTS`."""
    with TemporaryDirectory() as place:
        return _lessons(simulated(Path(place), users, impressions, seed), faults)


def kuairand_lessons(kept: Path, data: Path) -> list[Lesson]:
    """Return the sound lesson of KuaiRand-Pure in the folder `data`, and one with each fault of `RATES`."""
    return _lessons(LessonLog(read_log(ROOT / f"docs/examples/{_KUAIRAND}-prepared.yaml", data), _LESSON), RATES)


def _lessons(log: LessonLog, faults: Sequence[str]) -> list[Lesson]:
    with TemporaryDirectory() as place:
        site = Site.prepared(Path(place) / "site", log, (CHAMPION,))
        return list(site.lessons(CHAMPION, [PLANTS[name] for name in faults]))


def simulated(folder: Path, users: int, impressions: int, seed: int = 0, later: int = 1, **world: int) -> LessonLog:
    """Write the simulated log of `docs/examples/month.yaml`, one folder per day.

    The last day has at least `_NEXT_DAY` impressions, to measure the true effect precisely.

    Args:
        impressions: the impressions of a usual day.
        seed: the offset of the seeds of the log and of training.
        world: other values for `fetch.simulate`, e.g. for `items`.
    """
    source, params = simulated_log(folder, users, impressions, seed, **world)
    source.deliver(_EARLIER + later)
    many, _ = simulated_log(folder, users, max(impressions, _NEXT_DAY), seed, **world)
    many.write(_EARLIER + later)
    return LessonLog(params, date_of(_EARLIER))


@dataclass(frozen=True)
class Site:
    """A folder in which everything before the lesson is done; see the module's docstring for its contents."""

    folder: Path
    log: LessonLog

    @classmethod
    def prepared(cls, folder: Path, log: LessonLog, starts: Sequence[str] = STARTS) -> "Site":
        """Do the sound part in a new folder.

        Raises:
            InputError: a stage refuses the log.
            GateClosed: a gate refuses the champion of the day before, or a validation suite is closed.
        """
        params = replace(
            log.params,
            featurize=replace(log.params.featurize, test_days=1),
        )
        site = cls(folder, replace(log, params=params))
        here = Workspace(folder / "sound")
        here.root.mkdir(parents=True)
        site._run(in_process.STEPS, here, site._params(SCRATCH, log.day - DAY))
        registry = Registry.of(here, site._params(SCRATCH, log.day))
        registry.fetch(registry.history()[-1].version, site.before(CHAMPION))
        site._run(in_process.FEATURES, here, site._params(SCRATCH, log.day))
        for start in starts:
            start_params = site._params(start, log.day)
            site._run(in_process.MODEL, here, start_params)
            shutil.copytree(here.root, folder / start)
            if start == SCRATCH:
                shutil.rmtree(here.shipped)
                shutil.copytree(here.model, here.shipped)
                site._run(["export"], here, start_params)
                shutil.copytree(here.bundle, site.before(start))
        truth = Workspace(here.root.rename(folder / "truth"))
        site._run(["fetch", "featurize"], truth, site._params(SCRATCH, log.day + DAY))
        return site

    def before(self, start: str) -> Path:
        """Return the bundle of the model before the lesson."""
        return self.folder / f"before-{start}"

    def scored(self, bundles: Mapping[str, Path]) -> pa.Table:
        """Return the next day's rows with user, label, and the probability of each bundle by name."""
        truth = Workspace(self.folder / "truth")
        return scored(truth, test_rows(Features(truth.features)), bundles)

    def lessons(self, start: str, plants: Iterable[Plant]) -> Iterator[Lesson]:
        """Learn the day soundly and with each fault, and yield the outcomes.

        Args:
            start: a prepared start. From scratch, each lesson is also judged as a first run.
        """
        permitted: dict[str, float] = {}
        for plant in (None, *plants):
            for lesson in self._judged(start, plant):
                permitted.setdefault(lesson.run, lesson.permitted)
                yield replace(lesson, permitted=permitted[lesson.run])

    def live(self, day: date) -> in_process.RefusedRun | None:
        """Run a later day, continuing the champion of that morning, and return the refusal, or None if promoted."""
        here = Workspace(self.folder / "live")
        here.root.mkdir(exist_ok=True)
        return in_process.refusal(in_process.STEPS, here, self._params(CHAMPION, day), self._output)

    def _judged(self, start: str, plant: Plant | None) -> list[Lesson]:
        with TemporaryDirectory(dir=self.folder) as place:
            here = Workspace(Path(place) / "workspace")
            registry, empty = Path(place) / "registry", Path(place) / "empty"
            shutil.copytree(self.folder / start, here.root)
            shutil.copytree(self._registry, registry)
            runs = {"continues": registry} if start == CHAMPION else {"from scratch": registry, _FIRST_RUN: empty}
            params = self._params(start, self.log.day)
            refused = in_process.refusal(["refit", "export"], here, params, self._output, plant)
            after = None if refused else self.scored({"after": here.bundle, **self._replaced})
            refused = refused or in_process.refusal(["check_parity"], here, params, self._output)
            lessons = []
            for run, used in runs.items():
                run_params = replace(params, promote=replace(params.promote, registry=str(used)))
                by = refused or in_process.refusal(["gate", "promote"], here, run_params, self._output)
                closed = by.why if by and by.step == "gate" else [by.step] if by else []
                margin = math.nan if refused else _margin(here)
                replaced = SCRATCH if run == _FIRST_RUN else CHAMPION
                effect = None if after is None else advantage([after], "after", replaced)
                lessons.append(Lesson(plant.what if plant else SOUND, run, closed, margin, effect))
            return lessons

    @property
    def _replaced(self) -> Mapping[str, Path]:
        return {start: self.before(start) for start in STARTS if self.before(start).exists()}

    def _run(self, names: Iterable[str], here: Workspace, params: Params) -> None:
        in_process.run(names, here, params, self._output)

    def _params(self, start: str, until: date) -> Params:
        params = replace(
            self.log.params,
            data=replace(self.log.params.data, until=until),
            promote=replace(self.log.params.promote, registry=str(self._registry)),
        )
        if start == SCRATCH:
            return params
        train = replace(params.train, start=CHAMPION)
        champion = pin(Registry.of(Workspace(self.folder), params), train, until)
        return replace(params, train=replace(train, champion=champion))

    @property
    def _registry(self) -> Path:
        return self.folder / "registry"

    @property
    def _output(self) -> Path:
        return self.folder / "output.txt"


def _margin(here: Workspace) -> float:
    gates = {gate.name: gate.threshold for gate in documents.read(GateReport, here.gate).gates}
    return next((-gates[name] for name in _DELTAS if isinstance(gates.get(name), float)), math.nan)


def table(lessons: Iterable[Lesson]) -> str:
    """Return a Markdown table with a row for each lesson."""
    rows = []
    for lesson in lessons:
        gates = [f"`{name}`" for name in lesson.closed[:_GATES_SHOWN]]
        more = len(lesson.closed) - len(gates)
        closed = ", ".join([*gates, *([f"{more} more"] if more else [])])
        margin = f"{lesson.permitted:.4f}" if math.isfinite(lesson.permitted) else ""
        rows.append(
            [
                lesson.what,
                lesson.run,
                harness.interval(lesson.effect) if lesson.effect else "",
                margin,
                closed,
                lesson.verdict,
            ]
        )
    return harness.table(("fault", "run", "AUC of the next day, effect", "margin", "not open", ""), rows)


if __name__ == "__main__":
    sys.exit(main())
