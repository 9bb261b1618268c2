"""A log that grows by a day, a real scheduler that trains on it, and the contents of the registry."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from din.base.names import RunId
from tests.dags.daily_log import DailyLog
from tests.dags.local_airflow import Airflow, api_server, stop, wait_for


def recorded(run_id: str) -> RunId:
    """Return the name of a run of Airflow in the registry."""
    return RunId.of(f"din_ctr.{run_id}")


class Story:
    """Days of one log, run by an Airflow of its own."""

    def __init__(self, root: Path, days: Sequence[date], landed: int) -> None:
        """Start everything in an empty folder, when the first `landed` days of the log are there."""
        for name in ("log", "repository", "home"):
            (root / name).mkdir()
        self.log = DailyLog(root / "log", len(days))
        for day in days[:landed]:
            self.log.land(day)
        self.repository = self.log.repository(root / "repository").root
        self.registry = self.repository / "registry" / "table"
        now = datetime.now(UTC)
        self.yesterday = (now - timedelta(days=1)).date()
        self.airflow = Airflow(
            root / "home",
            self.repository,
            DIN_SCHEDULE=f"{now:%M %H} * * *",  # due when the scheduler starts, and not again in this story
            **api_server(),
            AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
            AIRFLOW__CORE__PARALLELISM="2",
            AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT="60",  # a busy machine answers late
            AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD="15",
            AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL="15",
        )
        self.airflow.prepare()
        assert self.airflow.run("dags", "reserialize").returncode == 0
        self.components = {name: self.airflow.start(name) for name in ("api-server", "dag-processor")}
        wait_for(self.airflow.listens)  # tasks wait for the server only for seconds
        self.start_scheduler()

    def close(self) -> None:
        """Stop everything."""
        for component in reversed(self.components.values()):
            stop(component)

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
        return json.loads((self.registry / "bundles" / version / "facts.json").read_text())["until"]

    def stage_pid(self) -> int:
        """Return the process of the running stage, or 0."""
        pids = [path.read_text() for path in self.repository.glob(".din/runs/workspaces/*/.din/stage.lock")]
        return next((int(pid) for pid in pids if pid and Path(f"/proc/{pid}").exists()), 0)

    def tries(self, run_id: str) -> dict[str, int]:
        return dict(self.airflow.rows("select task_id, try_number from task_instance where run_id = ?", run_id))
