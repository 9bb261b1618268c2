"""`make drifts`: count how many planted drifts `din watch` finds on their first day, and how many sound days alarm.

Real champions, one a week, answer a client's requests of a simulated log, and the server's writer logs the answers. A
drift changes one day of it. The day is judged as `din watch --until` does once its clicks have arrived.

    .din/drifts/USERS-SEED/log, live, registry    the simulated log, and the workspace and the registry of its champions
    .din/drifts/USERS-SEED/output.txt             the output of the stages
    .din/drifts/USERS-SEED/served, clicks         the log of the server and the clicks, by day
"""

import argparse
import csv
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from io import StringIO
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np

from benchmarks import harness
from benchmarks.daily import test_rows
from benchmarks.generated_tables import publish
from benchmarks.lessons import Site, simulated
from benchmarks.served_drifts import DRIFTS, OF_A_STRANGER, PLANTED, Asked, Drift
from benchmarks.simulated_source import date_of, simulated_log
from benchmarks.warranty import share
from din.base.workspace import Workspace
from din.bundle.requests_from_log import requests_for
from din.bundle.scorer import Scorer
from din.data.fetch import fetch
from din.features.reader import Features
from din.featurize.build import featurize
from din.release.registry.cache import scorer_of
from din.release.registry.registry import Registry
from din_loop.served_options import Served
from din_loop.server.answer_log import AnswerLog
from din_loop.server.answers import Answer
from din_loop.watch.watch import watch

LOGS = 1
IMPRESSIONS = 5
"""The impressions per user on a usual day."""
WORLD = {"categories": 20, "items": 200}
"""A category has about 5 % of the impressions, so that one of them has something to lose."""
WEEK = 7
DAYS = 8 * WEEK + 1
"""The served days. The last one is not judged, because its clicks have not all arrived."""
FIRST = date_of(14)
"""The first served day."""
_WINDOW_DAYS = 14
_DAY = timedelta(days=1)
_WARM = 15
"""The served days before the first that can alarm."""
_PLANTED = 6 * WEEK
"""The served days before the week in which drifts are planted."""

Advised = dict[str, str]
"""The action to take for each figure that alarms."""


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drifts", description="Plant drifts for `din watch`.")
    parser.add_argument("--users", type=harness.positive, nargs="+", default=(250,), help="users per day of each log")
    parser.add_argument("--logs", type=harness.positive, default=LOGS, help="logs of each size, by default %(default)s")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/watching.md")
    options = harness.parsed(parser, full={"logs": 5})
    return publish("drifts" if options.write else "", lambda: "\n".join(table(n, options.logs) for n in options.users))


def table(users: int, logs: int) -> str:
    """Run the missing cases, and return the table of drifts of logs with this many users a day."""
    sound: dict[str, Advised] = {}
    planted: dict[str, list[Advised]] = {name: [] for name in PLANTED}
    for seed in range(logs):
        folder = harness.STORE / "drifts" / f"{users}-{seed}"
        weeks = range(0, DAYS - 1, WEEK)
        harness.results(folder, [harness.StudyCase(f"day-{day}", retrain, (users, day, seed)) for day in weeks])
        harness.results(folder, [harness.StudyCase("served", serve, (users, seed))])
        (by_day,) = harness.results(folder, [harness.StudyCase("sound", sound_days)])
        sound |= {f"{day} of log {seed + 1}": advised for day, advised in by_day.items()}
        cases = [harness.StudyCase(name, drifted, (name, seed)) for name in PLANTED]
        for name, advised in zip(PLANTED, harness.results(folder, cases), strict=True):
            planted[name].append(advised)
    return f"**{users:,} users a day**\n\n{drift_table(sound, planted)}"


def retrain(kept: Path, users: int, number: int, seed: int) -> bool:
    """Run the pipeline on a day of a log, counted from 0, and return whether the champion was replaced.

    The champion of the first day is trained from scratch. Later days continue it.
    """
    folder = kept.parent
    if number == 0:
        for name in ("live", "registry", ".din"):  # .din remembers the registry's records
            shutil.rmtree(folder / name, ignore_errors=True)
    log = simulated(folder / "log", users, IMPRESSIONS * users, seed, later=DAYS + 1, **WORLD)
    data = replace(log.params.data, window_days=_WINDOW_DAYS)
    gate = replace(log.params.gate, max_latency_ms=None)  # a busy machine is no fault of a day
    site = Site(folder, replace(log, params=replace(log.params, data=data, gate=gate)))
    return not site.live(log.day + number * _DAY)


def serve(kept: Path, users: int, seed: int) -> int:
    """Let champions answer the requests of a sound client, log the answers and clicks, and return their number."""
    folder = kept.parent
    for name in ("served", "clicks"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _, params = simulated_log(folder / "log", users, IMPRESSIONS * users, seed, **WORLD)
    data = replace(params.data, until=FIRST + (DAYS - 1) * _DAY)
    params = replace(params, data=data, featurize=replace(params.featurize, test_days=DAYS))
    with TemporaryDirectory() as place, redirect_stdout(StringIO()):
        here = Workspace(Path(place))
        fetch(here, params)
        featurize(here, params)
        rows = test_rows(Features(here.features)).sort_by("timestamp")
        requests = requests_for(rows, here.raw, here.features)
    rng = np.random.default_rng(seed)
    days: dict[date, list[Asked]] = {}
    for number, (request, click) in enumerate(zip(requests, rows["label"].to_pylist(), strict=True)):
        at = request["time"] + rng.exponential(0.2)
        day = datetime.fromtimestamp(request["time"], UTC).date()
        days.setdefault(day, []).append(Asked(f"{number}", at, request, bool(click)))
    for day, asked in days.items():
        answer(folder, day, asked, champion(folder, day))
    return len(requests)


def champion(folder: Path, day: date) -> Scorer:
    """Return the newest champion on the morning of a day."""
    registry = Registry(str(folder / "registry"), "month")
    *_, number = (
        record.number for record in registry.history() if registry.facts(record.version).until < day.isoformat()
    )
    return scorer_of(registry.uri, registry.model_name, number, cache=folder / "bundles")


def answer(
    folder: Path,
    day: date,
    asked: Sequence[Asked],
    scorer: Scorer,
    drift: Drift | None = None,
    first: Scorer | None = None,
) -> None:
    """Answer the requests of a day, and write answers and clicks into a folder.

    Args:
        first: the first champion, which answers some requests of the drift.
    """
    asked = sorted(asked, key=attrgetter("at"))
    requests = [event.request for event in asked]
    scores = np.concatenate(scorer.score_many(requests))
    versions = np.array([scorer.version] * len(asked))
    rng = np.random.default_rng(day.toordinal())
    if drift and first:
        is_older = rng.random(len(asked)) < drift.first
        scores = np.where(is_older, np.concatenate(first.score_many(requests)), scores)
        versions = np.where(is_older, first.version, versions)
    if drift and drift.scored:
        scores = drift.scored(scores)
        versions[:] = sha256(scorer.version.encode()).hexdigest()  # of another bundle
    if drift and drift.served:
        scores = drift.served(scores, asked, rng)
    now = 0.0
    log = AnswerLog(folder / "served", clock=lambda: now)
    log.start()
    for event, score, version in zip(asked, scores.tolist(), versions.tolist(), strict=True):
        now = event.at
        log.put(log.drawn(Answer(b"", version, [event.request], [[score]], [event.name])), 0)
    log.close()
    rng = np.random.default_rng(day.toordinal())
    (folder / f"clicks/{day}").mkdir(parents=True)
    with (folder / f"clicks/{day}/clicks.csv").open("w", newline="") as file:
        clicks = csv.writer(file)
        clicks.writerow(("request_id", "item_id", "timestamp"))
        for event in asked:
            if event.clicked:
                clicks.writerow(
                    (event.name, event.request["candidates"][0]["item_id"], event.at + rng.exponential(120))
                )


def sound_days(kept: Path) -> dict[str, Advised]:
    """Judge the days of a log, one after the other, as they were served, and return what was advised on each."""
    with TemporaryDirectory(dir=kept.parent) as place:
        days = [FIRST + number * _DAY for number in range(_WARM, DAYS - 1)]
        return {day.isoformat(): judge(kept.parent, Path(place), day) for day in days}


def drifted(kept: Path, name: str, seed: int) -> Advised:
    """Plant a drift into the days of a log, and return what was advised on the first one that had an alarm."""
    drifts = PLANTED[name]
    number = [*PLANTED].index(name) + seed
    new = 2 if drifts[0].action == "retrain" else 0  # the days on which the champion is too new for this advice
    first_day = FIRST + (_PLANTED + new + number % (WEEK - new)) * _DAY
    folder = kept.parent
    with TemporaryDirectory(dir=folder) as place:
        for after, drift in enumerate(drifts):
            day = first_day + after * _DAY
            for part in (Path(place, f"served/date={day}"), Path(place, f"clicks/{day}")):
                shutil.rmtree(part, ignore_errors=True)  # the sound day, which the day before was judged with
            first = champion(folder, FIRST) if drift.first else None
            asked = drift.asked(_asked(folder, day), np.random.default_rng(number))
            answer(Path(place), day, asked, champion(folder, day), drift, first)
            if advised := judge(folder, Path(place), day):
                return advised
    return {}


def _asked(folder: Path, day: date) -> list[Asked]:
    """Return the requests of a sound day."""
    files = f"read_parquet('{folder}/served/date={{}}/*/*.parquet', hive_partitioning=false)"
    rows = duckdb.sql(
        f"""SELECT request_id, epoch(answered_at), request,
            request_id IN (SELECT CAST(request_id AS VARCHAR) FROM '{folder}/clicks/{day}/*.csv'), score
        FROM {files.format(day)} LEFT JOIN (
            SELECT user_id, arg_max(probabilities[1], answered_at) AS score
            FROM {files.format(day - _DAY)} GROUP BY user_id
        ) USING (user_id) ORDER BY 2"""
    ).fetchall()
    return [Asked(name, at, json.loads(request), clicked, score) for name, at, request, clicked, score in rows]


def judge(folder: Path, place: Path, day: date) -> Advised:
    """Judge a day of a log, and return what to do by the alarming figure.

    Args:
        place: a folder that keeps the alarms. Its days replace those of the log.
    """
    days = [day + number * _DAY for number in range(-29, 2)]
    for name in ("registry", *(f"served/date={other}" for other in days), *(f"clicks/{other}" for other in days)):
        if (folder / name).exists() and not (place / name).exists():
            shutil.copytree(folder / name, place / name, copy_function=os.link)
    clicks = Served(path=str(place / "served"), clicks=str(place / "clicks/*/*.csv"), window_hours=1)
    registry = Registry(str(place / "registry"), "month")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        end = datetime(day.year, day.month, day.day) + _DAY
        report = watch(
            Workspace(place), place / "served", clicks, registry, end=end, most=1_000, max_age=timedelta(days=7)
        )
    if report.problems:
        raise report.problems[0]
    return {alarm.figure: alarm.action for alarm in report.alarms}


def _share_found(planted: Mapping[str, Sequence[Advised]], names: Collection[str]) -> str:
    alarmed = [bool(advised) for name in names for advised in planted.get(name, ())]
    return f"{sum(alarmed)} of {len(alarmed)}" + (f" ({np.mean(alarmed):.1%})" if alarmed else "")


def drift_table(sound: Mapping[str, Advised], planted: Mapping[str, Sequence[Advised]]) -> str:
    """Return the rates and the table of drifts, given what was advised on each sound day and for each drift."""
    right = [PLANTED[name][0].action in advised.values() for name, days in planted.items() for advised in days]
    wrong = "".join(f" {day}: {', '.join(advised)}." for day, advised in sound.items() if advised)
    said = [
        *(
            f"{title}: {_share_found(planted, names)} (bar: 90 %)."
            for title, names in (
                ("Drifts found on their first day", DRIFTS),
                ("Drifts of a stranger found on their first day, slow ones by their tenth", OF_A_STRANGER),
            )
        ),
        f"Drifts with the right advice: {sum(right)} of {len(right)} ({np.mean(right):.1%}).",
        f"Sound days with an alarm: {share([bool(advised) for advised in sound.values()])} (bar: 1 in 300).{wrong}",
    ]
    rows = []
    for name, days in planted.items():
        options = Counter(action for advised in days for action in {*advised.values()})
        figures = Counter(figure for advised in days for figure in advised).most_common(4)
        advice = ", ".join(f"{action} ({count})" for action, count in options.most_common())
        row = [name, f"{sum(map(bool, days))} of {len(days)}", PLANTED[name][0].action, advice]
        rows.append([*row, ", ".join(f"`{figure}`" for figure, _ in figures)])
    head = ["drift", "found", "right advice", "advice (days)", "figures that alarm most often"]
    return "".join(f"- {line}\n" for line in said) + "\n" + harness.table(head, rows)


if __name__ == "__main__":
    sys.exit(main())
