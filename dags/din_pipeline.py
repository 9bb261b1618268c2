"""The Airflow DAGs of this repository, in the file that Airflow parses; see `dags.airflow_dag` and `dags.monitor`."""

from pathlib import Path

from dags import monitor
from dags.airflow_dag import render

din_ctr = render(Path(__file__).parent.parent / "dvc.yaml")
din_monitor = monitor.render()
