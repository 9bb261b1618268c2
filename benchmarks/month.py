"""A month of the daily pipeline on a simulated log, with defects planted in its source and in learning.

Each day is a run of `dags.workspace`, as a scheduler would start it: `open_run`, every stage of dvc.yaml, `promote`,
`close_run`. The champion is compared with models that are never retrained, retrained from scratch every day, or three
days old. Each of these *policies* is a set of parameters with a registry namespace of its own. A case is the run of a
day by a policy, and an interrupted one goes on with its next stage.

    .din/month/<digest>/source/                     see `benchmarks.source`
    .din/month/<digest>/remote, registry            what the runs share
    .din/month/<digest>/plants/<name>/              plants a fault of `tests.faults.learning` in the stage `refit`
    .din/month/<digest>/homes/<policy>              workspaces and DVC's cache; no policy takes results of another
    .din/month/<digest>/<date>-<policy>-<digest>.*  the run of a day, its bundle, and the scored rows of the day
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from benchmarks import study
from benchmarks.arguments import positive
from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, advantage, average, learning_seconds, scored
from benchmarks.environments import ROOT
from benchmarks.figures import TABLES, publish
from benchmarks.logs import read_log
from benchmarks.source import PRICE, Source, date_of
from dags import workspace
from dags.workspace import Outcome
from din.artifacts import write_bytes
from din.errors import InputError, Unavailable
from din.git import git
from din.model import artifact
from din.names import RunId
from din.params import Params
from din.registry.registry import Registry
from din.report.charts import BOTTOM, HEIGHT, LEFT, Axis, Plot
from din.sources.daily_simulation import World
from din.workspace import Workspace
from tests.faults import plants as p
from tests.faults.learning import PLANTS

LOG = ROOT / "docs/examples/month.yaml"
PICTURE = ROOT / "docs/images/month.svg"
POLICIES: Mapping[str, Mapping[str, Any]] = {
    CHAMPION: {"train.start": "champion"},
    SCRATCH: {"train.start": "scratch"},
    STALE: {"train.start": "scratch", "train.learning.advance": False},
}
"""The parameters of each policy. `stale` ships the model that was judged."""
TRUTH = "truth"
"""The column of the true probabilities, beside one for each bundle that scores a day."""
MODELS = {
    CHAMPION: "champion",
    FIRST: "never retrained",
    SCRATCH: "from scratch every day",
    STALE: "three days stale",
    TRUTH: "true probabilities",
}
COLOURS = {CHAMPION: "#0a6b66", FIRST: "#a8261c", SCRATCH: "#5257b8", STALE: "#8a5a0f", TRUTH: "#596067"}
_STYLE = (
    "text{font:11px sans-serif;fill:#596067}.line{fill:none;stroke-width:1.5}"
    ".grid{stroke:#d8dbdb;stroke-width:.5}.axis{stroke:#596067}"
)
_LEGEND = 0.5
"""The room below the curves for their names, as a share of the range of the values."""
_SHOWN = 90
"""The longest reason of a refusal in the table."""
_FIRST = 3
"""The day of the first defect, counted from 1. The first two days show that the pipeline runs."""
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
                from tests.faults.learning import PLANTS, planted

                with planted(PLANTS[{name!r}]):
                    sound(*arguments)

            module.refit = refit

        spec.loader.exec_module = load_planted
        return spec


sys.meta_path.insert(0, Planter())
"""
"""A module that plants a fault in the stage `refit`, in whatever process imports it."""


@dataclass(frozen=True)
class Fault:
    """A defect of one day.

    Attributes:
        what: the defect, for the page.
        plant: plants it in the files of the day and of the day before. None: they are sound.
        params: parameters of that day's run alone.
        accepted: parameters of the next day's run, by which the operator accepts the corrected files.
        lesson: the fault with which that day's stage `refit` learns. None: it learns rightly.
    """

    what: str
    plant: p.Plant | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    accepted: Mapping[str, Any] = field(default_factory=dict)
    lesson: str | None = None


_FEWER_ROWS = {"fetch.shrunk_days": "accept"}
_IN_A_MONTH = 8
_DATA: dict[str, Fault] = {
    "milliseconds": Fault("times in milliseconds instead of seconds", p.last_day(p.milliseconds)),
    "flood": Fault(
        "one user clicks on everything, half as often as all others together",
        p.last_day(p.one_robot(0.5)),
        accepted=_FEWER_ROWS,
    ),
    "labels": Fault("labels of the log flipped", p.last_day(p.flipped)),
    "categories": Fault("each item has the category of another", p.table("items", p.shuffled("category"))),
    "yesterday": Fault(
        "the day before, delivered again as today", p.events(p.yesterdays_as_todays), accepted=_FEWER_ROWS
    ),
    "late": Fault("the day arrives one day late", p.last_day(p.keep(0))),
    "shrunk": Fault("the day before has lost half of its rows", p.events(p.on_all_but_newest(1, p.keep(0.5)))),
    "renumbered": Fault(
        "each user has the id of another, and so has each item",
        p.last_day(p.permuted_ids("user_id"), p.permuted_ids("item_id")),
    ),
    "cents": Fault("prices in cents", p.last_day(p.assign(PRICE, lambda r: 100 * r[PRICE]))),
    "no_clicks": Fault("all labels 0", p.last_day(p.assign("label", lambda _: 0))),
    "half": Fault("the second half of the day is missing", p.last_day(p.until_hour(12))),
    "learning_rate": Fault("a learning rate of 0.5", params={"train.learning.learning_rate": 0.5}),
}
_LESSONS = (
    "rate_10",
    "flipped",
    "vocabulary",
    "shuffled",
    "sign",
    "ascent",
    "extremes",
    "shifted",
    "rate_20",
    "optimizer_scaled",
)
"""Each does much harm: see the table in docs/defects.md."""
_LEARNING = {name: Fault(PLANTS[name].what, lesson=name) for name in _LESSONS}
_TURNS = zip_longest(_LEARNING.items(), islice(_DATA.items(), _IN_A_MONTH))
FAULTS: dict[str, Fault] = {name: fault for turn in _TURNS for name, fault in filter(None, turn)} | _DATA
"""All faults. Thirty days have room for ten of learning and the first eight of the data, by turns."""


def planned(days: int, names: Sequence[str] = tuple(FAULTS)) -> dict[int, str]:
    """Return which fault is planted on which day, counted from 1. The first two days and the last one are sound.

    At most two bad days follow each other. If the days are too few for all faults, the last ones are left out.
    """
    span = days - 1 - _FIRST
    chosen = names[: max(1 + 2 * span // 3, 0)]
    gaps = max(len(chosen) - 1, 1)
    return {_FIRST + number * span // gaps: name for number, name in enumerate(chosen)}


@dataclass(frozen=True)
class Step:
    """A step of a run: `open`, a stage, or `promote`.

    Attributes:
        name: its name.
        code: its exit code; None if it was killed.
        cpu: the CPU seconds that it took.
        why: what closed it, or its error. Empty if it succeeded.
    """

    name: str
    code: int | None
    cpu: float
    why: str


@dataclass(frozen=True)
class Day:
    """The run of a day.

    Attributes:
        number: the day, counted from 1.
        fault: the name of its fault, or None.
        steps: in the order in which they ended.
        bundle: the folder of the bundle that it exported, or None.
        table_rows: the rows of that bundle's embedding table.
        learning: the CPU seconds of learning in `train` and `refit`, without the start of the processes.
        scores: the file of the day's rows, scored by the bundles that were there before the day; None on bad days.
    """

    number: int
    fault: str | None
    steps: tuple[Step, ...] = ()
    bundle: Path | None = None
    table_rows: int = 0
    learning: float = 0.0
    scores: Path | None = None

    @property
    def promoted(self) -> bool:
        """True if its bundle became the champion."""
        return self.steps[-1].name == "promote" and self.steps[-1].code == 0

    def cpu(self, *names: str) -> float:
        """Return the CPU seconds of the steps with these names, by default of all."""
        return sum(step.cpu for step in self.steps if not names or step.name in names)


@dataclass(frozen=True)
class Settings:
    """The settings of a month.

    Attributes:
        days: the number of days.
        earlier: the number of days of the log before the first run's.
        impressions: the impressions of a usual day.
        faults: the names of the faults to plant, in their order.
        seed: what to add to the seeds of the log and of the training.
        repository: the repository whose commit runs.
        extra: further parameters of all runs, by dotted key.
    """

    days: int = 30
    earlier: int = 13
    impressions: int = 5000
    faults: tuple[str, ...] = tuple(FAULTS)
    seed: int = 0
    repository: Path = ROOT
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Month:
    """A month in a folder, with the commit that runs."""

    settings: Settings
    folder: Path
    commit: str

    @cached_property
    def faults(self) -> Mapping[int, str]:
        """The name of the fault of each day that has one."""
        return planned(self.settings.days, self.settings.faults)

    @cached_property
    def source(self) -> Source:
        """The source of the month."""
        simulate = self._defaults.fetch.simulate
        daily = replace(simulate.daily, impressions=self.settings.impressions)
        world = World(replace(simulate, daily=daily, seed=simulate.seed + self.settings.seed))
        return Source(self.folder / "source", world)

    @cached_property
    def _defaults(self) -> Params:
        return read_log(LOG)

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
            **{f"fetch.table.{name}": path for name, path in self.source.tables.items()},
            "fetch.table.keep": [PRICE],
            "fetch.table.timestamp_unit": "s",
            "fetch.table.daily": True,
            "featurize.protocol": "temporal",
            "featurize.test_days": 1,
            "featurize.fields": {"item": {"category": "categorical"}, "context": {PRICE: "numeric"}},
            "promote.model_name": f"month-{policy}",
            "train.learning.seed": self._defaults.train.learning.seed + self.settings.seed,
            **POLICIES[policy],
            **self.settings.extra,
        }

    def home(self, policy: str) -> Path:
        """Return the folder in which the runs of a policy work."""
        return self.folder / "homes" / policy

    def enter(self, policy: str) -> None:
        """Set the variables of `dags.workspace` for runs of a policy in this process and its children."""
        places = {
            "HOME": self.home(policy),
            "DVC_REMOTE": self.folder / "remote",
            "REGISTRY": self.folder / "registry",
            "REPOSITORY": self.settings.repository,
        }
        os.environ.update({f"DIN_{name}": str(place) for name, place in places.items()})


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 1 = a bug or a failed step, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.month", description="Run a month of the daily pipeline."
    )
    parser.add_argument("--days", type=positive, default=30, help="days of the month")
    parser.add_argument("--impressions", type=positive, default=5000, help="impressions of a usual day")
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS), help="which to plant, in order")
    parser.add_argument("--seed", type=int, default=0, help="what to add to the seeds of the log and of the training")
    parser.add_argument("--jobs", type=positive, default=1, help="runs at a time, of the models to compare with")
    parser.add_argument("--write", action="store_true", help="write docs/month.md and its picture")
    given = parser.parse_args()
    settings = Settings(given.days, impressions=given.impressions, faults=tuple(given.faults), seed=given.seed)

    def measured() -> str:
        month, runs = run_month(study.STORE / "month", settings, given.jobs)
        if given.write:
            picture(runs[CHAMPION], PICTURE)
        return f"![AUC of each model on each sound day](images/month.svg)\n\n{text(month, runs)}"

    return publish("month" if given.write else "", measured)


def run_month(
    folder: Path, settings: Settings, jobs: int, others: Sequence[str] = (SCRATCH, STALE)
) -> tuple[Month, dict[str, list[Day]]]:
    """Run all days that have not ended, and return the runs of each policy.

    Args:
        folder: the folder of all months. A month keeps to the commit with which it began.
        settings: the month.
        jobs: how many of the other policies run at a time.
        others: the policies to compare the champion with. They run on sound days alone.

    Raises:
        InputError: the first day made no champion.
        Unavailable: see `run_day`.
    """
    begun = study.Case("month", head, (settings, TABLES["month"].code()))
    (commit,) = study.results(folder, [begun])
    month = Month(settings, begun.path(folder).with_suffix(""), commit)
    runs: dict[str, list[Day]] = {policy: [] for policy in (CHAMPION, *others)}
    serving: dict[str, Path] = {}
    for number in range(1, settings.days + 1):

        def case(policy: str, day: int = number) -> study.Case[Day]:
            scorers = dict(serving) if policy == CHAMPION else {}
            return study.Case(f"{month.date(day)}-{policy}", run_day, (month, policy, day, scorers))

        found = study.results(month.folder, [case(CHAMPION)])
        print(f"{month.date(number)}: {verdict(month, found[0])}", file=sys.stderr, flush=True)
        if number == 1 and not found[0].promoted:
            raise InputError(f"{verdict(month, found[0])}; without a first champion no day can go on from one")
        if found[0].fault is None:
            found += study.results(month.folder, [case(policy) for policy in others], jobs)
        for policy, day in zip(runs, found, strict=False):
            runs[policy].append(day)
            if day.bundle and (policy != CHAMPION or day.promoted):
                serving[policy] = day.bundle
                serving.setdefault(FIRST, day.bundle)
    return month, runs


def head(kept: Path, settings: Settings, code: str) -> str:
    """Return the commit that the month runs."""
    return git(settings.repository, "rev-parse", "HEAD").strip()


def run_day(kept: Path, month: Month, policy: str, number: int, serving: Mapping[str, Path]) -> Day:
    """Run a day, or what is left of it, and return it.

    Args:
        kept: the document of the case.
        month: the month.
        policy: a key of `POLICIES`.
        number: the day, counted from 1.
        serving: by name, the bundles that score the day's rows.

    Raises:
        Unavailable: git, DVC's remote or the registry failed. The same call again goes on.
    """
    month.enter(policy)
    day = Day(number, month.faults.get(number) if policy == CHAMPION else None)
    fault = FAULTS[day.fault] if day.fault else Fault("nothing")
    before = FAULTS[month.faults[number - 1]] if number - 1 in month.faults else Fault("nothing")
    if policy == CHAMPION:  # the other policies read what it read
        month.source.deliver(month.log_day(number), fault.plant)
    name = month.run_id(policy, number)
    began = _cpu()
    try:
        params = {**month.params(policy), **fault.params, **before.accepted}
        run = workspace.open_run(name, month.date(number), params, month.commit)
    except InputError as error:
        return replace(day, steps=(Step("open", error.exit_code, _cpu() - began, str(error)),))
    steps = [Step("open", 0, _cpu() - began, "")]
    here = Workspace(month.home(policy) / "workspaces" / name)
    with learning_with(month.folder / "plants", fault.lesson):
        began = _cpu()
        for outcome in workspace.run_all(run, "daily"):
            steps.append(Step(outcome.stage, outcome.exit_code, _cpu() - began, _why(outcome, here)))
            if outcome.exit_code not in (0, 2, 3):
                raise Unavailable(f"{outcome.stage} of run {name} exited {outcome.exit_code}:\n{outcome.table}")
            began = _cpu()
    day = replace(day, steps=tuple(steps))
    if serving and here.evaluation.exists() and day.fault is None:
        rows = pq.read_table(here.predictions / "test.parquet")
        truth = month.source.truth(month.log_day(number), rows["sequence"].to_numpy())
        day = replace(day, scores=kept.with_suffix(".parquet"))
        pq.write_table(scored(here, rows, serving, {TRUTH: truth}), kept.with_suffix(".parquet"))
    if any(step.name == "export" and step.code == 0 for step in steps):
        bundle = shutil.copytree(here.bundle, kept.with_suffix(".bundle"), dirs_exist_ok=True)
        rows = artifact.read_config(bundle / artifact.IN_BUNDLE).table.rows
        day = replace(day, bundle=bundle, table_rows=rows, learning=learning_seconds(here))
    workspace.close_run(run)
    return day


@contextmanager
def learning_with(folder: Path, name: str | None) -> Iterator[None]:
    """Let every `din refit` that starts in this block learn with a plant of `tests.faults.learning`.

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
    report = json.loads((here.root / outcome.report).read_text()) if outcome.report else {}
    names = [gate["name"] for gate in report.get("gates", ()) if gate["verdict"] != "open"]
    names += [
        one["name"] for one in report.get("expectations", ()) if not one["success"] and one["severity"] == "critical"
    ]
    return ", ".join(dict.fromkeys(names)) or report.get("reason") or outcome.table


def text(month: Month, runs: Mapping[str, Sequence[Day]]) -> str:
    """Return what happened in a few sentences, and all tables."""
    days = runs[CHAMPION]
    bad = [day for day in days if day.fault]
    sound = [day for day in days if not day.fault]
    served = served_bad_days(month, days)
    replaced = sum(day.promoted for day in sound)
    lessons = [day for day in bad if day.fault and FAULTS[day.fault].lesson]
    gated = sum(day.steps[-1].name == "gate" for day in lessons)
    listed = f" ({', '.join(served)})" if served else ""
    said = [
        f"Bad days: {len(bad)}. Models of bad days that served: {len(served)}{listed}.",
        f"Bad lessons among them: {len(lessons)}, of which `gate` refused {gated}.",
        f"Sound days: {len(sound)}. The champion was replaced on {replaced} of them "
        f"({100 * replaced / len(sound):.0f} %; bar: 80 %).",
    ]
    statements = "".join(f"- {statement}\n" for statement in said)
    return "\n".join(filter(None, [statements, _pooled(days), _costs(days, runs.get(SCRATCH, ())), _days(month, days)]))


def served_bad_days(month: Month, days: Sequence[Day]) -> list[str]:
    """Return the dates of bad days whose run made a champion, according to the registry."""
    registry = Registry(str(month.folder / "registry"), f"month-{CHAMPION}")
    runs = {record.run_id for record in registry.history()}
    return [
        month.date(day.number) for day in days if day.fault and RunId.of(month.run_id(CHAMPION, day.number)) in runs
    ]


def _scores(days: Sequence[Day]) -> dict[int, pa.Table]:
    return {day.number: pq.read_table(day.scores) for day in days if day.scores}


def _pooled(days: Sequence[Day]) -> str:
    """Return the table of the champion's mean advantage over each other model."""
    rows = []
    for name in (FIRST, STALE, SCRATCH, TRUTH):
        both = [table for table in _scores(days).values() if name in table.column_names]
        if both:
            found = advantage(both, CHAMPION, name)
            rows.append([MODELS[name], f"{found.point:+.4f}", f"[{found.lower:+.4f}, {found.upper:+.4f}]", len(both)])
    return study.table(["champion's AUC less that of the model", "mean over days", "95 % interval", "days"], rows)


def _costs(days: Sequence[Day], scratch: Sequence[Day]) -> str:
    """Return the table of what a day costs, with the champion and from scratch."""
    made = {day.number: day for day in scratch if day.bundle}
    ours = [day for day in days[1:] if day.promoted and day.number in made]
    theirs = [made[day.number] for day in ours]
    if not ours:
        return ""
    costs = {
        "learning, CPU s": ([[day.learning for day in one] for one in (ours, theirs)], 1 / 10),
        "the stages train and refit, CPU s": ([[d.cpu("train", "refit") for d in one] for one in (ours, theirs)], None),
        "the whole run, CPU s": ([[day.cpu() for day in one] for one in (ours, theirs)], 1 / 3),
        "rows of the embedding table, last day": ([[one[-1].table_rows] for one in (ours, theirs)], 1.1),
    }
    rows = []
    for what, (sides, bar) in costs.items():
        mine, other = map(np.mean, sides)
        rows.append([what, f"{mine:,.1f}", f"{other:,.1f}", f"{mine / other:.2f}", f"≤ {bar:.2f}" if bar else ""])
    head = ["", "champion", "from scratch", "ratio", "bar, for a window of 30 days"]
    return f"{study.table(head, rows)}\nMeans over {len(ours)} days.\n"


def _days(month: Month, days: Sequence[Day]) -> str:
    """Return the table with a row for each day."""
    scores = _scores(days)
    shown = [name for name in MODELS if any(name in rows.column_names for rows in scores.values())]
    lines = []
    for day in days:
        rows = scores.get(day.number)
        cells = [f"{average([rows], name):.3f}" if rows and name in rows.column_names else "" for name in shown]
        planted = FAULTS[day.fault].what if day.fault else ""
        lines.append([month.date(day.number), planted, verdict(month, day), *cells])
    return study.table(["day", "planted", "outcome", *(MODELS[name] for name in shown)], lines)


def verdict(month: Month, day: Day) -> str:
    """Return what became of a day."""
    if day.promoted:
        return "promoted"
    last = day.steps[-1]
    why = " ".join(last.why.split()).replace("|", "/").replace(f"{month.folder}/", "")
    return f"refused at {last.name}: {why if len(why) <= _SHOWN else why[: _SHOWN - 1] + '…'}"


def picture(days: Sequence[Day], path: Path) -> None:
    """Write the AUC of each model on each sound day as an SVG."""
    scores = _scores(days)
    curves = {
        name: [(float(number), average([rows], name)) for number, rows in scores.items() if name in rows.column_names]
        for name in MODELS
    }
    values = [y for curve in curves.values() for _, y in curve]
    room = _LEGEND * (max(values) - min(values))
    y = Axis.over([min(values) - room, *values], "AUC on the day's impressions")
    plot = Plot(Axis(0.5, len(days) + 0.5, "day"), y)
    legend = Markup('<text class="legend {}" x="{}" y="{}">{}</text>')
    for number, name in enumerate(name for name in reversed(MODELS) if curves[name]):
        plot.line(curves[name], name)
        plot.dots(curves[name], name, 2.0)
        plot.marks.append(legend.format(name, LEFT + 8, HEIGHT - BOTTOM - 8 - 16 * number, MODELS[name]))
    drawn = str(plot.svg("AUC of the champion and of the models to compare with, by day"))
    colours = (
        f".line.{name}{{stroke:{colour}}}.dot.{name},.legend.{name}{{fill:{colour}}}"
        for name, colour in COLOURS.items()
    )
    opened = drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    styled = opened.replace(">", f"><style>{_STYLE}{''.join(colours)}</style>", 1)
    write_bytes(path, f"{styled}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
