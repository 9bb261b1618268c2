"""Spark gives the rows of DuckDB, in order, on whatever it runs."""

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
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featurize_files import Built, Log, block
from featurize_logs import random_case, random_log

from din.artifacts import hash_files
from din.errors import Unavailable
from din.featurize.build import featurize
from din.workspace import Workspace

ROOT = Path(__file__).parents[2]
JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not find_spec("pyspark"), reason="pyspark is missing: pip install 'din-ctr[spark]'"),
]
needs_java = pytest.mark.skipif(not JAVA, reason="there is no Java: Spark itself needs a Java 17 or 21 runtime")
PROTOCOLS = ("temporal", "leave_last_out", "by_user")


def start(root: Path, changes: dict[str, Any], **environment: str) -> subprocess.Popen[str]:
    """Start featurize on Spark in a process of its own, as Java can't change its settings later."""
    code = (
        "from pathlib import Path\nfrom featurize_files import block\nfrom din.featurize.build import featurize\n"
        f"from din.workspace import Workspace\nfeaturize(Workspace(Path({str(root)!r})), block(**{changes!r}))\n"
    )
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "featurize")]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=os.environ | own | environment, stderr=subprocess.PIPE, text=True)


def run(root: Path, changes: dict[str, Any], **environment: str) -> Workspace:
    """Featurize `root/data/raw` on Spark."""
    process = start(root, changes | {"engine": "spark"}, **environment)
    _, told = process.communicate()
    assert process.returncode == 0, told[-3000:]
    return Workspace(root)


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


def same(spark: Workspace, duckdb: Workspace) -> None:
    """Check that both hold the same files with the same columns, types and rows in the same order."""
    names = [sorted(path for path in hash_files(one.features)) for one in (spark, duckdb)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".parquet"):
            ours, theirs = (pq.read_table(one.features / name) for one in (spark, duckdb))
            assert [*map(plain, ours.schema)] == [*map(plain, theirs.schema)], name
            for column in ours.schema.names:
                assert repr(ours[column].to_pylist()) == repr(theirs[column].to_pylist()), (name, column)
    manifests = [Built(one).manifest for one in (spark, duckdb)]
    for manifest in manifests:
        del manifest["files"], manifest["params"]["engine"]
    assert manifests[0] == manifests[1]


def plain(field: pa.Field) -> tuple[str, Any]:
    """Return name and type, without the name that a writer gives to the elements of lists."""
    kind = field.type
    return field.name, ("list", kind.value_type) if pa.types.is_list(kind) else kind


def on_duckdb(root: Path, log: Log, changes: dict[str, Any]) -> Workspace:
    workspace = Workspace(root)
    log.write(workspace.raw)
    featurize(workspace, block(**changes))
    return workspace


def copied(duckdb: Workspace, root: Path) -> Path:
    shutil.copytree(duckdb.raw, Workspace(root).raw)
    return root


@needs_java
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spark_in_this_process_gives_the_rows_of_duckdb(protocol: str, tmp_path: Path) -> None:
    """Logs of all protocols give equal files, and two runs give equal bytes."""
    log, changes = random_case(protocol, "strict", 0)
    duckdb = on_duckdb(tmp_path / "duckdb", log, changes)
    conf = configured(tmp_path / "conf", "local[2]")
    spark = run(copied(duckdb, tmp_path / "spark"), changes, SPARK_CONF_DIR=conf)
    same(spark, duckdb)
    assert not spark.scratch.exists()
    if protocol == "temporal":
        again = run(copied(duckdb, tmp_path / "again"), changes, SPARK_CONF_DIR=conf)
        assert hash_files(again.features) == hash_files(spark.features)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_for(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing listens at port {port}")


@contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process and its children until the end of the block."""
    own = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "300m"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=os.environ | own, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@needs_java
def test_a_cluster_of_two_workers_gives_the_rows_of_duckdb(tmp_path: Path) -> None:
    """A master shares the tasks between two workers, and a run outlives the death of one."""
    import pyspark

    changes = {"order": "strict", "shards": 2, "max_history": 3}
    duckdb = on_duckdb(tmp_path / "duckdb", random_log(5, "temporal", users=60), changes)
    port = free_port()
    spark_class = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
    master = [spark_class, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port)]
    worker = [spark_class, "org.apache.spark.deploy.worker.Worker", "--cores", "1", "--memory", "700m"]
    url = f"spark://127.0.0.1:{port}"
    works = [tmp_path / f"worker{n}" for n in range(2)]
    with running(*master, "--webui-port", "0", log=tmp_path / "master.log"):
        wait_for(port)
        own = [[*worker, "--webui-port", "0", "--work-dir", str(work), url] for work in works]
        with (
            running(*own[0], log=tmp_path / "worker0.log") as first,
            running(*own[1], log=tmp_path / "worker1.log"),
        ):
            spark = Workspace(copied(duckdb, tmp_path / "spark"))
            conf = configured(tmp_path / "conf", url)
            process = start(spark.root, changes | {"engine": "spark"}, SPARK_CONF_DIR=conf)
            while process.poll() is None and not (spark.scratch / "20").exists():
                time.sleep(0.1)
            assert process.poll() is None
            end(first)
            _, told = process.communicate()
            assert process.returncode == 0, told[-3000:]
    same(spark, duckdb)
    tasks = ["Running task" in "".join(log.read_text() for log in work.rglob("stderr")) for work in works]
    assert tasks == [True, True]


@pytest.fixture(scope="module")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start Sail, a server of Spark Connect in Rust, and return its address."""
    if not find_spec("pysail"):
        pytest.skip("pysail is missing: pip install pysail")
    port = free_port()
    command = str(Path(sys.executable).with_name("sail"))
    with running(command, "spark", "server", "--port", str(port), log=tmp_path_factory.mktemp("sail") / "log"):
        wait_for(port)
        yield f"sc://127.0.0.1:{port}"


@pytest.mark.parametrize("number", range(20))
def test_spark_connect_without_java_gives_the_rows_of_duckdb(
    number: int, sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On random logs of all protocols, the program gives equal files where no Java runs."""
    log, changes = random_case(PROTOCOLS[number % 3], ("strict", "sequence")[number % 2], number)
    duckdb = on_duckdb(tmp_path / "duckdb", log, changes)
    spark = Workspace(copied(duckdb, tmp_path / "spark"))
    monkeypatch.setenv("SPARK_REMOTE", sail)
    featurize(spark, block(engine="spark", **changes))
    same(spark, duckdb)


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry may succeed, so this is no bad input."""
    monkeypatch.setenv("SPARK_REMOTE", f"sc://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=r"SPARK_REMOTE=sc://127\.0\.0\.1.*no server of Spark Connect answers"):
        featurize(Workspace(tmp_path), block(engine="spark"))
    assert not Workspace(tmp_path).features.exists()


def test_a_missing_java_is_named(tmp_path: Path) -> None:
    """The message says what to install, instead of a traceback of py4j."""
    _, told = start(tmp_path, {"engine": "spark"}, JAVA_HOME=str(tmp_path)).communicate()
    assert "InputError: featurize.engine is spark, but Java did not start; install a Java 17 or 21 runtime" in told
