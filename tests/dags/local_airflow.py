"""A local Airflow on a repository of its own: SQLite in a folder, its commands, and queries of its tables."""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.helpers.ports import free_port
from tests.pipeline.workspace import BIN


def api_server() -> dict[str, str]:
    """Return the settings of an API server on loopback, whose user may do everything."""
    port = free_port()
    return {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    }


class Airflow:
    """The command `airflow` with the repository as its DAG bundle."""

    def __init__(self, home: Path, repository: Path, **env: str) -> None:
        self.home, self.repository = home, repository
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DIN_"))}
        self.env |= {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(repository),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(repository),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "DIN_RETRY_SECONDS": "1",
            **env,
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run an `airflow` command to its end."""
        return subprocess.run(
            [str(BIN / "airflow"), *command], cwd=self.home, env=self.env, capture_output=True, text=True
        )

    def prepare(self) -> None:
        """Make the database."""
        done = self.run("db", "migrate")
        assert done.returncode == 0, done.stdout + done.stderr

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Query its database and return the rows."""
        with sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=ro", uri=True, timeout=30) as database:
            return database.execute(sql, values).fetchall()

    def states(self, run_id: str) -> dict[str, str | None]:
        """Return the states of a run's tasks."""
        return dict(self.rows("select task_id, state from task_instance where run_id = ?", run_id))

    def start(self, component: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a component in a session of its own, logging to a file in the home."""
        with (self.home / f"{component}.log").open("ab") as log:
            return subprocess.Popen(
                [str(BIN / "airflow"), component, *options],
                cwd=self.home,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def listens(self) -> bool:
        """Return whether its API server takes connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", int(self.env["AIRFLOW__API__PORT"]))) == 0

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the API as a client of its user."""
        wait_for(self.listens)
        for patience in (5, 10, 20, 0):
            try:
                return self._call(method, path, body)
            except urllib.error.HTTPError as error:  # 500: another component had locked SQLite
                if error.code != 500 or not patience:
                    raise
            time.sleep(patience)
        return None

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        base = self.env["AIRFLOW__API__BASE_URL"]
        with urllib.request.urlopen(f"{base}/auth/token") as answer:
            headers = {
                "Authorization": f"Bearer {json.load(answer)['access_token']}",
                "Content-Type": "application/json",
            }
        request = urllib.request.Request(f"{base}/api/v2{path}", json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def wait_for(condition: Callable[[], Any], minutes: float = 30) -> None:
    """Check once a second until the condition holds; a run takes a minute on an idle machine."""
    end = time.monotonic() + 60 * minutes
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(1)


def stop(process: subprocess.Popen[Any]) -> None:
    """Kill a component or a command, and all its descendants in any session."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
    process.wait()
