"""The task that undoes a harmful step of the champion: its rules, its commands in a workspace, and a real run."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput
from bundles import bundle, crown
from daily_log import FIRST, DailyLog, days
from local_airflow import Airflow
from typing_extensions import override
from workers import World

from dags import din_pipeline, workspace
from dags.worker import Worker
from din.artifacts import hash_files, write_json
from din.errors import GateClosed
from din.params import Params
from din.registry.registry import Registry

RUN = {"run_id": "r", "commit": "c", "until": "2026-01-01", "params": {}, "source": "s"}
HARM = {"record": 2, "back_to": 1, "reason": "record 2 harmed"}


class Task:
    """The task in a run that is open, with what it asked Airflow, what it did, and its XComs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, on_harm: str | None, gate: int | None = 3) -> None:
        self.operator: Any = din_pipeline.din_ctr.get_task("roll_back")
        self.asked: list[dict[str, Any]] = []
        self.done: list[str] = []
        self.pushed: dict[str, Any] = {}
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: self.asked.append(detail))
        actions: Any = {
            "harm": lambda: HARM | {"on_harm": on_harm} if on_harm else None,
            "roll_back": lambda by: self.done.append(by),
        }
        monkeypatch.setattr(workspace, "ask", lambda run, action, **given: actions[action](**given))
        monkeypatch.setattr(workspace, "promote", self._promote)
        pulled = {"open_run": RUN, "gate": gate and {"exit_code": gate}}
        ti = SimpleNamespace(
            id="i", xcom_pull=lambda task_ids, **_: pulled[task_ids], xcom_push=self.pushed.__setitem__
        )
        self.context = {"ti": ti, "task_instance": ti}

    def _promote(self, run: workspace.Run, reason: str) -> workspace.Outcome:
        self.done.append("promote")
        return workspace.Outcome("promote", 0, None, "")

    def complete(self, option: str) -> Any:
        """Resume the task as Airflow does after a person's answer."""
        user = {"id": "7", "name": "ann"}
        now = datetime.now(UTC)
        event = {"chosen_options": [option], "params_input": {}, "responded_at": now, "responded_by_user": user}
        return self.operator.execute_complete(self.context, event)


@pytest.mark.parametrize(("gate", "on_harm"), [(None, "rollback"), (1, "rollback"), (2, "rollback"), (3, None)])
def test_another_failure_skips_the_task(gate: int | None, on_harm: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a closed gate can have found harm, and most closed gates have not."""
    task = Task(monkeypatch, on_harm, gate)
    with pytest.raises(AirflowSkipException):
        task.operator.execute(task.context)
    assert task.done == [] == task.asked


def test_with_rollback_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`din promote` judges again and appends the record."""
    task = Task(monkeypatch, "rollback")
    task.operator.execute(task.context)
    assert task.done == ["promote"] and task.asked == []
    assert task.pushed["outcome"]["exit_code"] == 0


def test_with_ask_a_person_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form says what harmed; a yes rolls back in the user's name, a no or silence fails the task."""
    task = Task(monkeypatch, "ask")
    with pytest.raises(TaskAwaitingInput):
        task.operator.execute(task.context)
    assert "record 2 harmed. Shall record 1 be the champion again?" in task.asked[0]["body"]
    with pytest.raises(AirflowFailException):
        task.complete("Keep the champion")
    with pytest.raises(AirflowFailException):
        task.operator.execute_complete(task.context, {"error": "timed out", "error_type": "timeout"})
    assert task.done == []
    task.complete("Roll back")
    assert task.done == ["ann"]


@pytest.mark.timeout(900)
def test_a_run_goes_back_once(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the gate's report in the run's record, with the real registry; a retry appends nothing."""
    world = World(tmp_path_factory.mktemp("world"), params)
    worker = world.worker("here")
    registry = Registry(str(world.registry), "table")
    before, _ = (crown(registry, bundle(tmp_path / name, name)) for name in ("good", "harmful"))
    crown(Registry(str(world.registry), "another"), tmp_path / "good")
    monkeypatch.setenv("DIN_REPOSITORY", str(worker.checkout))
    monkeypatch.setenv("DIN_REGISTRY", str(world.registry))
    monkeypatch.setenv("DIN_DVC_REMOTE", str(world.root / "remote"))
    run = workspace.Run("nightly", world.commit, "2024-01-18", {}, "")
    about = {"model_name": "table", "params": {"promote": {"on_harm": "ask"}}}
    report: dict[str, Any] = {"bundle": "b" * 64, "about": about}
    path = world.record("nightly") / "reports" / "gate.json"
    path.parent.mkdir(parents=True)
    write_json(path, report)
    assert workspace.ask(run, "harm") is None
    path.write_text(json.dumps(report | {"harm": HARM}))
    assert workspace.ask(run, "harm") == HARM | {"on_harm": "ask"}
    for _ in range(2):
        workspace.ask(run, "roll_back", by="ann")
    record = registry.history()[-1]
    assert (record.number, record.action, record.version) == (3, "rollback", before.version)
    assert (record.by, record.reason) == ("ann", "record 2 harmed")
    path.write_text(json.dumps(report | {"harm": HARM | {"record": 1, "back_to": 2}}))
    with pytest.raises(GateClosed):
        workspace.ask(run, "roll_back", by="ann")
    assert len(registry.history()) == 3


class Day(Worker):
    """A worker whose stages end with given codes, and whose gate found a given harm."""

    def __init__(self, gate: int, on_harm: str | None) -> None:
        self.stages: Any = {"export": None, "gate": None}
        self.codes = {"export": 0, "gate": gate}
        self.found = {"about": {"params": {"promote": {"on_harm": on_harm}}}} | ({"harm": HARM} if on_harm else {})

    @override
    def _stage(self, stage: str, ended: Mapping[str, Any]) -> workspace.Outcome:
        return workspace.Outcome(stage, self.codes[stage], None, "")

    @override
    def promote(self, reason: str) -> workspace.Outcome:
        return workspace.Outcome("promote", 0, None, "")

    @override
    def judgement(self) -> dict[str, Any]:
        return self.found

    @override
    def take_locks(self) -> dict[str, Any]:
        return {}

    @override
    def locked(self) -> dict[str, Any]:
        return {}

    @override
    def push(self, stages: Sequence[str]) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "on_harm", "promotes"), [(0, None, True), (3, "rollback", True), (3, "ask", False), (3, None, False)]
)
def test_a_day_in_one_task_undoes_harm_too(code: int, on_harm: str | None, promotes: bool) -> None:
    """After a closed gate, only harm that `din promote` may undo is a reason to call it."""
    ended = [outcome.stage for outcome in Day(code, on_harm).all("nightly")]
    assert ended == ["export", "gate", *(["promote"] if promotes else [])]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_harmful_champion_is_undone_the_next_day(tmp_path_factory: pytest.TempPathFactory) -> None:
    """If a champion whose items are exchanged gets into the registry, Airflow goes back by itself."""
    log = DailyLog(tmp_path_factory.mktemp("log"), 10)
    for day in (dates := days(FIRST, 10)):
        log.land(day)
    daily = {"featurize.protocol": "temporal", "featurize.test_days": 1, "train.start": "champion"}
    airflow = Airflow(tmp_path_factory.mktemp("home"), log.repository(tmp_path_factory.mktemp("it"), daily).root)
    airflow.prepare()

    def run(day: date, **overrides: object) -> int:
        conf = json.dumps({"until": str(day), "overrides": overrides})
        return airflow.run("dags", "test", "din_ctr", "--conf", conf).returncode

    assert run(dates[-2]) == 0
    registry = Registry(str(airflow.repository / "registry"), "table")
    (first,) = registry.history()
    spoiled = registry.fetch(first.version, tmp_path_factory.mktemp("spoiled") / "bundle")
    items = pq.read_table(spoiled / "items.parquet")
    exchanged = items["value"].take([0, *range(len(items) - 1, 0, -1)])
    at = items.schema.get_field_index("value")
    pq.write_table(items.set_column(at, items.schema.field(at), exchanged), spoiled / "items.parquet")
    (spoiled / "manifest.json").unlink()
    write_json(spoiled / "manifest.json", {"files": hash_files(spoiled)})
    crown(registry, spoiled)
    assert run(dates[-1], **{"promote.on_harm": "rollback", "gate.margin": 0.02}) != 0
    back = registry.history()[2]
    assert (back.action, back.version) == ("rollback", first.version)
    assert f"record 2 against record 1, which it replaced, on {dates[-1]}: AUC -0." in back.reason
    ((run_id,),) = airflow.rows("select run_id from dag_run where state = 'failed'")
    states = airflow.states(run_id)
    assert [states[name] for name in ("gate", "approval", "promote", "roll_back", "close_run")] == [
        "failed", "upstream_failed", "upstream_failed", "success", "success",
    ]  # fmt: skip
    assert airflow.rows("select source_task_id from asset_event order by id") == [("promote",), ("roll_back",)]
