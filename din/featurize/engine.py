"""The embedded engine: one DuckDB session, its scratch folder, and a few expressions that Ibis lacks.

Intermediate tables are Parquet files under `.din/featurize`, partitioned by shard. Memory holds the windows of one
shard at a time, and the rest of the log stays on disk, at the cost of one more write and read of the log.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.duckdb import Backend

from din import cores
from din.errors import InputError
from din.workspace import Workspace

ROW_GROUP = 1 << 17
_DUCKDB_SHARE = 0.7  # of the process's memory; the rest is for Python, Arrow and malloc's slack
_HASH_BITS = 32


@dataclass(frozen=True)
class Session:
    """An open engine and the folder for its intermediate files."""

    con: Backend
    scratch: Path

    def store(self, name: str, table: ir.Table) -> ir.Table:
        """Materialise a small table (vocabularies, entities, one shard's rows), replacing one of that name."""
        quoted = sge.to_identifier(name, quoted=True).sql("duckdb")
        self.con.raw_sql(f"DROP TABLE IF EXISTS {quoted}")  # ibis 12's own drop is empty SQL with sqlglot 30
        return self.con.create_table(name, table)

    def write(self, table: ir.Table, path: Path) -> None:
        """Write one Parquet file; equal rows in equal order give equal bytes.

        The file is renamed at the end because ibis quotes paths as Python does, so a name with both kinds of quotes
        would end the string in SQL.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        unnamed = path.parent / ".tmp-unnamed.parquet"
        self.con.to_parquet(table, unnamed, compression="zstd", row_group_size=ROW_GROUP)
        unnamed.replace(path)

    def spill(self, name: str, table: ir.Table, shard: int) -> None:
        """Write one shard's part of an intermediate table; `spilled` reads the parts back."""
        path = self.scratch / name / f"shard={shard}" / "part.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.con.to_parquet(table, path)

    def scatter(self, name: str, table: ir.Table) -> ir.Table:
        """Write an intermediate table with a column `shard` as one folder per shard, and read it back."""
        self.con.to_parquet(table, self.scratch / name, partition_by="shard")
        return self.spilled(name)

    def spilled(self, name: str) -> ir.Table:
        """Return an intermediate table; a filter on `shard` reads only that shard's file."""
        return self.con.read_parquet(f"{self.scratch / name}/*/*.parquet", table_name=name, hive_partitioning=True)

    def scalars(self, table: ir.Table) -> dict:
        """Return the only row of an aggregate as Python values."""
        return table.to_pyarrow().to_pylist()[0]


@contextmanager
def session(workspace: Workspace, memory_mb: int) -> Iterator[Session]:
    """Open the engine within `memory_mb` of process memory; larger queries spill to the scratch folder.

    Raises:
        InputError: memory_mb is too small, a raw file is unreadable, or the disk is full.
    """
    scratch = workspace.scratch
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "spill").mkdir(parents=True)
    con = ibis.duckdb.connect(
        threads=cores.available(),
        memory_limit=f"{int(memory_mb * _DUCKDB_SHARE)}MB",
        temp_directory=str(scratch / "spill"),
        preserve_insertion_order=False,  # every query whose order matters sorts
    )
    try:
        yield Session(con, scratch)
    except duckdb.OutOfMemoryException as error:
        raise InputError(f"featurize.memory_mb={memory_mb} is too little for this log; raise it ({error})") from None
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise InputError(f"a file below {workspace.raw} or {scratch} can't be read or written; {error}") from None
    finally:
        con.disconnect()
        shutil.rmtree(scratch, ignore_errors=True)


@ibis.udf.scalar.builtin
def epoch_us(moment: dt.Timestamp(scale=6)) -> dt.int64:  # pyright: ignore[reportInvalidTypeForm]  # ibis reads it
    """Return the microseconds since 1970 of a UTC timestamp."""


def flag(value: bool) -> ir.IntegerValue:
    """Return an int8 0 or 1; a bare int8 literal would reach SQL as INTEGER."""
    return ibis.literal(value).cast("int8")


def double(value: float) -> ir.FloatingValue:
    """Return exactly this float64; DuckDB reads a bare decimal as DECIMAL, whose comparisons round: x >= x may fail."""
    return ibis.literal(repr(value)).cast("float64")


def draw(text: ir.StringValue) -> ir.IntegerValue:
    """Draw a uniform integer in [0, 2³²): the first 8 hex digits of md5, which are the same on every engine."""
    return ("0x" + text.hexdigest("md5").left(8)).cast("int64")


def draw_below(text: ir.StringValue, bound: ir.IntegerValue | int) -> ir.IntegerValue:
    """Draw a uniform integer in [0, bound), for bound < 2³¹: ⌊md5 fraction × bound⌋."""
    return (draw(text) * bound) >> _HASH_BITS


def threshold(fraction: float) -> int:
    """Return the bound that `draw` stays below for this fraction of keys."""
    return round(fraction * 2**_HASH_BITS)
