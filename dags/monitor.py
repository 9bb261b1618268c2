"""The Airflow DAG `din_monitor`: `din watch` every hour, on a worker that has the repository and the server's log.

It starts paused: unpause it once `fetch.options` of params.yaml names the log. An alarm fails the task for good, so a
failure callback can page someone, and the registry keeps the alarm. A registry that doesn't answer is retried.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.airflow_dag import Callback, final
from dags.checkout import WorkerSettings
from din.base.errors import GateClosed, InputError
from din.base.git import is_remote
from din.base.process import environment, stream
from din.base.workspace import Workspace
from din.params.reading import load

SCHEDULE = os.environ.get("DIN_WATCH_SCHEDULE", "5 * * * *")  # cron, UTC


@task
def watch() -> None:
    """Judge the last 24 hours of service."""
    with final():
        settings = WorkerSettings.from_env()
        if is_remote(settings.repository):
            raise InputError(f"DIN_REPOSITORY is {settings.repository}: expected a folder with params.yaml")
        here = Workspace(Path(settings.repository))
        where = ["--registry", settings.registry, "--model", load(here.params).model_name] if settings.registry else []
    code, output = stream(["din", "watch", *where], here.root, environment())
    if code in (InputError.exit_code, GateClosed.exit_code):
        raise AirflowFailException(output)
    if code:
        raise AirflowException(output)


def render(on_failure: Callback | None = None, dag_id: str = "din_monitor") -> DAG:
    """Return the DAG.

    Args:
        on_failure: is called with Airflow's context if there is an alarm, e.g. to page.
        dag_id: the DAG's id.
    """
    with DAG(
        dag_id,
        description="Look after the champion: compare the last day of service with the days before.",
        doc_md=__doc__,
        schedule=SCHEDULE,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=True,
        default_args={
            "owner": "din-ctr",
            "retries": 2,
            "retry_delay": timedelta(minutes=1),
            "execution_timeout": timedelta(minutes=30),
            "on_failure_callback": on_failure,
        },
        tags={"ctr", "din"},
    ) as dag:
        watch()
    return dag
