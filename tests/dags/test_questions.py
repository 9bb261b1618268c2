"""The tasks `approval`, which asks a person, and `roll_back`: their rules, their actions on a worker, and real runs."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags import airflow_dag, din_pipeline, pinned_run
from din.base.artifacts import hash_files, write_json
from din.base.errors import Unavailable
from din.release.registry.registry import Registry
from tests.dags.daily_log import FIRST, DailyLog, days
from tests.dags.local_airflow import BIN, Airflow, api_server, stop, wait_for
from tests.factories.bundles import crown
from tests.pipeline.workspace import Workspace

RUN = {"run_id": "r", "commit": "c", "until": "2026-01-01", "params": {}, "source": "s"}
TIMEOUT = {"error": "The timeout has passed", "error_type": "timeout"}


class Asked:
    """A task of a run whose gate has ended, with what it did in the registry, and its XComs."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, gate: int | None = 0, state: str = "waiting", undone: bool = False
    ) -> None:
        self.answers: list[Any] = []
        self.pushed: dict[str, Any] = {}
        actions: dict[str, Callable[..., Any]] = {
            "request": lambda: {"state": state},
            "answer": lambda approved, by, reason: self.answers.append((approved, by, reason)),
            "undoes_harm": lambda: undone,
        }
        monkeypatch.setattr(pinned_run, "ask", lambda run, action, **given: actions[action](**given))
        pulled = {"open_run": RUN, "gate": None if gate is None else {"exit_code": gate}}
        self.ti = SimpleNamespace(xcom_pull=lambda task_ids, **_: pulled[task_ids], xcom_push=self.pushed.__setitem__)

    def answer(self, event: dict[str, Any]) -> None:
        """Resume the task `approval` as Airflow does after a person's answer."""
        task: Any = din_pipeline.din_ctr.get_task("approval")
        task.execute_complete({"ti": self.ti, "task_instance": self.ti}, event)


def test_the_answer_is_that_of_the_airflow_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval lets the run go on; a rejection is stored first and then fails the task without a retry."""
    asked = Asked(monkeypatch)
    event = {"responded_at": datetime.now(UTC), "responded_by_user": {"id": "7", "name": "ann"}}
    asked.answer(event | {"chosen_options": ["Approve"], "params_input": {"reason": "looked at the slices"}})
    with pytest.raises(AirflowFailException):
        asked.answer(event | {"chosen_options": ["Reject"], "params_input": {}})
    assert asked.answers == [(True, "ann", "looked at the slices"), (False, "ann", "answered in Airflow")]
    assert asked.pushed["outcome"]["exit_code"] == 3 and asked.pushed["outcome"]["table"] == "ann: Reject"


def test_an_answer_outlasts_an_absent_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stored once the registry is back, since Airflow forgets it with another try of the task."""
    asked = Asked(monkeypatch)
    store = pinned_run.ask
    away = [Unavailable("the registry does not answer")] * 2

    def ask(*arguments: Any, **given: Any) -> Any:
        if away:
            raise away.pop()
        return store(*arguments, **given)

    monkeypatch.setattr(pinned_run, "ask", ask)
    monkeypatch.setattr(airflow_dag, "WAITS", [0.0, 0.0])
    event = {"responded_at": datetime.now(UTC), "responded_by_user": {"id": "7", "name": "ann"}}
    asked.answer(event | {"chosen_options": ["Approve"], "params_input": {"reason": "fine"}})
    assert asked.answers == [(True, "ann", "fine")]


def test_no_answer_in_time_is_a_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody approved on the command line in the meantime."""
    Asked(monkeypatch, state="approved").answer(TIMEOUT)
    asked = Asked(monkeypatch, state="expired")
    with pytest.raises(AirflowFailException):
        asked.answer(TIMEOUT)
    assert asked.pushed["outcome"]["table"] == "nobody answered in time"


@pytest.mark.parametrize(("gate", "undone"), [(None, True), (1, True), (2, True), (3, False)])
def test_nothing_is_undone_without_harm(gate: int | None, undone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a closed gate can have found harm, and most closed gates have not."""
    task: Any = din_pipeline.din_ctr.get_task("roll_back")
    with pytest.raises(AirflowSkipException):
        task.python_callable(ti=Asked(monkeypatch, gate, undone=undone).ti)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_waits_and_promotes_what_its_user_approved(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A run with `gate.approval: always` parks, and after the answer through the API the record names the user."""
    home, repository = (tmp_path_factory.mktemp(name) for name in ("home", "repository"))
    airflow = Airflow(home, Workspace(repository).root, **api_server())
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
