"""The embedded engine: one DuckDB session and its scratch folder.

Intermediate tables are Parquet files under `.din/featurize`, partitioned by shard. Memory holds the windows of one
shard at a time, and the rest of the log stays on disk, at the cost of one more write and read of the log.
"""

import glob
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.duckdb import Backend
from typing_extensions import override

from din.base import cores
from din.base.duckdb_errors import exhausted
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.featurize import ENGINES
from din.featurize.engine import ROW_GROUP, SESSION_SHARE, Condition, Contents, Session


@dataclass(frozen=True)
class DuckDB(Session):
    """A DuckDB session and the folder for its intermediate files."""

    con: Backend
    scratch: Path

    @override
    def read(self, files: Sequence[Path], name: str) -> ir.Table:
        paths = [str(file) for file in files]
        return self.con.read_parquet(paths, table_name=name, hive_partitioning=False)

    @override
    def store(self, name: str, table: ir.Table) -> ir.Table:
        quoted = sge.to_identifier(name, quoted=True).sql("duckdb")
        self.con.raw_sql(f"DROP TABLE IF EXISTS {quoted}")  # ibis 12's own drop is empty SQL with sqlglot 30
        return self.con.create_table(name, table)

    @override
    def parts(self, shards: int) -> Sequence[range]:
        return [range(shard, shard + 1) for shard in range(shards)]

    @override
    def part(self, rows: ir.Table, part: range) -> ir.Table:
        return rows.filter(rows.shard == part.start)  # reads only that shard's file

    @override
    def scatter(self, name: str, table: ir.Table) -> ir.Table:
        self.con.to_parquet(table, self.scratch / name, partition_by="shard")
        return self.spilled(name)

    @override
    def spill(self, name: str, table: ir.Table, part: range) -> None:
        path = self.scratch / name / f"shard={part.start}" / "part.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.con.to_parquet(table.drop("shard"), path)

    @override
    def spilled(self, name: str) -> ir.Table:
        # DuckDB's own partitions would also be those of folders above the workspace, such as user=3.
        files = glob.escape(str(self.scratch / name)).replace("'", "''")
        return self.con.sql(
            f"""
            SELECT * EXCLUDE (".file"), CAST(regexp_extract(".file", 'shard=([0-9]+)/[^/]+$', 1) AS BIGINT) AS shard
            FROM read_parquet('{files}/*/*.parquet', hive_partitioning = false, filename = ".file")
            """
        )

    @override
    def write(self, contents: Contents, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = contents.rows.order_by(*contents.order)
        renamed = rows.select([rows[held].name(name) for name, held in contents.columns.items()])
        # The file is renamed at the end because ibis quotes paths as Python does. A name with both kinds of quotes
        # would end the string in SQL.
        unnamed = path.parent / ".tmp-unnamed.parquet"
        self.con.to_parquet(renamed, unnamed, compression="zstd", row_group_size=ROW_GROUP)
        unnamed.replace(path)

    @override
    def write_part(self, contents: Contents, part: range, root: Path, files: Mapping[str, Condition]) -> None:
        rows = self.con.create_view("part", contents.rows, overwrite=True)  # ibis compiles it once, not for each file
        for name, held in files.items():
            file_contents = replace(contents, rows=rows.filter(held))
            self.write(file_contents, root / f"{part.start:05d}" / f"{name}.parquet")

    @override
    def epoch_us(self, moment: ir.TimestampValue) -> ir.IntegerValue:
        return epoch_us(moment)

    @override
    def draw(self, text: ir.StringValue) -> ir.IntegerValue:
        return ("0x" + text.hexdigest("md5").left(8)).cast("int64")

    @override
    def with_sums(self, values: ir.Table) -> ir.Table:
        so_far = ibis.window(order_by="value", preceding=(None, 0))
        return values.mutate(upto=values.weight.sum().over(so_far).cast("int64"))

    @override
    def rows(self, table: ir.Table) -> list[dict[str, Any]]:
        return table.to_pyarrow().to_pylist()


@ENGINES.register("duckdb")
@contextmanager
def session(workspace: Workspace, memory_mb: int) -> Iterator[Session]:
    """Open DuckDB within `memory_mb` of process memory; larger queries spill to the scratch folder."""
    scratch = workspace.scratch
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "spill").mkdir(parents=True)
    con = ibis.duckdb.connect(
        threads=cores.available(),
        memory_limit=f"{int(memory_mb * SESSION_SHARE)}MB",
        temp_directory=str(scratch / "spill"),
        preserve_insertion_order=False,  # every query whose order matters sorts
    )
    try:
        yield DuckDB(con, scratch)
    except duckdb.OutOfMemoryException as error:
        raise InputError(f"featurize.memory_mb={memory_mb} is too little for this log; raise it ({error})") from None
    except duckdb.Error as error:
        damaged_page = type(error) is duckdb.Error
        if not damaged_page and not isinstance(error, (duckdb.OperationalError, duckdb.InvalidInputException)):
            raise  # the query is wrong, not the log
        unusable = f"a file below {workspace.raw} or {scratch} can't be read or written; {error}"
        raise exhausted(error) or InputError(unusable) from None
    finally:
        con.disconnect()
        shutil.rmtree(scratch, ignore_errors=True)


@ibis.udf.scalar.builtin
def epoch_us(moment: dt.Timestamp(scale=6)) -> dt.int64:  # pyright: ignore[reportInvalidTypeForm]  # ibis reads it
    """Return the microseconds since 1970 of a UTC timestamp."""
