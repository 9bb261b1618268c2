"""Score each day of a log with the models that would have served that morning, before any of them has learned the day.

    python -m benchmarks.prequential docs/examples/kuairand-pure-prepared.yaml --days 6

There are four models each morning:

    scratch     trained by epochs on all days before the validation days, then one pass over validation and test days
    stale       the same without that pass, so the judged model is shipped
    champion    the champion of the morning before, which then learned one more day; on the first day, `scratch`
    first       the first day's `scratch`, never trained again

A case is a day: for each seed, it scores the day with the morning's models, and makes those of the next morning. The
stages run in one process, one day after the other in the same workspace. A killed training resumes from its checkpoint.

    .din/prequential/LOG/workspace/           the workspace, with a registry of all bundles
    .din/prequential/LOG/<date>-<digest>.*    the models made on a day, and for each seed the scores of its rows
    .din/prequential/LOG/output.txt           the output of the stages
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from benchmarks import harness, in_process
from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, advantage, average, learning_seconds, scored, test_rows
from benchmarks.generated_tables import TABLES, publish
from benchmarks.harness import parsed, positive
from benchmarks.logs import read_log
from din.base.errors import InputError
from din.base.names import Version
from din.base.workspace import Workspace
from din.data.fetch import describe
from din.features.reader import Features
from din.metrics.estimates import Metric
from din.params.reading import Params, plain
from din.release.registry.registry import Registry
from din.stages.stage import workspace_lock

PAGES = {TABLES[name].page: name for name in ("kuairand", "four-ways")}
LEARNING = (SCRATCH, STALE, CHAMPION)
"""The models that are made every day."""
NAMES = {
    SCRATCH: "from scratch, `refit`",
    STALE: "from scratch, no passes",
    CHAMPION: "continues daily",
    FIRST: "never retrained",
}
COMPARED = ((SCRATCH, STALE), (CHAMPION, STALE), (CHAMPION, SCRATCH), (SCRATCH, FIRST), (CHAMPION, FIRST))
METRICS: tuple[Metric, ...] = ("auc", "gauc")
_ANY_CALIBRATION = {"calibration": (0.0, 1e9), "max_log_loss_over_constant": 1e9}
_DAY = timedelta(days=1)


class Made(NamedTuple):
    """A bundle made at the end of a day: its version, and the CPU seconds of learning."""

    version: Version
    seconds: float


@dataclass(frozen=True)
class DayScores:
    """The models and scores of a day with one seed.

    Attributes:
        made: the models made at the end of the day, by policy.
        scores: the file with the scores of the day's rows. None if not all four models existed that morning.
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
    parser.add_argument("log", type=Path, help="an overlay over the defaults, e.g. one of docs/examples")
    parser.add_argument("--data", type=Path, help="the folder of the log's folder; default: as the overlay says")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="parameters beside the overlay")
    parser.add_argument("--days", type=positive, default=1, help="days to score, the last ones of the log")
    parser.add_argument("--seeds", type=positive, nargs="+", default=(1,), help="seeds of the trainings")
    parser.add_argument("--write", choices=PAGES, help="put the tables into this page")
    options = parsed(parser, full={"days": 6, "seeds": (1, 2, 3)})
    folder = harness.STORE / "prequential" / options.log.stem

    def tables() -> str:
        params = read_log(options.log, options.data, settings(options.set))
        return text(measured(folder, params, options.seeds, options.days))

    return publish(PAGES.get(options.write, ""), tables)


def settings(texts: Sequence[str]) -> dict[str, Any]:
    """Parse texts of the form KEY=VALUE, where VALUE is YAML, and return the values by key.

    Raises:
        InputError: a text does not have this form.
    """
    values = {}
    for setting in texts:
        key, separator, value = setting.partition("=")
        if not separator:
            raise InputError(f"--set {setting}: expected KEY=VALUE, such as data.window_days=14")
        values[key] = plain(value, f"--set {key}")
    return values


def measured(folder: Path, params: Params, seeds: Sequence[int], count: int) -> list[DayScores]:
    """Score the last days of a log, and return them with the two days before.

    Raises:
        InputError: the log is too short or can't be used, or its rows are not held out by time.
        GateClosed: a validation suite is closed.
        Unavailable: the source can't be reached at the moment.
    """
    params = _prepared(params)
    here = Workspace(folder / "workspace")
    here.root.mkdir(parents=True, exist_ok=True)
    day_scores: list[DayScores] = []
    seen = describe(here, params)  # which locks the workspace itself
    with workspace_lock(here):
        ends = date.fromisoformat(seen.first_day), date.fromisoformat(seen.last_day)
        days = days_of_runs(*ends, count, params.featurize.valid_days)
        serving: dict[int, dict[str, Version]] = {seed: {} for seed in seeds}
        for day in days:
            policies = {days[0]: (SCRATCH,), days[-1]: ()}.get(day, LEARNING)
            now = replace(params, data=replace(params.data, until=day))
            (of_seeds,) = harness.results(folder, [harness.StudyCase(f"{day}", run, (now, day, policies, serving))])
            for scored_day in of_seeds:
                made = {name: model.version for name, model in scored_day.made.items()}
                if day == days[0]:
                    made = {FIRST: made[SCRATCH], CHAMPION: made[SCRATCH]}
                serving[scored_day.seed] |= made
            day_scores += of_seeds
    return day_scores


def days_of_runs(first: date, last: date, count: int, valid_days: int) -> list[date]:
    """Return the days that a comparison of the last `count` days of a log needs.

    The first day makes the first champion, the second one the first model of each policy, and later ones are scored.

    Args:
        valid_days: the number of validation days. A run also needs a day to learn and a day to test.

    Raises:
        InputError: the log is too short.
    """
    most = (last - first).days - valid_days - 2
    if count > most:
        advice = f"ask for at most {most}" if most > 0 else f"a log needs at least {valid_days + 4} days"
        raise InputError(
            f"--days {count}: the log has the days {first} to {last}, and the first model learns a day, validates "
            f"{valid_days} and tests one, and the next one serves a day later; {advice}"
        )
    return [last - _DAY * back for back in range(count + 1, -1, -1)]


def run(
    kept: Path, params: Params, day: date, policies: Sequence[str], serving: Mapping[int, Mapping[str, Version]]
) -> list[DayScores]:
    """Score a day with the morning's models, then make models that have learned it.

    Args:
        kept: the path of the case's document.
        params: the parameters of all runs of the day.
        day: the newest day of the log that the stages read.
        policies: the policies whose models to make.
        serving: the bundles of that morning by policy, by the seed of their training.

    Raises:
        InputError: the rows are not held out by time.
    """
    here = Workspace(kept.parent / "workspace")
    output = kept.parent / "output.txt"
    registry = Registry.of(here, params)
    in_process.run(in_process.FEATURES, here, params, output)
    features = Features(here.features)
    if not features.by_time:
        protocol = features.manifest.protocol
        raise InputError(f"featurize.protocol is {protocol}; expected temporal, since days are to be compared")
    days = []
    for seed, versions in serving.items():
        scores = None
        if versions.keys() == NAMES.keys():
            scores = kept.with_suffix(f".{seed}.parquet")
            with TemporaryDirectory(dir=kept.parent) as place:
                bundles = {name: registry.fetch(version, Path(place) / name) for name, version in versions.items()}
                pq.write_table(scored(here, test_rows(features), bundles), scores)
        made = {}
        for policy in policies:
            learning = replace(params.train.learning, seed=seed, advance=policy != STALE)
            train = replace(params.train, learning=learning, start="scratch")
            if policy == CHAMPION:
                train = replace(train, start=CHAMPION, champion=versions[CHAMPION])
            in_process.run([*in_process.MODEL, "export"], here, replace(params, train=train), output)
            made[policy] = Made(registry.put_bundle(here.bundle), learning_seconds(here))
        days.append(DayScores(day, seed, made, scores))
    return days


def _prepared(params: Params) -> Params:
    """Return the parameters of all runs: one test day, no limit on calibration or loss, and a local registry."""
    return replace(
        params,
        featurize=replace(params.featurize, test_days=1),
        validate_predictions=replace(params.validate_predictions, **_ANY_CALIBRATION),
        promote=replace(params.promote, registry="registry"),
    )


def text(days: Sequence[DayScores]) -> str:
    """Return the tables of metrics with the cost of learning, of differences, and of days."""
    scores = {
        (scored_day.day, scored_day.seed): pq.read_table(scored_day.scores) for scored_day in days if scored_day.scores
    }
    dates = sorted({day for day, _ in scores})
    seeds = list(dict.fromkeys(seed for _, seed in scores))
    costs = [scored_day.made for scored_day in days if CHAMPION in scored_day.made]
    levels = []
    for policy, name in NAMES.items():
        seconds = [made[policy].seconds for made in costs if policy in made]
        cost = f"{sum(seconds) / len(seconds):.1f}" if seconds else "0"
        levels.append([name, *(f"{average([*scores.values()], policy, metric):.4f}" for metric in METRICS), cost])
    differences = []
    for ours, theirs in COMPARED:
        cells = [harness.interval(advantage([*scores.values()], ours, theirs, metric)) for metric in METRICS]
        for seed in seeds:
            points = [advantage([scores[day, seed] for day in dates], ours, theirs, m).point for m in METRICS]
            cells.append(", ".join(f"{point:+.4f}" for point in points))
        differences.append([f"{NAMES[ours]} − {NAMES[theirs]}", *cells])
    of_days = []
    for day in dates:
        tables = [scores[day, seed] for seed in seeds]
        means = [", ".join(f"{average(tables, policy, metric):.4f}" for metric in METRICS) for policy in NAMES]
        of_days.append([day, f"{len(tables[0]):,}", *means])
    rows = sum(len(scores[day, seeds[0]]) for day in dates)
    listed = ", ".join(map(str, seeds))
    both = ", ".join(metric.upper() for metric in METRICS)
    return "\n".join(
        [
            f"{len(dates)} days, {dates[0]} to {dates[-1]}, with {rows:,} impressions. Seeds: {listed}.\n",
            harness.table(["model of the morning", "AUC", "GAUC", "learning, CPU s a day"], levels),
            harness.table(["difference", "AUC", "GAUC", *(f"seed {seed}: {both}" for seed in seeds)], differences),
            harness.table(["day", "impressions", *(f"{name}: {both}" for name in NAMES.values())], of_days),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
