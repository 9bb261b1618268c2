"""Days run by a real scheduler, most of them with a fault.

The tests tell one story in order: the scheduled run; a backfill of two days with a killed stage and a killed scheduler;
a day with a defect, corrected and run again with the next day; an old day run again; and the state at the end.
"""

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from daily_log import FIRST, DailyLog, days
from local_airflow import Airflow, stop, wait_for

from din.artifacts import sha256_file
from din.names import RunId
from din.process import environment, query
from din.registry.records import run_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
DAYS = days(FIRST, 12)
ZERO, ONE, TWO, THREE, FOUR, FIVE = DAYS[-6:]


class Story:
    """The log, an Airflow on it, and the contents of the registry."""

    def __init__(self, root: Path) -> None:
        for name in ("log", "repository", "home"):
            (root / name).mkdir()
        self.log = DailyLog(root / "log", len(DAYS))
        for day in DAYS[: DAYS.index(ONE)]:
            self.log.land(day)
        self.repository = self.log.repository(root / "repository").root
        self.registry = self.repository / "registry" / "table"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        now = datetime.now(UTC)
        self.yesterday = (now - timedelta(days=1)).date()
        self.airflow = Airflow(
            root / "home",
            self.repository,
            DIN_SCHEDULE=f"{now:%M %H} * * *",  # due when the scheduler starts, and not again in this story
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=port,
            AIRFLOW__API__WORKERS="1",
            AIRFLOW__API__BASE_URL=f"http://127.0.0.1:{port}",
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"http://127.0.0.1:{port}/execution/",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
            AIRFLOW__CORE__PARALLELISM="2",
            AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD="15",
            AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL="15",
        )
        self.airflow.prepare()
        assert self.airflow.run("dags", "reserialize").returncode == 0
        self.components = {name: self.airflow.start(name) for name in ("api-server", "dag-processor")}
        self.start_scheduler()

    def start_scheduler(self) -> None:
        """Start the scheduler without its log server, which would survive a killed scheduler."""
        self.components["scheduler"] = self.airflow.start("scheduler", "--skip-serve-logs")

    def backfill(self, first: Any, last: Any, *options: str) -> None:
        """Backfill days one after the other, since a DAG has one backfill at a time."""
        wait_for(lambda: not self.airflow.rows("select 1 from backfill where completed_at is null"))
        span = ("--from-date", str(first), "--to-date", f"{last}T23:59", "--max-active-runs", "1")
        done = self.airflow.run("backfill", "create", "--dag-id", "din_ctr", *span, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    def runs(self, day: Any) -> list[tuple[str, str]]:
        """Return id and state of all runs of a day, oldest first."""
        return self.airflow.rows("select run_id, state from dag_run where partition_key = ? order by id", str(day))

    def ended(self, day: Any, count: int = 1) -> tuple[str, str]:
        """Wait until the day's run number `count` ends, and return its id and state."""
        wait_for(lambda: [s for _, s in self.runs(day)[count - 1 : count] if s in ("success", "failed")])
        return self.runs(day)[count - 1]

    def wait_running(self, day: Any, task: str) -> str:
        """Wait until a task of the day's newest run is running, and return the run's id."""
        sql = """select r.run_id from dag_run r join task_instance t on t.run_id = r.run_id
                 where r.partition_key = ? and t.task_id = ? and t.state = 'running'"""
        wait_for(lambda: self.airflow.rows(sql, str(day), task))
        return self.airflow.rows(sql, str(day), task)[-1][0]

    def promotions(self) -> list[dict[str, Any]]:
        """Return the records of the registry."""
        return [json.loads(path.read_text()) for path in sorted((self.registry / "promotions").glob("*.json"))]

    def until(self, version: str) -> str:
        """Return the last day of the log that a bundle was trained on."""
        facts = self.registry / "bundles" / version / "facts.json"
        return json.loads(facts.read_text())["until"]

    def stage_pid(self) -> int:
        """Return the process of the running stage, or 0."""
        pids = [path.read_text() for path in self.repository.glob(".din/runs/workspaces/*/.din/stage.lock")]
        return next((int(pid) for pid in pids if pid and Path(f"/proc/{pid}").exists()), 0)

    def tries(self, run_id: str) -> dict[str, int]:
        return dict(self.airflow.rows("select task_id, try_number from task_instance where run_id = ?", run_id))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    story = Story(tmp_path_factory.mktemp("story"))
    yield story
    for component in reversed(story.components.values()):
        stop(component)


def test_the_scheduled_run_promotes(story: Story) -> None:
    """The run's day is yesterday, and the bundle is as new as the log, which ends long before."""
    run_id, state = story.ended(story.yesterday)
    assert state == "success"
    assert story.airflow.rows("select run_id, run_type from dag_run") == [(run_id, "scheduled")]
    (record,) = story.promotions()
    assert (record["run_id"], story.until(record["version"])) == (RunId.of(run_id), str(ZERO))


def test_a_killed_stage_is_retried(story: Story) -> None:
    """SIGKILL of the stage's process costs one try, and the day ends promoted."""
    for day in (ONE, TWO):
        story.log.land(day)
    story.backfill(ONE, TWO)
    run_id = story.wait_running(ONE, "featurize")
    wait_for(lambda: story.stage_pid())
    os.kill(story.stage_pid(), signal.SIGKILL)
    assert story.ended(ONE) == (run_id, "success")
    assert story.tries(run_id)["featurize"] == 2
    assert [record["run_id"] for record in story.promotions()][1:] == [RunId.of(run_id)]


def test_a_killed_scheduler_loses_nothing(story: Story) -> None:
    """After SIGKILL of the scheduler within a task, a new scheduler ends the day promoted by one record."""
    run_id = story.wait_running(TWO, "train")
    story.components["scheduler"].kill()
    story.components["scheduler"].wait()
    story.start_scheduler()
    assert story.ended(TWO) == (run_id, "success")
    assert [record["run_id"] for record in story.promotions()].count(RunId.of(run_id)) == 1
    assert story.until(story.promotions()[-1]["version"]) == str(TWO)


def test_a_day_with_a_defect_is_red_and_leaves_the_champion(story: Story) -> None:
    """Rows delivered three times stop the run at the raw log without a retry, and only `close_run` runs after it."""
    before = story.promotions()
    story.log.land(THREE)
    story.log.land(FOUR, copies=3)
    story.backfill(FOUR, FOUR)
    run_id, state = story.ended(FOUR)
    assert state == "failed"
    states = story.airflow.states(run_id)
    succeeded = {task for task, state in states.items() if state == "success"}
    assert succeeded == {"open_run", "code", "fetch", "close_run"}
    assert states["validate_raw"] == "failed"
    assert story.tries(run_id)["validate_raw"] == 1
    assert story.promotions() == before


def test_a_corrected_day_is_run_again_and_the_next_follows(story: Story) -> None:
    """The backfill adds new runs, the failed one stays in the history, and champions follow the days."""
    story.log.land(FOUR)
    story.log.land(FIVE)
    story.backfill(FOUR, FIVE, "--reprocess-behavior", "failed")
    assert story.ended(FOUR, count=2)[1] == "success"
    assert story.ended(FIVE)[1] == "success"
    assert [state for _, state in story.runs(FOUR)] == ["failed", "success"]
    promoted = [story.until(record["version"]) for record in story.promotions()]
    assert promoted == [str(day) for day in (ZERO, ONE, TWO, FOUR, FIVE)]


def test_an_old_day_gives_the_same_bits_and_replaces_nobody(story: Story) -> None:
    """A manual run of an old day makes the bundle promoted then, which is refused because its data is older."""
    before = story.promotions()
    body = {"logical_date": None, "partition_key": str(ONE)}
    run_id = story.airflow.call("POST", "/dags/din_ctr/dagRuns", body)["dag_run_id"]
    assert story.ended(ONE, count=2) == (run_id, "failed")
    assert story.airflow.states(run_id)["gate"] == "failed"
    gate = json.loads((story.registry / run_key(run_id) / "reports" / "gate.json").read_text())
    assert gate["bundle"] == before[1]["version"]
    assert [row["name"] for row in gate["gates"] if row["verdict"] != "open"] == ["data_until"]
    assert story.promotions() == before


def test_every_workspace_is_gone(story: Story) -> None:
    """`close_run` ran in every run, and the scheduler started no second run of its own."""
    sql = "select distinct state from task_instance where task_id = 'close_run'"
    assert story.airflow.rows(sql) == [("success",)]
    assert story.airflow.rows("select count(*) from dag_run where run_type = 'scheduled'") == [(1,)]
    assert [path.name for path in story.repository.rglob("workspaces/*")] == []


def test_registry_and_cache_are_whole(story: Story, tmp_path: Path) -> None:
    """Everything that promotions name is intact, and each one's dvc.lock restores its bundle from the remote alone."""
    query(["din", "registry", "verify"], story.repository, environment())
    query(["git", "clone", "--quiet", str(story.repository), str(tmp_path)], None, environment())
    remote = story.repository / ".din" / "runs" / "remote"
    query(["dvc", "remote", "add", "--local", "--default", "runs", str(remote)], tmp_path, environment())
    for record in story.promotions():
        for name in ("dvc.lock", "params.yaml"):
            shutil.copy(story.registry / run_key(record["run_id"]) / name, tmp_path)
        query(["dvc", "pull", "--force"], tmp_path, environment())
        assert sha256_file(tmp_path / "models" / "bundle" / "manifest.json") == record["version"]
