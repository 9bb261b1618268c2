"""Tables of Spark are read day by day, as files are."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.params.reading import Params
from tests.factories.raw_logs import bytes_of
from tests.helpers.spark_processes import ROOT, configured, needs_java, needs_spark, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), needs_spark, needs_java]
DAYS = ["2024-05-01", "2024-05-02", "2024-05-03"]
MIDNIGHT = 1_714_521_600  # of the first day
CODE = """
from dataclasses import replace
from pathlib import Path
from pyspark.sql import SparkSession
from din.base.errors import InputError
from din.params.reading import load
from din.data.fetch import fetch
from din.base.workspace import Workspace

def at(events):
    block = replace(shipped.fetch, source="table", table=replace(shipped.fetch.table, events=events))
    return replace(shipped, fetch=block)

shipped = load(Path({root!r}) / "params.yaml")
workspace = Workspace(Path({here!r}))
session = SparkSession.builder.config("spark.sql.warehouse.dir", {here!r} + "/warehouse").getOrCreate()
rows = session.read.parquet({here!r} + "/rows")
rows.where("day < '2024-05-03'").repartition(3).write.partitionBy("day").saveAsTable("clicks")
fetch(workspace, at("spark://clicks/day={{date}}.parquet"))
rows.where("day = '2024-05-03'").repartition(3).write.insertInto("clicks")
fetch(workspace, at("spark://clicks/day={{date}}.parquet"))
for wrong in ("spark://nowhere/day={{date}}.parquet", "spark://clicks/hour={{date}}.parquet", "spark://clicks/{{date}}"):
    try:
        fetch(workspace, at(wrong))
    except InputError as error:
        print("refused:", error)
"""


def rows_of(day: int) -> pa.Table:
    """Return the rows of a day in the order of all their columns."""
    number = [*range(7)]
    times = pa.array([1_000_000 * (MIDNIGHT + 86_400 * day + n) for n in number], pa.timestamp("us", "UTC"))
    columns = {"user_id": number, "item_id": [f"i{n}" for n in number], "timestamp": times, "label": [1, 0] * 3 + [1]}
    return pa.table({**columns, "day": [DAYS[day]] * len(number)})


def test_a_table_gives_the_bytes_of_its_files(table_params: Callable[..., Params], tmp_path: Path) -> None:
    """A fetch from a table writes what a fetch from files writes, and reads only the new day of a table that grew."""
    files = Workspace(tmp_path / "files")
    (files.root / "logs").mkdir(parents=True)
    (tmp_path / "spark/rows").mkdir(parents=True)
    for day, name in enumerate(DAYS):
        pq.write_table(rows_of(day), files.root / f"logs/{name}.parquet")
        pq.write_table(rows_of(day), tmp_path / f"spark/rows/{name}.parquet")
    fetch(files, table_params(events="logs/{date}.parquet"))

    code = CODE.format(root=str(ROOT), here=str(tmp_path / "spark"))
    process = started(code, SPARK_CONF_DIR=configured(tmp_path / "conf", "local[1]"))
    printed, told = process.communicate()
    assert process.returncode == 0, told[-3000:]
    raw = {path: content for path, content in bytes_of(files).items() if path != "manifest.json"}
    table = bytes_of(Workspace(tmp_path / "spark"))
    assert {path: content for path, content in table.items() if path != "manifest.json"} == raw
    assert "fetch: 14 rows of 2 days from table; 2 days read" in printed
    assert "fetch: 21 rows of 3 days from table; 1 days read" in printed
    assert "refused: spark://nowhere: Spark knows no such table" in printed
    assert "refused: spark://clicks: no column 'hour'; its columns: user_id, item_id, timestamp, label, day" in printed
    assert "refused: spark://clicks/????-??-??: expected a table and its column of days" in printed
