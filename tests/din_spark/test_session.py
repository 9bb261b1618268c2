"""A session of Spark: whom it stops, and what its errors say."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from din.base.errors import Unavailable
from tests.helpers.spark_processes import configured, needs_java, needs_sail, needs_spark, sail_server, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_spark]


def run(code: str, tmp_path: Path, master: str = "local[1]") -> str:
    """Run code with Spark in its process, and return the last line of its errors, or nothing."""
    process = started(code, SPARK_CONF_DIR=configured(tmp_path / "conf", master))
    _, told = process.communicate()
    return told.splitlines()[-1] if process.returncode else ""


@needs_java
def test_a_session_that_runs_already_goes_on(tmp_path: Path) -> None:
    """The Spark of a process is joined and not stopped, and its settings and views stay as they are."""
    code = """
from pyspark.sql import SparkSession
from din_spark.session import running
session = SparkSession.builder.config("spark.sql.ansi.enabled", "false").getOrCreate()
with running("a test", "here") as own:
    own.range(3).createOrReplaceTempView("mine")
    assert own.conf.get("spark.sql.ansi.enabled") == "true"
assert session.range(3).count() == 3
assert session.conf.get("spark.sql.ansi.enabled") == "false"
assert session.catalog.listTables() == []
"""
    assert run(code, tmp_path) == ""


@needs_java
def test_a_killed_java_is_worth_a_retry(tmp_path: Path) -> None:
    """A scheduler tries again when Spark is gone, and the error of the cleanup does not hide that."""
    code = """
import os
import subprocess
from din_spark.session import running
with running("a test", "here") as session:
    subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "java"], check=True)
    session.range(3).count()
"""
    assert "Unavailable: Spark is gone" in run(code, tmp_path)


@needs_java
def test_lost_workers_are_worth_a_retry(tmp_path: Path) -> None:
    """A query whose workers die again and again, on a cluster of processes, is not bad input."""
    code = """
import os
import signal
from pathlib import Path
from din_spark.session import running

def die(batches):
    daemon = Path(f"/proc/{os.getppid()}/stat").read_text()
    os.kill(int(daemon.rpartition(")")[2].split()[1]), signal.SIGKILL)
    yield from batches

with running("a test", "here") as session:
    session.range(3).mapInArrow(die, "id long").collect()
"""
    told = run(code, tmp_path, "local-cluster[1,1,700]")
    assert "Unavailable: Spark is gone, or has lost its workers" in told
    assert "ExecutorLostFailure" in told


@needs_sail
def test_a_killed_server_is_worth_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a query whose server of Spark Connect is gone, once its client tries no more."""
    with ExitStack() as server:
        monkeypatch.setenv("SPARK_REMOTE", server.enter_context(sail_server(tmp_path)))
        from din_spark import session as spark

        with pytest.raises(Unavailable, match="Spark is gone"), spark.running("a test", "here") as session:
            session.client.set_retry_policies([])
            server.close()
            session.range(3).collect()
