"""The Airflow DAGs: `din_ctr` has a task for each stage of dvc.yaml, `din_monitor` looks after the champion.

Airflow's DAG folder is the root of this repository. This folder must not become a package (no __init__.py), because the
installed package `dags` has the tasks.
"""

import os
from pathlib import Path

from dags import monitor
from dags.airflow_dag import render

ROOT = Path(__file__).parent.parent
os.environ.setdefault("DIN_REPOSITORY", str(ROOT))  # with workers elsewhere, set it to a URL that git can fetch

din_ctr = render(ROOT / "dvc.yaml")
din_monitor = monitor.render()
