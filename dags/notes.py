"""A plugin for Airflow's scheduler: why a candidate was refused becomes the note of its run. No task can write one."""

from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

REFUSAL = "din_refusal"
"""The XCom in which the task that refused the candidate says why."""
_PREFIX = "refused: "
_MOST_CHARACTERS = 1000  # Airflow's column for a note


class Listener:
    """Gets each run that ends as a success, of every DAG."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any) -> None:
        """Make the refusal the note of the run, or empty that of an earlier try, unless somebody has written one."""
        from airflow.models.xcom import XComModel
        from sqlalchemy.orm import object_session

        session: Any = object_session(dag_run)
        before = dag_run.note or ""
        if session and (not before or before.startswith(_PREFIX)):  # `airflow dags test` has no session
            query = XComModel.get_many(run_id=dag_run.run_id, dag_ids=dag_run.dag_id, key=REFUSAL)
            refusal = session.scalars(query.limit(1)).first()
            words = XComModel.deserialize_value(refusal).split() if refusal else []
            note = _PREFIX + " ".join(words) if words else ""  # one line, since a list of runs shows the first one
            if note[:_MOST_CHARACTERS] != before:
                dag_run.note = note[:_MOST_CHARACTERS]


class Notes(AirflowPlugin):
    """The plugin."""

    name = "din_notes"
    listeners = [Listener()]  # noqa: RUF012  # Airflow's own form
