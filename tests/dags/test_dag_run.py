"""`airflow dags test` on a small simulated log, with real stages.

This runs Airflow's own loop without a scheduler; test_scheduler.py has one.
"""

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from local_airflow import Airflow
from workspace import Workspace  # tests/pipeline

from dags import airflow_dag, workspace
from din.errors import InputError, Unavailable
from din.names import RunId
from din.registry.records import run_key


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Return an Airflow on a repository of the tracked files, with small parameters."""
    airflow = Airflow(tmp_path_factory.mktemp("home"), Workspace(tmp_path_factory.mktemp("repository")).root)
    airflow.prepare()
    return airflow


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_promotes_and_cleans_up(airflow: Airflow) -> None:
    """No task fails, the registry has one record, only `promote` emits the asset, and no workspace is left."""
    done = airflow.run("dags", "test", "din_ctr")
    assert done.returncode == 0, done.stdout + done.stderr
    ((run_id, state),) = airflow.rows("select run_id, state from dag_run")
    assert state == "success"
    states = airflow.states(run_id)
    assert states.pop("roll_back") == "skipped" and set(states.values()) == {"success"}
    registry = airflow.repository / "registry" / "simulate"
    (record,) = [json.loads(path.read_text()) for path in (registry / "promotions").iterdir()]
    assert (record["action"], record["run_id"], record["reason"]) == ("promote", RunId.of(run_id), "gate open")
    emitted = airflow.rows("select e.source_task_id, a.name from asset_event e join asset a on a.id = e.asset_id")
    assert emitted == [("promote", "din/champion")]
    kept = {path.relative_to(registry / run_key(run_id)).as_posix() for path in (registry / run_key(run_id)).rglob("*")}
    assert {"dvc.lock", "params.yaml", "outcome/gate.json", "reports/gate.json"} <= kept
    assert [path for path in airflow.repository.rglob("workspaces/*") if path.is_dir()] == []


@pytest.mark.timeout(900)
def test_a_closed_gate_is_red_there_and_ends_the_run(airflow: Airflow) -> None:
    """A stage that exits 3 is not retried, says why and what to do, and fails the run although `close_run` succeeds."""
    conf = {"overrides": {"validate_raw.min_rows": 10**9}}
    done = airflow.run("dags", "test", "din_ctr", "--conf", json.dumps(conf))
    assert done.returncode != 0
    ((run_id,),) = airflow.rows("select run_id from dag_run where state = 'failed'")
    states = airflow.states(run_id)
    assert {task: state for task, state in states.items() if state != "upstream_failed"} == {
        "open_run": "success",
        "code": "success",
        "fetch": "success",
        "validate_raw": "failed",
        "roll_back": "skipped",
        "close_run": "success",
    }
    sql = "select try_number, max_tries from task_instance where run_id = ? and task_id = 'validate_raw'"
    ((tries, most),) = airflow.rows(sql, run_id)
    assert tries == 1 <= most
    ((value,),) = airflow.rows(
        "select value from xcom where run_id = ? and key = 'outcome' and task_id like 'val%'", run_id
    )
    assert '"exit_code": 3' in value
    assert "reports/validation/raw.json" in value
    assert "validate_raw failed in run" in done.stdout + done.stderr
    assert "next: nothing: the candidate is refused" in done.stdout + done.stderr
    kept = airflow.repository / "registry" / "simulate" / run_key(run_id)
    assert json.loads((kept / "outcome" / "validate_raw.json").read_text())["exit_code"] == 3
    assert json.loads((kept / "reports" / "validation" / "raw.json").read_text())["verdict"] == "closed"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_form_with_a_typo_fails_at_once(airflow: Airflow) -> None:
    """The message names the key and the valid ones, nothing runs, and nothing is retried."""
    before = airflow.rows("select run_id from dag_run")
    done = airflow.run("dags", "test", "din_ctr", "--conf", json.dumps({"overrides": {"train.learning.epoch": 1}}))
    assert done.returncode != 0
    assert "parameter 'train.learning.epoch' is unknown" in done.stdout + done.stderr
    ((run_id,),) = set(airflow.rows("select run_id from dag_run")) - set(before)
    assert airflow.states(run_id).pop("open_run") == "failed"
    assert "success" not in airflow.states(run_id).values()


class Kept:
    """The XComs of a task."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value


@pytest.mark.parametrize(
    ("code", "error"), [(2, AirflowFailException), (3, AirflowFailException), (1, None), (None, None)]
)
def test_only_bad_input_and_closed_gates_are_final(code: int | None, error: type | None) -> None:
    """Exit codes 2 and 3 fail at once, and a bug, a kill or a missing outcome is retried; the outcome is kept first."""
    ti = Kept()
    with pytest.raises(AirflowException) as raised:
        airflow_dag.settle(workspace.Outcome("train", code, "reports/x.json", "table"), ti)
    assert isinstance(raised.value, AirflowFailException) == (error is AirflowFailException)
    assert ti.values["outcome"] == {"stage": "train", "exit_code": code, "report": "reports/x.json", "table": "table"}


def test_bad_input_outside_a_stage_is_final() -> None:
    """An unknown parameter in the form, say, fails the task at once; what may pass is left to retries."""
    with pytest.raises(AirflowFailException, match=r"'train\.epoch' is unknown"), airflow_dag.final():
        raise InputError("parameter 'train.epoch' is unknown")
    with pytest.raises(Unavailable), airflow_dag.final():
        raise Unavailable("no network")


def test_success_passes_and_is_kept() -> None:
    """Exit code 0 raises nothing."""
    ti = Kept()
    airflow_dag.settle(workspace.Outcome("train", 0, None, ""), ti)
    assert ti.values["outcome"]["exit_code"] == 0
