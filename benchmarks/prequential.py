"""Score each day of a log with the models that would have served that morning, before any of them has learned the day.

    python -m benchmarks.prequential docs/examples/kuairand-pure-prepared.yaml --days 6

On each morning there are four models:

    scratch     learned all days before the validation days by epochs, then the validation and the test days once
    stale       the first part of that; it is shipped as it was judged
    champion    yesterday's champion, after one more day; it began as the first of `scratch`
    first       the first of `scratch`

A case is a day with a seed: it scores the day with the models of the day before, and makes the next morning's.
The stages run in one process, one day after the other in the same workspace. A killed training resumes from its
checkpoint.

    .din/prequential/LOG/workspace/                  the workspace, with a registry of all bundles
    .din/prequential/LOG/<date>-<seed>-<digest>.*    the models of a day, and the scores of its rows
    .din/prequential/LOG/output.txt                  the output of the stages
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import stages, study
from benchmarks.arguments import positive
from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, advantage, average, learning_seconds, scored, test_rows
from benchmarks.figures import TABLES, publish
from benchmarks.logs import read_log
from din.errors import InputError
from din.features.reader import Features
from din.metrics.estimates import Metric
from din.names import Version
from din.params import Params
from din.registry.registry import Registry
from din.serve.export import export
from din.sources.fetch import look
from din.stage import workspace_lock
from din.workspace import Workspace

PAGES = {TABLES[name].page: name for name in ("kuairand", "five-seeds")}
LEARNING = (SCRATCH, STALE, CHAMPION)
"""The models that are made every day."""
NAMES = {
    SCRATCH: "from scratch, `refit`",
    STALE: "from scratch, no passes",
    CHAMPION: "goes on daily",
    FIRST: "never retrained",
}
COMPARED = ((SCRATCH, STALE), (CHAMPION, STALE), (CHAMPION, SCRATCH), (SCRATCH, FIRST), (CHAMPION, FIRST))
METRICS: tuple[Metric, ...] = ("auc", "gauc")
_ANY_CALIBRATION = {"min_calibration": 0.0, "max_calibration": 1e9, "max_log_loss_over_constant": 1e9}
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Made:
    """A model that was made at the end of a day.

    Attributes:
        version: the version of its bundle.
        seconds: the CPU seconds of its learning.
    """

    version: Version
    seconds: float


@dataclass(frozen=True)
class Day:
    """The models and scores of a day with a seed.

    Attributes:
        day: the day.
        seed: the seed of the trainings.
        made: the models that were made at its end, by name.
        scores: the file with the scores of its rows; None if no four models were there before it.
    """

    day: date
    seed: int
    made: Mapping[str, Made]
    scores: Path | None


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 1 = unavailable, 2 = bad usage or input, 3 = closed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prequential", description="Score each day of a log by four models."
    )
    parser.add_argument("log", type=Path, help="an overlay over params.yaml, e.g. one of docs/examples")
    parser.add_argument(
        "--data", type=Path, help="the folder that holds the log's folder; default: as the overlay says"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="parameters beside the overlay")
    parser.add_argument("--days", type=positive, default=6, help="days to score, the last ones of the log")
    parser.add_argument("--seeds", type=positive, nargs="+", default=[1, 2], help="seeds of the trainings")
    parser.add_argument("--write", choices=PAGES, help="put the tables into this page")
    given = parser.parse_args()
    folder = study.STORE / "prequential" / given.log.stem
    return publish(
        PAGES.get(given.write, ""),
        lambda: text(measured(folder, read_log(given.log, given.data, given.set), given.seeds, given.days)),
    )


def measured(folder: Path, params: Params, seeds: Sequence[int], count: int) -> list[Day]:
    """Score the last days of a log, and return them with the two days before.

    Args:
        folder: where the study is kept.
        params: the parameters of the log.
        seeds: the seeds of the trainings.
        count: the number of days to score.

    Raises:
        InputError: the log is too short or can't be used, or its rows are not held out by time.
        GateClosed: a suite of validation is closed.
        Unavailable: the source can't be reached now.
    """
    params = _prepared(params)
    here = Workspace(folder / "workspace")
    here.root.mkdir(parents=True, exist_ok=True)
    found: list[Day] = []
    with workspace_lock(here):
        seen = look(here, params)
        ends = date.fromisoformat(seen.first_day), date.fromisoformat(seen.last_day)
        days = days_of_runs(*ends, count, params.featurize.valid_days)
        serving: dict[int, dict[str, Version]] = {seed: {} for seed in seeds}
        for day in days:
            policies = {days[0]: (SCRATCH,), days[-1]: ()}.get(day, LEARNING)
            now = replace(params, data=replace(params.data, until=day))
            cases = [study.Case(f"{day}-{seed}", run, (now, day, seed, policies, serving[seed])) for seed in seeds]
            for one in study.results(folder, cases):
                found.append(one)
                made = {name: model.version for name, model in one.made.items()}
                if day == days[0]:
                    made = {FIRST: made[SCRATCH], CHAMPION: made[SCRATCH]}
                serving[one.seed] |= made
    return found


def days_of_runs(first: date, last: date, count: int, valid_days: int) -> list[date]:
    """Return the days that a comparison of the last `count` days of a log needs.

    The first makes the first champion, the next one the first model of each policy, and each later one is scored.

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


def run(
    kept: Path, params: Params, day: date, seed: int, policies: Sequence[str], serving: Mapping[str, Version]
) -> Day:
    """Score a day with the models that are there, then learn it.

    Args:
        kept: the document of the case.
        params: the parameters of all runs of the day.
        day: the newest day of the log that the stages read.
        seed: the seed of the trainings.
        policies: the models to make.
        serving: the bundles of that morning.
    """
    here = Workspace(kept.parent / "workspace")
    registry = Registry.of(here, params)
    _bring_to(here, params)
    scores = None
    if serving.keys() == NAMES.keys():
        scores = kept.with_suffix(".parquet")
        with TemporaryDirectory(dir=kept.parent) as place:
            bundles = {name: registry.fetch(version, Path(place) / name) for name, version in serving.items()}
            pq.write_table(scored(here, test_rows(Features(here.features)), bundles), scores)
    made = {}
    for policy in policies:
        train = replace(params.train, learning=replace(params.train.learning, seed=seed, advance=policy != STALE))
        train = replace(train, start="scratch")
        if policy == CHAMPION:
            train = replace(train, start=CHAMPION, champion=serving[CHAMPION])
        stages.run((*stages.MODEL.values(), export), here, replace(params, train=train), _output(here))
        made[policy] = Made(registry.put_bundle(here.bundle), learning_seconds(here))
    return Day(day, seed, made, scores)


def _bring_to(here: Workspace, params: Params) -> None:
    """Bring log and features of a workspace to the end of `data.until`, unless they are there already."""
    marker = here.root / "features.txt"
    wanted = study.Case("features", _bring_to, (params,)).path(here.root).name
    if marker.exists() and marker.read_text() == wanted:
        return
    marker.unlink(missing_ok=True)
    stages.run(stages.FEATURES.values(), here, params, _output(here))
    opened = Features(here.features)
    if not opened.by_time:
        protocol = opened.manifest["protocol"]
        raise InputError(f"featurize.protocol is {protocol}; expected temporal, since days are to be compared")
    marker.write_text(wanted)


def _output(here: Workspace) -> Path:
    return here.root.with_name("output.txt")


def _prepared(params: Params) -> Params:
    """Return the parameters of all runs: one test day, no limit that a young model could miss, and a registry here."""
    return replace(
        params,
        featurize=replace(params.featurize, test_days=1),
        evaluate=replace(params.evaluate, lr_epochs=1),  # nothing is compared with the floor LR
        validate_predictions=replace(params.validate_predictions, **_ANY_CALIBRATION),
        promote=replace(params.promote, registry="registry"),
    )


def text(days: Sequence[Day]) -> str:
    """Return all tables."""
    scores = {(one.day, one.seed): pq.read_table(one.scores) for one in days if one.scores}
    dates = sorted({day for day, _ in scores})
    seeds = list(dict.fromkeys(seed for _, seed in scores))
    rows = sum(len(scores[day, seeds[0]]) for day in dates)
    listed = ", ".join(map(str, seeds))
    head = f"{len(dates)} days, {dates[0]} to {dates[-1]}, with {rows:,} impressions. Seeds: {listed}.\n"
    of_seed = {seed: [scores[day, seed] for day in dates] for seed in seeds}
    of_day = {day: [scores[day, seed] for seed in seeds] for day in dates}
    costs = [one.made for one in days if CHAMPION in one.made]
    return "\n".join([head, _levels(of_day, costs), _differences(of_day, of_seed), _by_day(of_day)])


def _levels(of_day: Mapping[date, list[pa.Table]], costs: Sequence[Mapping[str, Made]]) -> str:
    """Return the table of each model's mean metrics and of its cost."""
    everything = [table for own in of_day.values() for table in own]
    rows = []
    for policy, name in NAMES.items():
        found = [f"{average(everything, policy, metric):.4f}" for metric in METRICS]
        seconds = [made[policy].seconds for made in costs if policy in made]
        rows.append([name, *found, f"{sum(seconds) / len(seconds):.1f}" if seconds else "0"])
    return study.table(["model of the morning", "AUC", "GAUC", "learning, CPU s a day"], rows)


def _differences(of_day: Mapping[date, list[pa.Table]], of_seed: Mapping[int, list[pa.Table]]) -> str:
    """Return the table of differences, of all seeds and of each."""
    everything = [table for own in of_day.values() for table in own]
    rows = []
    for ours, theirs in COMPARED:
        cells = [f"{NAMES[ours]} − {NAMES[theirs]}"]
        for metric in METRICS:
            found = advantage(everything, ours, theirs, metric)
            cells.append(f"**{found.point:+.4f}** [{found.lower:+.4f}, {found.upper:+.4f}]")
        for tables in of_seed.values():
            points = [advantage(tables, ours, theirs, metric).point for metric in METRICS]
            cells.append(", ".join(f"{point:+.4f}" for point in points))
        rows.append(cells)
    return study.table(["difference", "AUC", "GAUC", *(f"seed {seed}: AUC, GAUC" for seed in of_seed)], rows)


def _by_day(of_day: Mapping[date, list[pa.Table]]) -> str:
    """Return the table with a row for each day."""
    rows = []
    for day, tables in of_day.items():
        means = [", ".join(f"{average(tables, policy, metric):.4f}" for metric in METRICS) for policy in NAMES]
        rows.append([day, f"{len(tables[0]):,}", *means])
    return study.table(["day", "impressions", *(f"{name}: AUC, GAUC" for name in NAMES.values())], rows)


if __name__ == "__main__":
    sys.exit(main())
