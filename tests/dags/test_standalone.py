"""`make airflow`, from the start to Ctrl-C."""

import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.dags.local_airflow import Airflow, stop, wait_for
from tests.helpers.ports import free_port
from tests.pipeline.workspace import Workspace


def heed_ctrl_c() -> None:
    """Undo what a shell does to processes that it starts in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def listening(process: psutil.Process) -> list[str]:
    """Return the addresses at which a process listens; none if it has ended."""
    try:
        return [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_one_command_runs_the_job_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """A password and a scheduled run appear, and after an interrupt within a stage, no process is left."""
    repository = Workspace(tmp_path).root
    port = str(free_port())
    airflow = Airflow(repository / ".airflow", repository, AIRFLOW__API__PORT=port)
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        command = [sys.executable, "-m", "dags.standalone"]
        make = psutil.Popen(command, cwd=repository, env=airflow.env, stdout=file, stderr=file, preexec_fn=heed_ctrl_c)
    try:
        wait_for(lambda: "Ctrl-C" in output.read_text())
        assert f"http://127.0.0.1:{port}/dags/din_ctr/runs/make-airflow-" in output.read_text()
        assert "user admin, password " in output.read_text()
        assert airflow.rows("select is_paused from dag where dag_id = 'din_ctr'") == [(0,)]
        wait_for(lambda: airflow.rows("select 1 from task_instance where task_id = 'fetch' and state = 'running'"))
        family = make.children(recursive=True)
        assert len(family) > 4
        assert {address for process in family for address in listening(process)} == {"127.0.0.1"}
        make.send_signal(signal.SIGINT)
        assert make.wait(120) == 0
        assert [process for process in family if process.is_running() and process.status() != "zombie"] == []
    finally:
        stop(make)
