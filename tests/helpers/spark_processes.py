"""Processes of Spark, and a server of Spark Connect that needs no Java."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.ports import free_port

ROOT = Path(__file__).parents[2]
JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")
needs_spark = pytest.mark.skipif(not find_spec("pyspark"), reason="pyspark is missing: pip install 'din-ctr[spark]'")
needs_java = pytest.mark.skipif(not JAVA, reason="there is no Java: Spark itself needs a Java 17 or 21 runtime")
needs_sail = pytest.mark.skipif(not find_spec("pysail"), reason="pysail is missing: pip install pysail")


def started(code: str, **environment: str) -> subprocess.Popen[str]:
    """Run Python code in a process of its variables, as Java can't change its settings later."""
    variables = {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-c", code]
    environment = os.environ | variables | environment
    environment.pop("SPARK_CONNECT_MODE_ENABLED", None)  # pyspark sets it once this process has used Spark Connect
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def configured(folder: Path, master: str) -> str:
    folder.mkdir(parents=True)
    quick = "-XX:TieredStopAtLevel=1"  # most of the time goes into compiling
    lines = {
        "spark.master": master,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.executor.memory": "600m",
        "spark.driver.extraJavaOptions": quick,
        "spark.executor.extraJavaOptions": quick,
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.shuffle.partitions": "4",
    }
    (folder / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    return str(folder)


def wait_for(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing listens at port {port}")


@contextmanager
def running(*command: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process and its children until the end of the block."""
    variables = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "300m"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | variables | environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def sail_server(folder: Path, **environment: str) -> Iterator[str]:
    """Run Sail, a server of Spark Connect in Rust, and yield its address. Its caches are in the folder."""
    port = free_port()
    command = str(Path(sys.executable).with_name("sail"))
    variables = {"XDG_CACHE_HOME": str(folder / "cache"), "SAIL_EXECUTION__COLLECT_STATISTICS": "false"} | environment
    with running(command, "spark", "server", "--port", str(port), log=folder / "log", **variables):
        wait_for(port)
        yield f"sc://127.0.0.1:{port}"
