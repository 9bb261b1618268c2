"""The tasks `approval`, which asks a person, and `roll_back`: their rules, their actions on a worker, and real runs."""

import json
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput
from daily_log import FIRST, DailyLog, days
from local_airflow import BIN, Airflow, stop, wait_for
from workspace import Workspace  # tests/pipeline

from dags import din_pipeline, workspace
from din.artifacts import hash_files, write_json
from din.registry.registry import Registry
from tests.factories.bundles import crown

RUN = {"run_id": "r", "commit": "c", "until": "2026-01-01", "params": {}, "source": "s"}
SOON = datetime.now(UTC) + timedelta(days=3)
REQUEST = {
    "number": 2,
    "version": "ab" * 32,
    "gates": [{"name": "champion_delta", "reason": "the interval contains the threshold"}],
    "expires": SOON.isoformat(timespec="seconds"),
}
TIMEOUT = {"error": "The timeout has passed", "error_type": "timeout"}


class Task:
    """A task in a run that is open, with what it asked Airflow, what it did in the registry, and its XComs."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, gate: int | None = 3, **found: Any) -> None:
        self.operator: Any = din_pipeline.din_ctr.get_task(name)
        self.asked: list[dict[str, Any]] = []
        self.done: list[Any] = []
        self.pushed: dict[str, Any] = {}
        actions: dict[str, Callable[..., Any]] = {
            "request": lambda: REQUEST | {"state": found["state"]} if found["state"] else None,
            "answer": lambda approved, by, reason: self.done.append((approved, by, reason)),
            "undoes_harm": lambda: found["undone"],
        }
        monkeypatch.setattr(type(self.operator), "test_mode", True, raising=False)
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: self.asked.append(detail))
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

    def execute(self) -> Any:
        """Start the task."""
        return self.operator.execute(self.context)

    def call(self) -> None:
        """Call the function of a task."""
        self.operator.python_callable(ti=self.context["ti"])

    def complete(self, option: str, **inputs: str) -> Any:
        """Resume the task as Airflow does after a person's answer."""
        user = {"id": "7", "name": "ann"}
        event = {"chosen_options": [option], "params_input": inputs, "responded_at": SOON, "responded_by_user": user}
        return self.operator.execute_complete(self.context, event)


@pytest.mark.parametrize("state", [None, "approved", "rejected", "expired", "outdated"])
def test_a_candidate_that_does_not_wait_passes_at_once(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    """Nobody is asked; `promote` judges the answer, if there is one."""
    task = Task("approval", monkeypatch, state=state)
    assert task.execute() is None
    assert task.asked == []


def test_a_waiting_candidate_asks_until_its_request_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form shows the gates with their reasons, and the task parks without a default answer."""
    task = Task("approval", monkeypatch, state="waiting")
    with pytest.raises(TaskAwaitingInput) as parked:
        task.execute()
    (detail,) = task.asked
    assert detail["options"] == ["Approve", "Reject"] and detail["defaults"] is None
    assert "champion_delta: the interval contains the threshold" in detail["body"]
    assert set(detail["params"]) == {"reason"}
    assert abs(parked.value.timeout - (SOON - datetime.now(UTC))) < timedelta(minutes=5)


def test_the_answer_is_that_of_the_airflow_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval lets the run go on; a rejection is stored first and then fails the task without a retry."""
    task = Task("approval", monkeypatch, state="waiting")
    task.complete("Approve", reason="looked at the slices")
    with pytest.raises(AirflowFailException):
        task.complete("Reject")
    assert task.done == [(True, "ann", "looked at the slices"), (False, "ann", "answered in Airflow")]
    assert task.pushed["outcome"]["exit_code"] == 3 and task.pushed["outcome"]["table"] == "ann: Reject"


@pytest.mark.parametrize("state", ["approved", "expired", "waiting", None])
def test_no_answer_in_time_is_a_rejection(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    """Unless somebody approved on the command line in the meantime."""
    task = Task("approval", monkeypatch, state=state)
    if state == "approved":
        assert task.operator.execute_complete(task.context, TIMEOUT) is None
        return
    with pytest.raises(AirflowFailException):
        task.operator.execute_complete(task.context, TIMEOUT)
    assert task.pushed["outcome"]["table"] == "nobody answered in time"


@pytest.mark.parametrize(("gate", "undone"), [(None, True), (1, True), (2, True), (3, False)])
def test_another_failure_skips_the_task(gate: int | None, undone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a closed gate can have found harm, and most closed gates have not."""
    task = Task("roll_back", monkeypatch, gate, undone=undone)
    with pytest.raises(AirflowSkipException):
        task.call()
    assert task.done == []


def test_harm_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`din promote` judges again and appends the record."""
    task = Task("roll_back", monkeypatch, undone=True)
    task.call()
    assert task.done == ["promote"] and task.pushed["outcome"]["exit_code"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_waits_and_promotes_what_its_user_approved(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A run with `gate.approval: always` parks, and after the answer through the API the record names the user."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    airflow = Airflow(
        tmp_path_factory.mktemp("home"),
        Workspace(tmp_path_factory.mktemp("repository")).root,
        AIRFLOW__API__HOST="127.0.0.1",
        AIRFLOW__API__PORT=port,
        AIRFLOW__API__WORKERS="1",
        AIRFLOW__API__BASE_URL=f"http://127.0.0.1:{port}",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
    )
    airflow.prepare()
    assert airflow.run("dags", "reserialize").returncode == 0
    server = airflow.start("api-server")
    conf = json.dumps({"overrides": {"gate.approval": "always"}})
    run = subprocess.Popen(
        [str(BIN / "airflow"), "dags", "test", "din_ctr", "--conf", conf],
        cwd=airflow.home,
        env=airflow.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        parked = "select run_id from task_instance where task_id = 'approval' and state = 'awaiting_input'"
        wait_for(lambda: run.poll() is not None or airflow.rows(parked), minutes=20)
        assert run.poll() is None, run.communicate()[0]
        ((run_id,),) = airflow.rows(parked)
        place = f"/dags/din_ctr/dagRuns/{run_id}/taskInstances/approval/-1/hitlDetails"
        asked = airflow.call("GET", place)
        assert "all gates are open" in asked["body"]
        answer = {"chosen_options": ["Approve"], "params_input": {"reason": "looked at the slices"}}
        airflow.call("PATCH", place, answer)
        told = run.communicate(timeout=600)[0]
        assert run.returncode == 0, told
    finally:
        stop(run)
        stop(server)
    registry = airflow.repository / "registry" / "simulate"
    (record,) = [json.loads(path.read_text()) for path in (registry / "promotions").iterdir()]
    (stored,) = [json.loads(path.read_text()) for path in (registry / "approvals").rglob("answer.json")]
    assert record["approval"]["by"] == stored["by"] and stored["reason"] == "looked at the slices"
    states = airflow.states(run_id)
    assert states.pop("roll_back") == "skipped" and set(states.values()) == {"success"}


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
