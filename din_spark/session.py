"""Open Apache Spark, and turn its errors into messages for the user.

Spark decides where it runs: `SPARK_REMOTE` names a server of Spark Connect, `spark.master` in spark-defaults.conf a
cluster, and without either it runs in this process.
"""

# pyspark is an extra
# pyright: reportMissingImports=false

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession

from din.base import errors
from din.base.errors import InputError, Unavailable

_REMOTE = "SPARK_REMOTE"
_CONNECT_PORT = 15002
_CONNECT_SECONDS = 10
_FAILURES = (PySparkException, Py4JError, ConnectionError)
"""The errors of Spark, of the connection to its JVM, and of a JVM that is gone."""
_MOST = 500
"""The largest number of characters that a message keeps of Spark's own."""
_LOST = re.compile(
    "Connection (refused|reset)|Broken pipe|Answer from Java side is empty|SparkContext was shut down|UNAVAILABLE|"
    "RETRIES_EXCEEDED|ExecutorLostFailure|Master removed our application"
)
_NO_FILE = re.compile("PATH_NOT_FOUND|UNABLE_TO_INFER_SCHEMA")
_GLOB = re.compile(r"[][{}*?\\]")
"""The characters that Spark expands in a path to read, and not in one to write."""
_OURS = re.compile(rf"^{re.escape(errors.__name__)}\.(InputError|Unavailable): (.*)", re.M)
_CONDITION = re.compile(r"\[[A-Z_]+(\.[A-Z_]+)*\] .*")
"""Spark's own description of an error, e.g. `[FAILED_READ_FILE.NO_HINT] Encountered error while reading file ...`."""
_EXCEPTION = re.compile(r"^(: )?[\w.]*(Error|Exception): .*", re.M)
"""A line that names an exception: what a worker's Python raised, or the JVM."""


@contextmanager
def running(name: str, place: Path | str, heap_mb: int | None = None) -> Iterator[SparkSession]:
    """Open a session, and stop Spark at its end, unless this process ran Spark before.

    Args:
        name: the application's name.
        place: what it reads, for messages.
        heap_mb: the heap of a Spark that starts in this process; None for Spark's own default.

    Raises:
        InputError: Java is missing, memory is too small, a worker lacks a package, or a file can't be read or written.
        Unavailable: Spark does not answer, or is gone.
    """
    remote = os.environ.get(_REMOTE)
    is_new = bool(remote) or SparkContext._active_spark_context is None
    spark = _start(name, remote, heap_mb if is_new else None)
    spark = spark if is_new else spark.newSession()  # leaves the settings of the session that runs as they are
    try:
        with explained(place):
            spark.conf.set("spark.sql.caseSensitive", "true")  # columns of a log may differ by case only
            spark.conf.set("spark.sql.ansi.enabled", "true")  # an overflow is an error, as in DuckDB
            yield spark
    finally:
        if is_new:
            with suppress(*_FAILURES):
                spark.stop()


@contextmanager
def explained(place: Path | str, names: bool = False) -> Iterator[None]:
    """Turn errors of Spark into errors for the user; see `running`.

    Args:
        place: what is read, for messages.
        names: whether the user names the tables and columns of the query, so that one that Spark refuses is no bug.
    """
    try:
        yield
    except _FAILURES as error:
        raise _explained(error, place, names) from None


def url(path: Path) -> str:
    """Return a local path as a URL, so that Spark does not look for it in its default file system."""
    return f"file://{path.absolute()}"


def existing(path: Path) -> str:
    """Return the URL of a path to read, in which the characters of globs stand for themselves."""
    return _GLOB.sub(r"\\\g<0>", url(path))


def _start(name: str, remote: str | None, heap_mb: int | None) -> SparkSession:
    builder = SparkSession.builder.appName(name)
    if remote:
        _check_answers(remote)
    elif heap_mb:
        builder = builder.config("spark.driver.memory", f"{heap_mb}m")
    try:
        return builder.create() if remote else builder.getOrCreate()
    except Exception as error:  # py4j's and gRPC's errors share no class
        raise _not_started(error, remote) from None


def _check_answers(remote: str) -> None:
    """Raise Unavailable if no server of Spark Connect answers; Spark's own client tries for ten minutes."""
    url = urlsplit(remote)
    if url.scheme != "sc" or not url.hostname:
        return
    try:
        socket.create_connection((url.hostname, url.port or _CONNECT_PORT), _CONNECT_SECONDS).close()
    except OSError as error:
        raise Unavailable(f"{_REMOTE}={remote}: no server of Spark Connect answers ({error}); start it") from None


def _not_started(error: Exception, remote: str | None) -> InputError | Unavailable:
    message = str(error).splitlines()[0]
    if "JAVA_GATEWAY_EXITED" in message:
        return InputError(
            "Spark needs Java, but Java did not start; install a Java 17 or 21 runtime and set JAVA_HOME, or do "
            f"without Spark ({message})"
        )
    return Unavailable(f"Spark did not start ({message}); look at {_REMOTE} or at spark.master in spark-defaults.conf")


def _explained(error: Exception, place: Path | str, names: bool) -> Exception:
    """Return the error to raise for a failed query: one for the user, or the error itself if the query is a bug."""
    message = str(error)
    if match := _OURS.search(message):  # raised by this package on a worker
        return getattr(errors, match[1])(match[2])
    cause = _CONDITION.search(message) or _EXCEPTION.search(message)
    line = (cause[0] if cause else message.strip() or type(error).__name__).splitlines()[0].removeprefix(": ")[:_MOST]
    if "OutOfMemoryError" in message:
        return InputError(
            f"{place}: Spark's memory is too little; raise featurize.memory_mb for this process, or "
            f"spark.executor.memory for the workers ({line})"
        )
    silent = isinstance(error, ConnectionError | Py4JError) and not isinstance(error, Py4JJavaError)  # no answer
    if silent or _LOST.search(message):
        return Unavailable(f"Spark is gone, or has lost its workers ({line}); look at its log, and run this again")
    if isinstance(error, AnalysisException) and not names and not _NO_FILE.search(message):
        return error
    return InputError(f"{place}: Spark could not read it, or write its result: {line}; docs/spark.md says what to do")
