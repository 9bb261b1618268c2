"""A session of Spark: whom it stops, and what its errors say."""

from pathlib import Path

import pytest
from spark_processes import configured, needs_java, needs_spark, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_spark, needs_java]


def run(code: str, tmp_path: Path) -> str:
    """Run code with Spark in its process, and return the last line of its errors, or nothing."""
    process = started(code, SPARK_CONF_DIR=configured(tmp_path / "conf", "local[1]"))
    _, told = process.communicate()
    return told.splitlines()[-1] if process.returncode else ""


def test_a_session_that_runs_already_goes_on(tmp_path: Path) -> None:
    """The Spark of a process is joined and not stopped, and its settings and views stay as they are."""
    code = """
from pyspark.sql import SparkSession
from din.spark import running
session = SparkSession.builder.config("spark.sql.ansi.enabled", "false").getOrCreate()
with running("a test", "here") as own:
    own.range(3).createOrReplaceTempView("mine")
    assert own.conf.get("spark.sql.ansi.enabled") == "true"
assert session.range(3).count() == 3
assert session.conf.get("spark.sql.ansi.enabled") == "false"
assert session.catalog.listTables() == []
"""
    assert run(code, tmp_path) == ""


def test_a_killed_java_is_worth_a_retry(tmp_path: Path) -> None:
    """A scheduler tries again when Spark is gone, and the error of the cleanup does not hide that."""
    code = """
import os
import subprocess
from din.spark import running
with running("a test", "here") as session:
    subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "java"], check=True)
    session.range(3).count()
"""
    assert "Unavailable: Spark is gone" in run(code, tmp_path)
