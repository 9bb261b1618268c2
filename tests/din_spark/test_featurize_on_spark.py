"""Spark gives the rows of DuckDB, in order, on whatever it runs."""

import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.defects import plants
from benchmarks.defects.delivery import draw
from benchmarks.defects.drive import Prepared, parameters
from benchmarks.defects.table import DEFECTS
from din.base.artifacts import hash_files
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.featurize import timeline
from din.featurize.build import featurize
from tests.din.featurize.featurize_files import Built, block
from tests.factories.events import Log, random_case, random_log
from tests.helpers.spark_processes import (
    configured,
    free_port,
    needs_java,
    needs_sail,
    needs_spark,
    running,
    sail_server,
    started,
    wait_for,
)
from tests.helpers.spark_processes import end as kill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), needs_spark]
PROTOCOLS = ("temporal", "leave_last_out", "by_user")


def start(root: Path, changes: dict[str, Any], **environment: str) -> subprocess.Popen[str]:
    """Start featurize on Spark in a process of its own, as Java can't change its settings later."""
    code = (
        "from pathlib import Path\nfrom tests.din.featurize.featurize_files import block\n"
        "from din.featurize.build import featurize\n"
        f"from din.base.workspace import Workspace\nfeaturize(Workspace(Path({str(root)!r})), block(**{changes!r}))\n"
    )
    return started(code, **environment)


def run(root: Path, changes: dict[str, Any], **environment: str) -> Workspace:
    """Featurize `root/data/raw` on Spark."""
    process = start(root, changes | {"engine": "spark"}, **environment)
    _, told = process.communicate()
    assert process.returncode == 0, told[-3000:]
    return Workspace(root)


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
@pytest.mark.parametrize(
    ("protocol", "order"),
    [("temporal", "daily"), ("temporal", "strict"), ("leave_last_out", "strict"), ("by_user", "strict")],
)
def test_spark_in_this_process_gives_the_rows_of_duckdb(protocol: str, order: str, tmp_path: Path) -> None:
    """Logs of all protocols give equal files, and two runs give equal bytes, also below folders named like globs."""
    log, changes = random_case(protocol, order, 0)
    duckdb = on_duckdb(tmp_path / "duckdb", log, changes)
    conf = configured(tmp_path / "conf", "local[2]")
    spark = run(copied(duckdb, tmp_path / "spark"), changes, SPARK_CONF_DIR=conf)
    same(spark, duckdb)
    assert not spark.scratch.exists()
    if protocol == "temporal":
        again = run(copied(duckdb, tmp_path / "log[1] {a,b}*?" / "again"), changes, SPARK_CONF_DIR=conf)
        assert hash_files(again.features) == hash_files(spark.features)


def wait_until_half_done(process: subprocess.Popen[str], spark: Workspace) -> None:
    """Wait until the first vocabulary is being written: histories are built, and no shard is written."""
    while process.poll() is None and not (spark.features.parent / ".tmp-new-features" / "vocab").exists():
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()


def nothing_left(workspace: Workspace) -> bool:
    return [*workspace.raw.parent.iterdir()] == [workspace.raw] and not workspace.scratch.exists()


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
            wait_until_half_done(process, spark)
            kill(first)
            _, told = process.communicate()
            assert process.returncode == 0, told[-3000:]
    same(spark, duckdb)
    tasks = ["Running task" in "".join(log.read_text() for log in work.rglob("stderr")) for work in works]
    assert tasks == [True, True]


@pytest.mark.parametrize("number", range(int(os.environ.get("DIN_SPARK_LOGS", "20"))))
@needs_sail
def test_spark_connect_without_java_gives_the_rows_of_duckdb(
    number: int, sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On random logs of all protocols, the program gives equal files, or an equal error, where no Java runs."""
    monkeypatch.setattr("din_spark.featurize._IN_RANGE", 2)  # or few numbers would be one range
    log, changes = random_case(PROTOCOLS[number % 3], ("strict", "sequence")[number % 2], number)
    duckdb, spark = Workspace(tmp_path / "duckdb"), Workspace(tmp_path / "spark")
    for workspace in (duckdb, spark):
        log.write(workspace.raw)
    monkeypatch.setenv("SPARK_REMOTE", sail)
    try:
        featurize(duckdb, block(**changes))
    except InputError as error:  # e.g. no negative of a small log is kept
        with pytest.raises(InputError, match=re.escape(str(error))):
            featurize(spark, block(engine="spark", **changes))
        return
    featurize(spark, block(engine="spark", **changes))
    same(spark, duckdb)


@needs_sail
def test_a_killed_run_leaves_nothing_to_the_next(sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that outlive their driver write to no folder of the next run, which removes what they left."""
    log = random_log(5, "temporal", users=60)
    duckdb = on_duckdb(tmp_path / "duckdb", log, {"shards": 2, "max_history": 3})
    spark = Workspace(copied(duckdb, tmp_path / "spark"))
    process = start(spark.root, {"shards": 2, "max_history": 50, "engine": "spark"}, SPARK_REMOTE=sail)
    wait_until_half_done(process, spark)
    (earlier,) = spark.scratch.iterdir()
    process.kill()
    process.communicate()
    monkeypatch.setenv("SPARK_REMOTE", sail)
    featurize(spark, block(engine="spark", shards=2, max_history=3))
    same(spark, duckdb)
    assert not earlier.exists()
    assert sorted(spark.features.parent.iterdir()) == [spark.features, spark.raw]


def spoiled(column: str, change: Callable[[pa.Table], Any] | None) -> Callable[[Path], None]:
    """Return a function that replaces a column of the last day, or removes it."""

    def spoil(file: Path) -> None:
        rows = pq.read_table(file)
        rest = rows.drop_columns(column)
        pq.write_table(rest.append_column(column, change(rows)) if change else rest, file)

    return spoil


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[60 : len(content) // 3] = b"\xff" * (len(content) // 3 - 60)  # pages, and not the footer
    file.write_bytes(content)


def long_id(rows: pa.Table) -> pa.Array:
    return pa.array(["x" * 10_000_000, *rows["user_id"].to_pylist()[1:]])


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a damaged page": (damage, "data/raw"),
    "another type": (
        spoiled("hour", lambda rows: rows["hour"].cast("float64")),
        r"0\.parquet: column 'hour' is double",
    ),
    "no column": (spoiled("marks", None), r"0\.parquet: column 'marks' is missing"),
    "no Parquet": (lambda file: file.write_text("user_id\n7\n"), r"0\.parquet"),
    "no file": (Path.unlink, "date=2022-01-13: no Parquet file"),
}
ODD: dict[str, Callable[[Path], None]] = {
    "an empty day": lambda file: pq.write_table(pq.read_table(file).slice(0, 0), file),
    "an id of 10 MB": spoiled("user_id", long_id),
}


def with_last_day(root: Path, spoil: Callable[[Path], object]) -> Workspace:
    workspace = Workspace(root)
    random_log(5, "temporal", users=30, text_ids=True).write(workspace.raw)
    spoil(max(workspace.raw.rglob("events/*/*.parquet")))
    return workspace


@needs_sail
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_wrong_input_is_named(
    engine: str, wrong: str, sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both engines, the message says where, and nothing is left behind."""
    spoil, told = WRONG[wrong]
    workspace = with_last_day(tmp_path, spoil)
    monkeypatch.setenv("SPARK_REMOTE", sail)
    with pytest.raises(InputError, match=told):
        featurize(workspace, block(engine=engine))
    assert nothing_left(workspace)


@needs_sail
def test_a_log_that_disappears_is_named(sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sail reads a file that is gone as no rows, which must not become features."""
    workspace = with_last_day(tmp_path, lambda file: None)

    scatter = timeline.scatter

    def removed(*args: Any) -> Any:
        shutil.rmtree(workspace.raw)
        return scatter(*args)

    monkeypatch.setenv("SPARK_REMOTE", sail)
    monkeypatch.setattr(timeline, "scatter", removed)
    with pytest.raises(InputError, match=r"0\.parquet: removed while Spark read it"):
        featurize(workspace, block(engine="spark"))


@needs_sail
@pytest.mark.parametrize("odd", ODD)
def test_odd_input_gives_equal_rows(odd: str, sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both engines take it alike."""
    duckdb = with_last_day(tmp_path / "duckdb", ODD[odd])
    featurize(duckdb, block(shards=2))
    spark = Workspace(copied(duckdb, tmp_path / "spark"))
    monkeypatch.setenv("SPARK_REMOTE", sail)
    featurize(spark, block(engine="spark", shards=2))
    same(spark, duckdb)


COMMON = (
    *("comma_in_a_number", "word_in_a_number", "no_such_field", "price_half_missing"),
    *("label_as_context", "play_time_as_context", "long_view_as_context", "missing_tells"),
    *("item_rates", "user_rates", "user_clicks", "histories_know_later_clicks"),
    *("short_log", "no_test_rows", "weight_as_context", "weights_all_0"),
    *("raw_of_another_day", "features_edited", "future_in_history", "splits_overlap"),
)
"""The commonest planted defects that reach featurize. Fetch and the raw suite refuse most others, on no engine."""


@needs_sail
@pytest.mark.parametrize("name", COMMON)
def test_a_planted_defect_ends_at_the_right_gate_on_spark_connect(
    name: str, sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate that catches a defect of the features on DuckDB catches it on Spark."""
    monkeypatch.setenv("SPARK_REMOTE", sail)
    monkeypatch.delattr("din.featurize.on_duckdb.session")
    (defect,) = (one for one in DEFECTS if one.name == name)
    sound = draw().set(featurize__engine="spark")
    prepared = Prepared(sound, tmp_path, parameters({}), "validate_features")
    if isinstance(defect.plant, plants.Late):  # else it would start from features that are built already
        defect = replace(defect, plant=replace(defect.plant, first=defect.plant.first or (lambda one: one)))
    outcome = defect.drive(prepared, tmp_path / "workspace")
    assert defect.verdict(outcome) == "right", outcome


@needs_sail
def test_a_server_that_loses_nan_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sail's own settings give other rows than DuckDB where a file holds one number and NaN."""
    workspace = with_last_day(tmp_path, lambda file: None)
    with sail_server(tmp_path, SAIL_EXECUTION__COLLECT_STATISTICS="true") as address:
        monkeypatch.setenv("SPARK_REMOTE", address)
        with pytest.raises(InputError, match="reads NaN as another number"):
            featurize(workspace, block(engine="spark"))


@needs_java
@pytest.mark.parametrize("broken", ["no Python", "no pyarrow", "a damaged page"])
def test_what_fails_on_a_worker_is_named(broken: str, tmp_path: Path) -> None:
    """A missing package or a damaged file on a worker is bad input, and the message quotes Spark."""
    workspace = with_last_day(tmp_path, damage if broken == "a damaged page" else lambda file: None)
    python = {"no Python": str(tmp_path / "nowhere"), "a damaged page": sys.executable}.get(broken)
    if python is None:
        venv.create(tmp_path / "bare", symlinks=True)
        python = str(tmp_path / "bare/bin/python")
    conf = configured(tmp_path / "conf", "local[2]")
    process = start(workspace.root, {"engine": "spark"}, SPARK_CONF_DIR=conf, PYSPARK_PYTHON=python)
    _, told = process.communicate()
    cause = {"no Python": "nowhere", "no pyarrow": "No module named 'pyarrow'"}.get(broken, "date=2022-01-13")
    assert f"InputError: {workspace.raw}: Spark could not read it, or write its result" in told
    assert cause in told.splitlines()[-1]
    assert nothing_left(workspace)


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry may succeed, so this is no bad input."""
    monkeypatch.setenv("SPARK_REMOTE", f"sc://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=r"SPARK_REMOTE=sc://127\.0\.0\.1.*no server of Spark Connect answers"):
        featurize(Workspace(tmp_path), block(engine="spark"))
    assert not Workspace(tmp_path).features.exists()


def test_a_missing_java_is_named(tmp_path: Path) -> None:
    """The message says what to install, instead of a traceback of py4j."""
    _, told = start(tmp_path, {"engine": "spark"}, JAVA_HOME=str(tmp_path)).communicate()
    assert "InputError: Spark needs Java, but Java did not start; install a Java 17 or 21 runtime" in told
