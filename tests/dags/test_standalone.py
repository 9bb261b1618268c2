"""`make airflow`, from the start to Ctrl-C, and with kills of the scheduler."""

import os
import random
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.dags.daily_log import FIRST, DailyLog, days
from tests.dags.local_airflow import Airflow, stop, wait_for
from tests.helpers.ports import free_port
from tests.pipeline.workspace import Workspace

KILLS = int(os.environ.get("KILLS", "10"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


class Launcher:
    """The command in a repository; it is started at once, and again by `start`."""

    def __init__(self, repository: Path, **env: str) -> None:
        port = str(free_port())
        self.airflow = Airflow(repository / ".airflow", repository, AIRFLOW__API__PORT=port, **env)
        self.url = f"http://127.0.0.1:{port}"
        self.output = repository.parent / "output.txt"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it has triggered or found a run."""
        command = [sys.executable, "-m", "dags.standalone"]
        with self.output.open("w") as file:
            self.process = psutil.Popen(
                command, cwd=self.airflow.repository, env=self.airflow.env, stdout=file, stderr=file,
                preexec_fn=heed_ctrl_c,
            )  # fmt: skip
        wait_for(lambda: "Ctrl-C" in self.output.read_text() or self.process.poll() is not None)
        assert "Ctrl-C" in self.output.read_text(), self.output.read_text()

    def scheduler(self) -> psutil.Process:
        """Return the scheduler's process."""
        (process,) = (child for child in self.process.children() if "--skip-serve-logs" in child.cmdline())
        return process


def heed_ctrl_c() -> None:
    """Undo what a shell does to processes that it starts in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def listening(process: psutil.Process) -> list[str]:
    """Return the addresses at which a process listens; none if it has ended."""
    try:
        return [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []


def test_one_command_runs_the_job_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """A password and a scheduled run appear, and after an interrupt within a stage, no process is left."""
    (tmp_path / "repository").mkdir()
    launcher = Launcher(Workspace(tmp_path / "repository").root)
    airflow, make = launcher.airflow, launcher.process
    try:
        assert f"{launcher.url}/dags/din_ctr/runs/make-airflow-" in launcher.output.read_text()
        assert "user admin, password " in launcher.output.read_text()
        assert airflow.rows("select is_paused from dag where dag_id = 'din_ctr'") == [(0,)]
        wait_for(lambda: airflow.rows("select 1 from task_instance where task_id = 'fetch' and state = 'running'"))
        family = make.children(recursive=True)
        assert len(family) > 4
        assert {address for process in family for address in listening(process)} == {"127.0.0.1"}
        make.send_signal(signal.SIGINT)
        assert make.wait(120) == 0
        assert left(family) == []
    finally:
        stop(make)


def left(family: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that have not ended."""
    return [process for process in family if process.is_running() and process.status() != "zombie"]


def test_kills_of_the_scheduler_lose_no_try(tmp_path: Path) -> None:
    """Beside a backfill, every run ends; a kill costs the tasks that it interrupts one try, and leaves no process.

    The runs never overlap, and the backfill's candidate, which is older than the champion, is refused with a note.
    """
    log = DailyLog(tmp_path / "log", 10)
    for day in (dates := days(FIRST, 10)):
        log.land(day)
    (tmp_path / "repository").mkdir()
    launcher = Launcher(log.repository(tmp_path / "repository").root, DIN_SCHEDULE=time.strftime("%M %H * * *"))
    rows = launcher.airflow.rows
    seed = random.randrange(1000)
    draw = random.Random(seed)
    interrupted: set[tuple[str, str, int]] = set()
    running = """select 1 from task_instance where state = 'running' and queued_by_job_id =
                 (select max(id) from job where job_type = 'SchedulerJob')"""  # not of a scheduler before
    span = ("--from-date", str(dates[-2]), "--to-date", f"{dates[-2]}T23:59", "--max-active-runs", "1")
    try:
        wait_for(lambda: rows(running))
        done = launcher.airflow.run("backfill", "create", "--dag-id", "din_ctr", *span)
        assert done.returncode == 0, done.stdout + done.stderr
        for kill in range(KILLS):
            wait_for(lambda: rows(running))
            time.sleep(draw.uniform(0, 10))
            family = launcher.process.children(recursive=True)
            launcher.scheduler().kill()
            assert launcher.process.wait(120) == 1
            assert left(family) == []
            tries = "select run_id, task_id, try_number from task_instance where state in ('queued', 'running')"
            interrupted.update(rows(tries))
            print(f"seed {seed}, kill {kill + 1}: interrupted {rows(tries)}", flush=True)
            launcher.start()
        wait_for(lambda: not rows("select 1 from dag_run where state in ('queued', 'running')"), minutes=60)
    finally:
        stop(launcher.process)
    assert {state for (state,) in rows("select state from dag_run")} == {"success"}
    assert rows("select sum(try_number - 1) from task_instance where try_number > 0") == [(len(interrupted),)]
    span_of_runs = rows(
        """select a.end_date, b.end_date, a.run_id from task_instance a join task_instance b on a.run_id = b.run_id
           where a.task_id = 'open_run' and b.task_id = 'close_run' order by a.end_date"""
    )
    assert len(span_of_runs) >= 2
    assert all(closed <= opened for (_, closed, _), (opened, _, _) in pairwise(span_of_runs)), span_of_runs
    (note,) = rows("select r.run_type, n.content from dag_run r join dag_run_note n on n.dag_run_id = r.id")
    assert note[0] == "backfill" and note[1].startswith("refused: closed;") and "data_until" in note[1]
