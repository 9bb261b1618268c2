"""The task that asks a person: its own rules, and a run that waits for an answer through Airflow's API."""

import json
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from local_airflow import BIN, Airflow, stop, wait_for
from workspace import Workspace  # tests/pipeline

from dags import din_pipeline, workspace
from din.errors import GateClosed

RUN = {"run_id": "r", "commit": "c", "until": "2026-01-01", "params": {}, "source": "s"}
SOON = datetime.now(UTC) + timedelta(days=3)
REQUEST = {
    "number": 2,
    "version": "ab" * 32,
    "state": "waiting",
    "gates": [{"name": "champion_delta", "reason": "the interval contains the threshold"}],
    "expires": SOON.isoformat(timespec="seconds"),
}


class Task:
    """The task in a run that is open, with what it asked Airflow, what it answered the registry, and its XComs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
        self.operator: Any = din_pipeline.din_ctr.get_task("approval")
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[bool, str, str]] = []
        self.pushed: dict[str, Any] = {}
        self.state = state
        self.closed = False
        monkeypatch.setattr(type(self.operator), "test_mode", True, raising=False)
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: self.asked.append(detail))
        monkeypatch.setattr(workspace, "ask", lambda run, action, **given: getattr(self, action)(**given))
        ti = SimpleNamespace(id="i", xcom_pull=lambda **key: RUN, xcom_push=self.pushed.__setitem__)
        self.context = {"ti": ti, "task_instance": ti}

    def request(self) -> dict[str, Any] | None:
        return REQUEST | {"state": self.state} if self.state else None

    def answer(self, approved: bool, by: str, reason: str) -> None:
        if self.closed:
            raise GateClosed("bob rejected this candidate")
        self.answers.append((approved, by, reason))

    def complete(self, option: str, **inputs: str) -> Any:
        """Resume the task as Airflow does after a person's answer."""
        user = {"id": "7", "name": "ann"}
        event = {"chosen_options": [option], "params_input": inputs, "responded_at": SOON, "responded_by_user": user}
        return self.operator.execute_complete(self.context, event)


@pytest.mark.parametrize("state", [None, "approved", "rejected", "expired", "outdated"])
def test_a_candidate_that_does_not_wait_passes_at_once(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    """Nobody is asked; `promote` judges the answer, if there is one."""
    task = Task(monkeypatch, state)
    assert task.operator.execute(task.context) is None
    assert task.asked == []


def test_a_waiting_candidate_asks_until_its_request_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form shows the gates with their reasons, and the task parks without a default answer."""
    task = Task(monkeypatch, "waiting")
    with pytest.raises(TaskAwaitingInput) as parked:
        task.operator.execute(task.context)
    (detail,) = task.asked
    assert detail["options"] == ["Approve", "Reject"] and detail["defaults"] is None
    assert "champion_delta: the interval contains the threshold" in detail["body"]
    assert set(detail["params"]) == {"reason"}
    assert abs(parked.value.timeout - (SOON - datetime.now(UTC))) < timedelta(minutes=5)


def test_the_answer_is_that_of_the_airflow_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval lets the run go on; a rejection is stored first and then fails the task without a retry."""
    task = Task(monkeypatch, "waiting")
    task.complete("Approve", reason="looked at the slices")
    with pytest.raises(AirflowFailException):
        task.complete("Reject")
    assert task.answers == [(True, "ann", "looked at the slices"), (False, "ann", "answered in Airflow")]
    assert task.pushed["outcome"]["exit_code"] == 3 and task.pushed["outcome"]["table"] == "rejected by ann"


def test_an_answer_that_comes_second_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's first answer counts, so a retry would end the same way."""
    task = Task(monkeypatch, "rejected")
    task.closed = True
    with pytest.raises(AirflowFailException, match="bob rejected"):
        task.complete("Approve")


@pytest.mark.parametrize("state", ["approved", "expired", "waiting", None])
def test_no_answer_in_time_is_a_rejection(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    """Unless somebody approved on the command line in the meantime."""
    task = Task(monkeypatch, state)
    event = {"error": "The timeout has passed", "error_type": "timeout"}
    if state == "approved":
        assert task.operator.execute_complete(task.context, event) is None
        return
    with pytest.raises(AirflowFailException):
        task.operator.execute_complete(task.context, event)
    assert task.pushed["outcome"]["table"] == "nobody answered in time"


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
