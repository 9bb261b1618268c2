"""`din watch` on the log of a served simulation: sound days, a client that breaks, a server that is silent."""

import csv
import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from din import cli
from din.base.artifacts import read_json, write_json
from din.base.commandline import print_result
from din.base.errors import GateClosed, InputError, Unavailable
from din.base.workspace import Workspace
from din.bundle.bundle_writer import seal
from din.bundle.contents import FACTS
from din.bundle.scorer import Scorer
from din.contracts.facts import NOT_CALIBRATED
from din.release.registry.registry import Registry
from din_logs.daily_simulation import FIRST_DAY
from din_loop.served_log import SCHEMA
from din_loop.served_options import Served
from din_loop.server.answer_log import AnswerLog
from din_loop.server.answers import Answer
from din_loop.watch import outcomes, traffic
from din_loop.watch.alarms import PREDICTIONS, Alarm, advise, base_name, keep, kept
from din_loop.watch.memory import since_promotion
from din_loop.watch.outcomes import Outcome, figures
from din_loop.watch.significance import judge as judge_figure
from din_loop.watch.watch import Watched, alarmed, watch
from din_report.runs import read_runs
from tests.din_loop.served_days import Days
from tests.din_loop.served_world import World, copied, serve
from tests.factories.bundles import REQUEST
from tests.helpers.strategies import PLAIN, REQUESTS

JUDGED = FIRST_DAY + timedelta(days=15)
NEW_YEAR = datetime(2026, 1, 1)
Request = dict[str, Any]
Judge = Callable[..., Watched]
ANY = PLAIN | st.sampled_from([10**400, -1e308, 1e308, [[1]]])
UNREAD = ANY | st.dictionaries(
    st.sampled_from(["item_id", "category", "tags", "timestamp", "key"]), ANY | st.lists(ANY), max_size=3
)
"""A behaviour before those that the model reads."""


def logged(folder: Path, version: str, requests: Sequence[Request]) -> Path:
    """Log answers to some requests, a minute before the year 2026, and return the folder."""
    log = AnswerLog(folder, clock=lambda: NEW_YEAR.replace(tzinfo=UTC).timestamp() - 60)
    log.start()
    for number, request in enumerate(requests):
        scores = [0.5] * len(request["candidates"])
        log.put(log.drawn(Answer(b"", version, [request], [scores], [str(number)])), 1)
    log.close()
    return folder


@pytest.fixture(scope="module")
def log(steady: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the log of a server and the clicks, until the day after the judged one."""
    folder = tmp_path_factory.mktemp("log")
    days = Days(days=17, impressions=50)
    days.write_tables(folder)
    serve(steady, days, folder / "served")
    for day in (folder / "served").glob("date=*"):  # a file a day is read sooner than one an hour
        hours = sorted(day.glob("*/*.parquet"))
        table = pa.concat_tables([pq.ParquetFile(path).read() for path in hours])
        for path in hours[1:]:
            path.unlink()
        pq.write_table(table, hours[0])
    return folder


@pytest.fixture
def registry(steady: World, tmp_path: Path) -> Registry:
    """Return a registry that only one test changes."""
    shutil.copytree(steady.registry.uri, tmp_path / "registry")
    return Registry(str(tmp_path / "registry"), steady.registry.model_name)


@pytest.fixture
def judge(registry: Registry, log: Path, tmp_path: Path) -> Judge:
    """Return a function that judges a day after its requests were changed."""
    shutil.copytree(log, tmp_path, dirs_exist_ok=True)

    def judged(change: Callable[[Request], Request] = dict, **options: Any) -> Watched:
        for path in (tmp_path / "served").glob(f"date={JUDGED}/*/*.parquet"):
            rows = pq.ParquetFile(path).read().to_pylist()
            changed = [row | {"request": json.dumps(change(json.loads(row["request"])))} for row in rows]
            pq.write_table(pa.Table.from_pylist(changed, SCHEMA), path)
        place = options.pop("clicks", str(tmp_path / "clicks.csv"))
        clicks = Served(path=str(tmp_path / "served"), clicks=place, window_hours=1)
        end = datetime(JUDGED.year, JUDGED.month, JUDGED.day) + timedelta(days=1)
        given = {"end": end, "most": 1000, "max_age": timedelta(days=7)} | options
        return watch(Workspace(tmp_path), tmp_path / "served", clicks, registry, **given)

    return judged


def test_sound_days(judge: Judge, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A day like all others has all its figures and no alarm, also while an alarm since the promotion lasts.

    Days before those compared are not read, so a log may grow without end: damage there changes nothing.
    """
    old = tmp_path / "served" / f"date={JUDGED - timedelta(days=57)}" / "hour=00" / "damaged.parquet"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"damaged")
    for back in range(1, 17):
        day = f"{JUDGED - timedelta(days=back)}"
        lasting = Alarm(day, f"{day}T00:00:00+00:00", "CTR since promotion", 0.1, 0.2, 0.3, None, None, "retrain", "")
        keep(registry.objects, lasting)
    judged = judge()
    assert judged.alarms == []
    names = {check.figure: check for check in judged.checks}
    assert {"requests", "history", "user.user_id", "unknown candidates.item_id", "clock", "AUC", "calibration"} <= set(
        names
    )
    assert names["AUC"].observed is not None
    assert names["CTR"].problem is None
    assert "no alarm among" in capsys.readouterr().out
    judged.check()


def test_clicks_of_drawn_users(log: Path, tmp_path: Path) -> None:
    """Outcomes are those of the users whose requests are read, each with all impressions and clicks."""
    end = datetime(JUDGED.year, JUDGED.month, JUDGED.day) + timedelta(days=1)
    days = traffic.read(log / "served", end, 25)
    clicks = Served(path=str(log / "served"), clicks=str(log / "clicks.csv"), window_hours=1)
    days_read = outcomes.read(Workspace(tmp_path), log / "served", clicks, JUDGED, days[-1].share)
    expected = [(day.day, len(day.rows), day.user_count) for day in days]
    assert [(day.day, len(day.labels), len(np.unique(day.users))) for day in days_read[-len(days) :]] == expected
    people = {row["user_id"] for day in days for row in day.rows}
    assert 5 < len(people) < 35
    last = end.replace(tzinfo=UTC).timestamp()
    with (log / "events.csv").open(newline="") as file:
        events = [row for row in csv.DictReader(file) if row["user_id"] in people and float(row["timestamp"]) < last]
    assert sum(day.labels.sum() for day in days_read) == sum(int(row["label"]) for row in events) > 0


def test_contexts_named_like_columns_of_the_log(judge: Judge) -> None:
    """Contexts may have the names of the columns that outcomes are computed from, and names that no record can hold."""
    contexts = {"version": 1, "moment": 2, "day": 3, "score": 4, "\x07": 5, "x" * 1000: 6}
    judged = judge(lambda request: request | {"context": contexts})
    assert {check.figure: check.observed for check in judged.checks}["AUC"] is not None


def test_a_client_that_breaks(
    judge: Judge, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The alarm is named once in the registry, in JSON, in the metrics, and on the page of all runs."""
    metrics = tmp_path / "din.prom"
    judged = judge(lambda request: request | {"history": request["history"][:1]}, metrics=metrics)
    capsys.readouterr()
    print_result(lambda: judged, as_json=True)
    assert json.loads(capsys.readouterr().out)["alarms"][0]["action"] == "ask who owns the data"
    assert "history" in {alarm.figure for alarm in judged.alarms}
    assert {alarm.action for alarm in judged.alarms} == {"ask who owns the data"}
    with pytest.raises(GateClosed, match=r"alarms in the days up to 2024-01-17 00:00 UTC: .*with `din replay`"):
        judged.check()
    stored = kept(registry.objects)
    assert {alarm.figure for alarm in stored} == {alarm.figure for alarm in judged.alarms}
    assert {(alarm.day, alarm.version) for alarm in stored} == {("2024-01-16", registry.history()[0].version)}
    event = alarmed(registry, judged.alarms)
    assert event.facts["alarms"] == [asdict(alarm) for alarm in stored]
    assert event.id == alarmed(registry, judged.alarms[:1]).id  # an alarm that is over is no news
    judge()
    assert kept(registry.objects) == stored
    text = metrics.read_text()
    assert 'din_watch_alarm{action="ask who owns the data",figure="history",model="log"} 1.0' in text
    assert 'din_watch_figure{figure="AUC",model="log"}' in text and "din_watch_until_seconds" in text
    rows = read_runs(Workspace(tmp_path), registry.uri, registry.model_name).rows
    assert len([row for row in rows if row.verdict == "alarm"]) == len(stored)
    for key in registry.objects.keys("alarms"):
        registry.objects.put(key, b"damaged")
    assert kept(registry.objects) == []


def test_a_silent_server(judge: Judge, tmp_path: Path) -> None:
    """No answer at all is an alarm, though nothing else can be told."""
    shutil.rmtree(tmp_path / "served" / f"date={JUDGED}")
    judged = judge()
    assert [alarm.figure for alarm in judged.alarms] == ["requests"]
    assert {check.problem for check in judged.checks if check.figure == "history"} == {
        "too few users to tell: 0, expected 20"
    }


def test_days_off_are_no_wait(judge: Judge, tmp_path: Path) -> None:
    """A service that rests at weekends has no clicks then. The wait is for the newest day with answers."""
    for back in range(3):
        shutil.rmtree(tmp_path / "served" / f"date={JUDGED - timedelta(days=back)}")
        shutil.rmtree(tmp_path / "served" / f"date={JUDGED + timedelta(days=1 + back)}", ignore_errors=True)
    assert "wait for clicks" not in [alarm.figure for alarm in judge().alarms]


def test_clicks_that_stop(judge: Judge, tmp_path: Path) -> None:
    """Without clicks of the newest days their outcomes are unknown, which is an alarm too."""
    lines = (tmp_path / "clicks.csv").read_text().splitlines()
    early = (datetime(JUDGED.year, JUDGED.month, JUDGED.day) - timedelta(days=4)).replace(tzinfo=UTC).timestamp()
    kept_lines = [line for line in lines[1:] if float(line.rpartition(",")[2]) < early]
    (tmp_path / "clicks.csv").write_text("\n".join([lines[0], *kept_lines]))
    assert [(alarm.figure, alarm.action) for alarm in judge().alarms] == [("wait for clicks", "ask who owns the data")]


@pytest.mark.parametrize("all_days", [True, False])
def test_a_bundle_of_drawn_negatives(
    all_days: bool, judge: Judge, registry: Registry, steady: World, tmp_path: Path
) -> None:
    """A bundle's calibration is not judged, other figures are. A calibrated one after it may promise fewer clicks."""
    bundle = copied(steady.bundles[0], tmp_path / "drawn")
    facts = read_json(bundle / FACTS)
    write_json(bundle / FACTS, facts | {"negatives_drawn": True})
    seal(bundle)
    version = registry.put_bundle(bundle)
    for path in (tmp_path / "served").glob("*/*/*.parquet"):
        is_judged = path.parents[1].name == f"date={JUDGED}"
        rows = pq.ParquetFile(path).read().to_pylist()
        if all_days or not is_judged:
            rows = [row | {"version": version} for row in rows]
        if all_days == is_judged:  # the drawn bundle promises more today, or did so before today
            rows = [row | {"probabilities": [p**0.3 for p in row["probabilities"]]} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    watched = judge()
    (calibration,) = (check for check in watched.checks if check.figure == "calibration")
    assert (calibration.problem == NOT_CALIBRATED) == all_days
    assert {base_name(alarm.figure) for alarm in watched.alarms} == (PREDICTIONS if all_days else set())


def test_a_bundle_whose_facts_say_nothing_of_negatives(
    judge: Judge, registry: Registry, steady: World, tmp_path: Path
) -> None:
    """A day that a bundle of an earlier release answered stops no command."""
    bundle = copied(steady.bundles[0], tmp_path / "earlier")
    facts = read_json(bundle / FACTS)
    del facts["negatives_drawn"]
    write_json(bundle / FACTS, facts)
    seal(bundle)
    version = registry.put_bundle(bundle)
    for path in (tmp_path / "served").glob(f"date={JUDGED - timedelta(days=1)}/*/*.parquet"):
        rows = [row | {"version": version} for row in pq.ParquetFile(path).read().to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    assert judge().alarms == []


def test_clicks_of_some_users_that_are_lost() -> None:
    """Where every fifth user loses all clicks, CTR moves as on other days, and the users without clicks do not."""
    random = np.random.default_rng(0)
    days = []
    for number in range(29):
        users = np.repeat(np.arange(300), 5)
        labels = (random.random(len(users)) < random.normal(0.4, 0.04)).astype(float)
        if number == 28:
            labels[users % 5 == 0] = 0
        days.append(Outcome(FIRST_DAY + timedelta(days=number), "v", labels, np.full(len(users), 0.4), users))
    p = {name: judge_figure(name, figure).p or 0 for name, figure in figures(days, ()).items()}
    assert p["users without clicks"] < 1e-5 < p["CTR"]
    assert p["users who clicked on everything"] > 0.1
    days[-1] = replace(days[-1], labels=np.zeros(len(days[-1].labels)))
    with warnings.catch_warnings(action="error"):  # of logarithms, for example
        assert judge_figure("CTR", figures(days, ())["CTR"]).p == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("clicked", "order", "outside"),
    [(1.0, 1, set()), (0.3, 1, {"CTR", "calibration"}), (1.0, -1, {"AUC"})],
)
def test_what_the_test_rows_promised(clicked: float, order: int, outside: set[str], steady: World) -> None:
    """The first day of a bundle shows that most clicks are lost, or that it ranks the wrong way round."""
    version = steady.registry.history()[0].version
    facts = steady.registry.facts(version)
    test = facts.evaluation.test.model_copy(update={"rows": 2_000, "ctr": 0.25, "auc": 0.7, "calibration_ratio": 1.0})
    facts = facts.model_copy(update={"evaluation": facts.evaluation.model_copy(update={"test": test})})
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(400), 10)
    spread = 0.5
    scores = np.clip(0.25 * (1 + spread * rng.choice([-1, 1], len(users))), 0.001, 0.999)
    labels = (rng.random(len(users)) < clicked * np.clip(0.25 + order * (scores - 0.25), 0, 1)).astype(float)
    checks = since_promotion([Outcome(NEW_YEAR.date(), version, labels, scores, users)], facts)
    assert {check.figure.partition(" ")[0] for check in checks if check.is_outside} == outside


def test_an_older_bundle_that_still_answers(judge: Judge, tmp_path: Path) -> None:
    """Where another bundle gives every second answer all day long, this is named."""
    for path in (tmp_path / "served").glob(f"date={JUDGED}/*/*.parquet"):
        rows = pq.ParquetFile(path).read().to_pylist()
        rows = [row | {"version": "0" * 64} if at % 2 else row for at, row in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    alarms = {alarm.figure: alarm for alarm in judge().alarms}
    assert "canary" in alarms["hours of several versions"].why


@pytest.mark.parametrize(("count", "share"), [(1, 0.0), (3, 1.0)])
def test_repeated_scores(count: int, share: float, steady: World, tmp_path: Path) -> None:
    """A request repeats a score if another one has the same."""
    folder = logged(tmp_path, steady.registry.history()[0].version, [REQUEST] * count)
    figures = traffic.figures(traffic.read(folder, NEW_YEAR, 1000), (), steady.registry)
    assert figures["repeated scores"].values[-1] == share


@pytest.mark.parametrize(("lost", "share"), [(0, 0.0), (1, 1.0)])
def test_broken_histories(lost: int, share: float, steady: World, tmp_path: Path) -> None:
    """A history goes on from the user's request before, unless it lacks the newest behaviour of that one."""
    behaviours = [{"item_id": number, "timestamp": number} for number in range(9)]
    histories = [behaviours[:5], behaviours[: 5 - lost]]
    requests = [REQUEST | {"user": {"user_id": 1}, "history": history} for history in histories]
    folder = logged(tmp_path, steady.registry.history()[0].version, requests)
    figures = traffic.figures(traffic.read(folder, NEW_YEAR, 1000), (), steady.registry)
    assert figures["broken histories"].values[-1] == share


def test_new_items_without_their_fields(steady: World, tmp_path: Path) -> None:
    """Nobody fills a field that a new item is sent without; an item of the bundle's table has it there."""
    version = steady.registry.history()[0].version
    known = Scorer.open(steady.bundles[0]).example()["candidates"][0]
    folder = logged(tmp_path, version, [REQUEST | {"candidates": [known, {"item_id": "new"}]}])
    figures = traffic.figures(traffic.read(folder, NEW_YEAR, 1000), (), steady.registry)
    empty = [figure.values[-1] for name, figure in figures.items() if name.startswith("empty candidates.")]
    assert set(empty) == {0.5}


def test_clicks_that_cannot_be_read(judge: Judge, tmp_path: Path) -> None:
    """All else is judged, and then the command says what is wrong with the clicks."""
    (tmp_path / "clicks.csv").write_text("user_id,timestamp\n1,2\n")
    judged = judge()
    assert {check.figure for check in judged.checks} >= {"requests", "scores"}
    with pytest.raises(InputError, match="expected item_id and request_id"):
        judged.check()


def test_a_store_of_clicks_that_does_not_answer(judge: Judge, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else is judged, and then the command is worth a retry."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/down/clicks.csv", (log / "clicks.csv").read_bytes())

    def fail(*_: object, **__: object) -> None:
        raise ConnectionResetError("peer went away")

    monkeypatch.setattr(type(memory), "open", fail)
    with pytest.raises(Unavailable, match="peer went away"):
        judge(clicks="memory://down/clicks.csv").check()


def test_metrics_that_cannot_be_written(judge: Judge, registry: Registry, tmp_path: Path) -> None:
    """Alarms are kept and told all the same."""
    judged = judge(lambda request: request | {"history": []}, metrics=tmp_path / "none" / "din.prom")
    assert "expected a file in a folder that can be written" in str(judged.problems[0])
    with pytest.raises(GateClosed):
        judged.check()
    assert kept(registry.objects)


def test_missing_values_are_unknown(judge: Judge) -> None:
    """A bundle has a row for missing values, which makes neither them nor empty lists known values."""
    users = cycle([{}, {"user_id": []}])
    observed = {check.figure: check.observed for check in judge(lambda request: request | {"user": next(users)}).checks}
    assert observed["unknown user.user_id"] == 1


def test_an_old_champion(judge: Judge, registry: Registry, steady: World) -> None:
    """The champion's age raises an alarm of its own, which states the age in days since the first promotion."""
    registry.append(registry.put_bundle(steady.bundles[1]), registry.champion(), by="ann", reason="test")
    registry.rollback(1, "ann", "test")
    promoted = datetime.fromisoformat(registry.history()[0].at).replace(tzinfo=None)
    age = (datetime(JUDGED.year, JUDGED.month, JUDGED.day) + timedelta(days=1) - promoted) / timedelta(days=1)
    (alarm,) = judge(max_age=timedelta(days=age - 1)).alarms
    assert (alarm.figure, alarm.action, alarm.observed) == ("age of the champion", "retrain", age)


@pytest.mark.parametrize(
    ("figure", "alarming", "is_new", "action"),
    [
        ("unknown user.user_id", {"unknown user.user_id"}, False, "retrain"),
        ("unknown user.user_id", {"unknown user.user_id"}, True, "ask who owns the data"),
        ("AUC", {"AUC", "scores"}, True, "roll back"),
        ("AUC", {"AUC"}, False, "retrain"),
        ("AUC", {"AUC", "history"}, True, "ask who owns the data"),
        ("AUC", {"AUC", "unknown candidates.item_id"}, False, "retrain"),
        ("calibration", {"calibration"}, False, "recalibrate"),
        ("wait for clicks", {"wait for clicks"}, False, "ask who owns the data"),
        ("calibration", {"calibration", "CTR"}, True, "ask who owns the data"),
        ("AUC", {"AUC", "users without clicks"}, False, "ask who owns the data"),
        ("users without clicks", {"users without clicks"}, True, "ask who owns the data"),
        ("calibration", {"calibration", "CTR", "scores"}, True, "roll back"),
        ("calibration", {"calibration", "scores"}, False, "ask who owns the data"),
        ("scores", {"scores"}, True, "roll back"),
        ("CTR", {"CTR"}, True, "ask who owns the data"),
        ("context.tab", {"context.tab", "AUC"}, True, "ask who owns the data"),
        ("AUC", {"AUC", "repeated scores"}, False, "ask who owns the data"),
        ("AUC over weeks", {"AUC over weeks"}, False, "retrain"),
        ("AUC", {"AUC", "clicks by category"}, False, "retrain"),
        ("repeated scores", {"repeated scores", "AUC"}, True, "roll back"),
        ("empty candidates.category", {"empty candidates.category"}, False, "ask who owns the data"),
        ("hours of several versions", {"hours of several versions"}, True, "ask who owns the data"),
    ],
)
def test_what_to_do(figure: str, alarming: set[str], is_new: bool, action: str) -> None:
    """The action follows from what else has changed."""
    assert advise(figure, alarming, is_new, observed=0.5).action == action


def test_many_figures_that_change() -> None:
    """The reason stays a line that the registry keeps, and says how many figures it leaves out."""
    sent = {f"context.{number:0>200}" for number in range(60)}
    why = advise("AUC", {"AUC"} | sent, is_new=False).why
    assert len(why) <= 1000 and why.endswith(", and 56 more")


def test_a_user_whose_clicks_differ() -> None:
    """The alarm names no person, since the registry keeps it and notifications pass it on."""
    reasons = {value: advise("clicks by user_id", set(), False, 5.0, value).why for value in ("u7", "other values")}
    assert reasons["u7"].startswith("one user has 5 times its usual share")
    assert reasons["other values"].startswith("user_id 'other values' has")


def test_values_in_another_form() -> None:
    """A client that writes ids otherwise does not make the champion old."""
    figure = "unknown candidates.item_id"
    assert advise(figure, {figure}, is_new=False, observed=0.95).action == "ask who owns the data"


def test_no_log(steady: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which days were looked for, and the command ends with exit code 2."""
    with pytest.raises(InputError, match=r"no answers from 2025-12-03 00:00 to 2026-01-01 00:00 UTC; expected the"):
        options = {"end": datetime(2026, 1, 1), "most": 1, "max_age": timedelta(days=7)}
        watch(Workspace(tmp_path), tmp_path, None, steady.registry, **options)
    monkeypatch.chdir(tmp_path)
    place = ["--registry", steady.registry.uri, "--model", steady.registry.model_name]
    done = CliRunner().invoke(cli.app, ["watch", *place])
    assert done.exit_code == 2
    assert "LOG: missing; expected the folder of `din serve --log`" in done.output
    assert CliRunner().invoke(cli.app, ["watch", "served", *place]).exit_code == 2
    early = CliRunner().invoke(cli.app, ["watch", "served", "--until", "9999-12-31", *place])
    assert (early.exit_code, "the day is not over (UTC); expected 20" in early.output) == (2, True)


@settings(max_examples=settings.default.max_examples // 5)
@given(
    st.lists(st.tuples(REQUESTS, st.lists(UNREAD, max_size=4), ANY), min_size=5, max_size=20),
    st.lists(ANY, max_size=4),
)
def test_whatever_the_server_accepts(
    steady: World,
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[Request, list[Any], Any]],
    tags: list[Any],
) -> None:
    """Each request that the server accepts can be watched, and only fields of the bundle name figures."""
    scorer = Scorer.open(steady.bundles[0])
    read = [{"item_id": "i3", "timestamp": 1}] * (scorer.max_history - 1)
    requests = [
        request | {"history": [*unread, *read, {"item_id": "i4", "timestamp": time}]} for request, unread, time in drawn
    ]
    requests += [{"candidates": [{"tags": [*range(first, first + 20), *tags]}]} for first in range(0, 120, 20)]
    requests += [{"candidates": [{"tags": [*range(101), *tags]}]}, {"candidates": ["i3"]}]
    answered = []
    for request in requests:
        with suppress(InputError):
            scorer.score(request)
            answered.append(request)
    folder = logged(tmp_path_factory.mktemp("served"), scorer.version, answered)
    figures = traffic.figures(traffic.read(folder, NEW_YEAR, 1000), (), steady.registry)
    fields = {field.name for field in scorer.fields} | {"item_id", "user_id"}
    assert {name.partition(".")[2] for name in figures if "." in name} <= fields
    for name, figure in figures.items():
        judge_figure(name, figure)


def test_long_lists(steady: World, tmp_path: Path) -> None:
    """A vector or another long list is present or missing, and no unknown value. Values of short lists are compared."""
    random = np.random.default_rng(0)
    candidates: list[Request] = [
        {"item_id": "i3", "embedding": random.normal(size=128).tolist(), "tags": ["t0", "never"]} for _ in range(9)
    ]
    candidates += [{"item_id": "i4", "tags": ["t0"] * 100}]
    folder = logged(tmp_path, steady.registry.history()[0].version, [{"candidates": candidates}])
    days = traffic.read(folder, NEW_YEAR, 1000)
    (row,) = days[-1].rows
    entries = row["request"]["candidates"]
    assert len({entry.get("embedding") for entry in entries}) == 2
    assert [entry["tags"] for entry in entries[:-1]] == [["t0", "never"]] * 9
    assert traffic.figures(days, (), steady.registry)["unknown candidates.tags"].values[-1] == 0.5


def test_numbers_are_no_unknown_values(steady: World, tmp_path: Path) -> None:
    """Only fields with a vocabulary have values that a bundle may not know: no numbers, bucketed or not."""
    folder = logged(tmp_path, steady.registry.history()[0].version, [REQUEST])
    figures = traffic.figures(traffic.read(folder, NEW_YEAR, 1000), (), steady.registry)
    assert {"user.age", "context.hour", "candidates.price"} <= figures.keys()
    unknown = {name.partition(".")[2] for name in figures if name.startswith("unknown ")}
    assert unknown == {"user_id", "likes", "item_id", "rating", "moods", "tab", "marks"}
