"""`make airflow`: start a local Airflow with this DAG, trigger one run, and stop cleanly on Ctrl-C.

Run it from the repository's root. It uses SQLite, LocalExecutor and the UI on loopback, and keeps all state in
`.airflow/`. Settings of the environment take precedence. This is for one person on one machine; for a real deployment
see docs/airflow.md. `airflow standalone` is not enough: it triggers no run, and its log servers listen on every
interface.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psutil

# The scheduler's log server would listen on every interface, and on one machine the UI reads the files itself.
COMPONENTS = {
    "api-server": "metadatabase",  # first: a task that starts before the server answers loses a try
    "scheduler --skip-serve-logs": "scheduler",
    "dag-processor": "dag_processor",
}
"""The components in the order in which they start, each with the name of its health at the API server."""
SECONDS_TO_STOP = 20
_ADOPT_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER of Linux's prctl."""


def settings(inherited: dict[str, str]) -> dict[str, str]:
    """Return the environment of all components: `inherited`, and defaults for the settings that it lacks."""
    port = inherited.get("AIRFLOW__API__PORT", "8080")
    defaults = {
        "AIRFLOW_HOME": str(Path.cwd() / ".airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path.cwd()),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__API__HOST": "127.0.0.1",  # Airflow's default is every interface
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",  # by default, killed tasks wait for five minutes
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # a busy machine's first answer is late, and costs a try
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return defaults | inherited | {"PATH": path}


def main() -> int:
    """Prepare and start Airflow, trigger a run unless one is open, print its address, and wait for Ctrl-C."""
    env = settings(dict(os.environ))
    url = env["AIRFLOW__API__BASE_URL"]
    home = Path(env["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    log = home / "airflow.log"
    run_id = f"make-airflow-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
    components: dict[str, psutil.Popen] = {}

    def start(command: str, output: int | None = None) -> psutil.Popen:
        with log.open("ab") as out:
            words = ["airflow", *command.split()]
            return psutil.Popen(words, env=env, stdout=output or out, stderr=out, start_new_session=True)

    def require(command: str, is_well: bool) -> None:
        if not is_well:
            sys.exit(f"airflow: `airflow {command}` has ended or failed; see {log}")

    def run(command: str) -> str:
        components[command] = start(command, subprocess.PIPE)  # a component, so that Ctrl-C ends it too
        output, _ = components[command].communicate()
        require(command, components.pop(command).returncode == 0)
        return output.decode()

    def watch() -> None:
        time.sleep(1)
        psutil.wait_procs(orphans([*components.values()]), timeout=0)  # reaps those that have ended
        for command, process in components.items():
            require(command, process.poll() is None)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1)  # so that `stop` finds the tasks of a killed scheduler
    try:
        print("airflow: preparing the database", flush=True)
        for command in ("db migrate", "dags reserialize"):
            run(command)
        for command, part in COMPONENTS.items():
            components[command] = start(command)
            while not healthy(url, part):
                watch()
        if is_open := re.search(r'"run_id": "(.+?)"', run("dags list-runs din_ctr --state running --output json")):
            run_id = is_open[1]  # a restart continues it
        else:
            run(f"dags trigger din_ctr --run-id {run_id}")
        passwords = home / "simple_auth_manager_passwords.json.generated"
        print(f"airflow: {url}/dags/din_ctr/runs/{run_id}")
        for user, password in json.loads(passwords.read_text()).items() if passwords.exists() else ():
            print(f"airflow: user {user}, password {password}")
        print(f"airflow: log {log}; Ctrl-C stops everything", flush=True)
        while True:
            watch()
    except KeyboardInterrupt:
        return 0
    finally:
        stop([*components.values()])
        print("airflow: stopped")


def healthy(url: str, part: str) -> bool:
    """Return whether the API server answers, and says that this part of Airflow is working."""
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            return json.load(answer)[part]["status"] == "healthy"
    except (OSError, ValueError, LookupError, TypeError):  # not up yet, or another server has this port
        return False


def stop(components: list[psutil.Popen]) -> None:
    """Stop the components and all descendants of this process; stages have sessions that no group signal reaches.

    What a killed scheduler has left is killed first: it ignores Ctrl-C, and a task that finds no server loses a try.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them running
    left = orphans(components)
    kill([*left, *(child for orphan in left for child in orphan.children(recursive=True))])
    for process in components:
        if process.is_running():
            process.send_signal(signal.SIGINT)
    this = psutil.Process()
    family = this.children(recursive=True)
    psutil.wait_procs(family, SECONDS_TO_STOP)
    kill([*family, *this.children(recursive=True)])


def orphans(components: list[psutil.Popen]) -> list[psutil.Process]:
    """Return the processes whose parents have ended before them, which are now children of this process."""
    return [child for child in psutil.Process().children() if child not in components]


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes, and wait until they have ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, SECONDS_TO_STOP)


if __name__ == "__main__":
    if shutil.which("airflow", path=settings(dict(os.environ))["PATH"]) is None:
        sys.exit("airflow: not installed here; pip install 'din-ctr[train,airflow]', in a checkout run `make airflow`")
    sys.exit(main())
