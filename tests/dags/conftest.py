"""Fixtures of the DAG tests: the test workspace of `tests/pipeline`, and an Airflow that writes no file in a home."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "pipeline"))
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
