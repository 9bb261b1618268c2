"""The Airflow DAG of this repository's dvc.yaml, in the file that Airflow parses; see `dags.airflow_dag`."""

from pathlib import Path

from dags.airflow_dag import render

din_ctr = render(Path(__file__).parent.parent / "dvc.yaml")
