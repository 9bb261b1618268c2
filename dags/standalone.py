"""`make airflow`: start a local Airflow with this DAG, trigger one run, and stop cleanly on Ctrl-C.

Run it from the repository's root. It uses SQLite, LocalExecutor and the UI on loopback, and keeps all state in
`.airflow/`. Settings of the environment take precedence. This is for one person on one machine; for a real deployment
see docs/airflow.md. `airflow standalone` is not enough: it triggers no run, and its log servers listen on every
interface.
"""

import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psutil

# The scheduler's log server would listen on every interface, and on one machine the UI reads the files itself.
COMPONENTS = ("api-server", "scheduler --skip-serve-logs", "dag-processor")
SECONDS_TO_STOP = 20


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
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return defaults | inherited | {"PATH": path}


def main() -> int:
    """Prepare and start Airflow, trigger one run, print its address, and wait for Ctrl-C or the end of a component."""
    env = settings(dict(os.environ))
    url = env["AIRFLOW__API__BASE_URL"]
    home = Path(env["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    log = home / "airflow.log"
    run_id = f"make-airflow-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
    components: dict[str, psutil.Popen] = {}

    def start(command: str) -> psutil.Popen:
        with log.open("ab") as out:
            return psutil.Popen(["airflow", *command.split()], env=env, stdout=out, stderr=out, start_new_session=True)

    def require(command: str, is_well: bool) -> None:
        if not is_well:
            sys.exit(f"airflow: `airflow {command}` has ended or failed; see {log}")

    def run(command: str) -> None:
        components[command] = start(command)  # so that Ctrl-C ends it too
        is_well = components[command].wait() == 0
        del components[command]
        require(command, is_well)

    def watch() -> None:
        time.sleep(1)
        for command, process in components.items():
            require(command, process.poll() is None)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print("airflow: preparing the database", flush=True)
        for command in ("db migrate", "dags reserialize"):
            run(command)
        for command in COMPONENTS:
            components[command] = start(command)
        while not healthy(url):
            watch()
        run(f"dags trigger din_ctr --run-id {run_id}")  # a task that starts before the server loses a try
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


def healthy(url: str) -> bool:
    """Return whether database, scheduler and DAG processor are working."""
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))
    except (OSError, ValueError, LookupError, TypeError):  # not up yet, or another server has this port
        return False


def stop(components: list[psutil.Popen]) -> None:
    """Stop the components and all their descendants; stages have their own sessions, which no group signal reaches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them running
    running = [process for process in components if process.is_running()]
    family = running + [child for process in running for child in process.children(recursive=True)]
    for process in running:
        process.send_signal(signal.SIGINT)
    if family:
        family += [child for process in psutil.wait_procs(family, SECONDS_TO_STOP)[1] for child in process.children()]
    killed = [process for process in family if process.is_running()]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, SECONDS_TO_STOP)


if __name__ == "__main__":
    if shutil.which("airflow", path=settings(dict(os.environ))["PATH"]) is None:
        sys.exit("airflow: not installed here; pip install 'din-ctr[train,airflow]', in a checkout run `make airflow`")
    sys.exit(main())
