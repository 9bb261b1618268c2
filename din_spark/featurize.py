"""Apache Spark, for logs that one machine can't hold.

All shards are processed together, so each step is one distributed job. The workers read the log and write every file;
the driver sees counts, bucket edges, and the names of files.

Driver and workers need the workspace at the same path, in a folder that they share. Intermediate tables are Parquet
files below it, so a lost worker costs the tasks that ran there. Numbering users, items, and the values of a field takes
one task each, however large the cluster is. Workers need Python and pyarrow, but not this package.
"""

import itertools
import math
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.pyspark import Backend
from pyspark.sql import DataFrame, SparkSession
from typing_extensions import override

from din.base.errors import InputError, listed
from din.base.workspace import Workspace
from din.featurize.engine import ROW_GROUP, SESSION_SHARE, Condition, Contents, Session, bounds_below
from din_spark.session import existing, running, url

_RANGES = 100
"""The most ranges of values that are sorted apart."""
_IN_RANGE = 1 << 16
"""Values of a range, on average, unless there would be too many ranges."""
_TRIES = 16
"""Tasks that look for the workspace; more than the cores of a few workers."""
_Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Spark(Session):
    """A Spark session, the folder for its intermediate files, and the files of the log that it reads."""

    con: Backend
    scratch: Path
    inputs: list[Path] = field(default_factory=list)
    stored: dict[str, ir.Table] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def spark(self) -> SparkSession:
        """Spark's own session."""
        return self.con._session

    @override
    def read(self, files: Sequence[Path], name: str) -> ir.Table:
        self.inputs.extend(files)
        return self._table(self.spark.read.parquet(*map(existing, files)), name)

    @override
    def store(self, name: str, table: ir.Table) -> ir.Table:
        folder = self.scratch / str(next(self.numbers))  # always a new one: a later query may still read the old one
        frame = self._frame(table)
        frame.write.parquet(url(folder))
        for path in self.inputs:
            if not path.exists():  # Sail reads it as empty
                raise InputError(f"{path}: removed while Spark read it; run `din fetch` again")
        # Sail writes no file for an empty table, so the columns can't be read from it.
        self.stored[name] = self._table(self.spark.read.schema(frame.schema).parquet(existing(folder)), "stored")
        return self.stored[name]

    @override
    def parts(self, shards: int) -> Sequence[range]:
        return [range(shards)]

    @override
    def part(self, rows: ir.Table, part: range) -> ir.Table:
        return rows

    @override
    def scatter(self, name: str, table: ir.Table) -> ir.Table:
        return self.store(name, table)

    @override
    def spill(self, name: str, table: ir.Table, part: range) -> None:
        self.store(name, table)

    @override
    def spilled(self, name: str) -> ir.Table:
        return self.stored[name]

    @override
    def write(self, contents: Contents, path: Path) -> None:
        self._write(contents, path.parent, ibis.literal(path.name), [path.name])

    @override
    def write_part(self, contents: Contents, part: range, root: Path, files: Mapping[str, Condition]) -> None:
        held = contents.rows.bind(*files.values())
        name = ibis.cases(*[(condition, f"/{name}.parquet") for condition, name in zip(held, files, strict=True)])
        file = contents.rows.shard.cast("string").lpad(5, "0") + name
        self._write(contents, root, file, [f"{shard:05d}/{name}.parquet" for shard in part for name in files])

    def _write(self, contents: Contents, root: Path, file: ir.StringValue, files: Sequence[str]) -> None:
        """Let the workers write files below `root`; `file` is the path of each row's file."""
        rows = contents.rows
        schema = rows.select(list(contents.columns.values())).schema().to_pyarrow()
        schema = pa.schema([schema.field(n).with_name(name) for n, name in enumerate(contents.columns)])
        held = {f"column_{n}": rows[name] for n, name in enumerate(contents.columns.values())}
        # The window sorts each file's rows in one task. Workers check the numbers, so no engine can lose the order.
        number = ibis.row_number().over(group_by=file, order_by=contents.order)
        frame = self._frame(rows.select(file=file, number=number, **held))
        temporary = root / f".tmp-{uuid.uuid4().hex}"  # no task of an earlier run, whose driver was killed, writes here
        try:
            for name in files:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write = _writer(str(temporary.absolute()), schema)
            written = {row.file for row in frame.mapInArrow(write, "file string").collect()}
            for name in files:
                if name in written:
                    (temporary / name).replace(root / name)
                else:
                    pq.write_table(schema.empty_table(), root / name, compression="zstd")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @override
    def epoch_us(self, moment: ir.TimestampValue) -> ir.IntegerValue:
        return unix_micros(moment.cast("timestamp('UTC')"))

    @override
    def draw(self, text: ir.StringValue) -> ir.IntegerValue:
        return conv(text.hexdigest("md5").left(8), 16, 10).cast("int64")

    @override
    def with_sums(self, values: ir.Table) -> ir.Table:
        """See `Session`. Tasks sort ranges of the values. Bounds are drawn at random, which changes no sum."""
        values = self.store("values", values)
        drawn = self.rows(values.filter(ibis.random() < 1 / _IN_RANGE).select("value"))
        bounds = sorted(row["value"] for row in drawn)[:: 1 + len(drawn) // _RANGES]
        values = values.mutate(range=bounds_below(values.value, bounds))
        ranges = values.group_by("range").aggregate(weight=values.weight.sum().cast("int64"))
        earlier = ibis.window(order_by="range", preceding=(None, 1))
        ranges = ranges.select("range", before=ranges.weight.sum().over(earlier).fill_null(0))
        values = values.join(ranges, "range")
        so_far = ibis.window(group_by="range", order_by="value", preceding=(None, 0))
        return values.mutate(upto=(values.before + values.weight.sum().over(so_far)).cast("int64"))

    @override
    def rows(self, table: ir.Table) -> list[dict[str, Any]]:
        return self._frame(table).toArrow().to_pylist()

    def _table(self, frame: DataFrame, name: str) -> ir.Table:
        view = f"{name}_{next(self.numbers)}"
        frame.createOrReplaceTempView(view)
        return self.con.table(view)

    def _frame(self, table: ir.Table) -> DataFrame:
        view = f"query_{next(self.numbers)}"
        self.con.create_view(view, table)
        return self.spark.table(view)


@contextmanager
def session(workspace: Workspace, memory_mb: int) -> Iterator[Session]:
    """Open Spark, with a heap for this process within `memory_mb`. Spark's own settings decide the workers' memory.

    Raises:
        InputError, Unavailable: see `din_spark.session.running`.
        InputError: the workers don't see the workspace, or the server reads NaN as another number.
    """
    with running("din featurize", workspace.raw, int(memory_mb * SESSION_SHARE)) as spark:
        shutil.rmtree(workspace.scratch, ignore_errors=True)
        scratch = workspace.scratch.absolute() / uuid.uuid4().hex  # see `Spark._write`
        scratch.mkdir(parents=True)
        try:
            warnings.filterwarnings("ignore", "'verifySchema' is ignored")  # Ibis asks for it, also of Spark Connect
            _check_workers(spark, scratch)
            _check_numbers(spark, scratch)
            yield Spark(ibis.pyspark.connect(spark), scratch)
        finally:
            shutil.rmtree(workspace.scratch, ignore_errors=True)


def _writer(root: str, schema: pa.Schema) -> Callable[[Iterable[pa.RecordBatch]], _Batches]:
    """Return a function that writes batches (file, number in the file, columns) and yields the names of the files.

    Spark sends the function to the workers. It is nested, and imports what it uses, so that they don't need this
    module.
    """
    size = ROW_GROUP

    def pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Cut batches where the file changes."""
        import numpy as np
        import pyarrow.compute as pc

        last = None
        following = 0
        for batch in batches:
            runs = pc.run_end_encode(batch.column(0))
            start = 0
            for name, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
                piece = batch.slice(start, end - start)
                following = following if name == last else 0
                if not np.array_equal(piece.column(1), np.arange(following, following + piece.num_rows)):
                    raise ValueError(f"{name}: rows out of order, after row {following}")
                yield name, piece
                last = name
                following += piece.num_rows
                start = end

    def groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        """Join and cut the batches of one file to row groups of equal size."""
        import pyarrow as pa

        waiting: list[pa.RecordBatch] = []
        count = 0
        for batch in batches:
            while batch.num_rows:
                piece = batch.slice(0, size - count)
                waiting.append(piece)
                count += piece.num_rows
                batch = batch.slice(piece.num_rows)
                if count == size:
                    yield pa.Table.from_batches(waiting)
                    waiting = []
                    count = 0
        if waiting:
            yield pa.Table.from_batches(waiting)

    def write(batches: Iterable[pa.RecordBatch]) -> _Batches:
        import itertools
        import uuid
        from operator import itemgetter
        from pathlib import Path

        import pyarrow as pa
        import pyarrow.parquet as pq

        for file, file_pieces in itertools.groupby(pieces(batches), itemgetter(0)):
            path = Path(root, file)
            temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")  # a retry of the task may write at the same time
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for table in groups(batch for _, batch in file_pieces):
                    columns = table.columns[2:]
                    renamed = pa.Table.from_arrays(columns, names=schema.names)
                    writer.write_table(renamed.cast(schema), row_group_size=size)
            temporary.replace(path)
            yield pa.RecordBatch.from_pydict({"file": [file]})

    return write


def _check_workers(spark: SparkSession, scratch: Path) -> None:
    sign = scratch / "seen"
    sign.touch()
    path = str(sign)

    def look(batches: Iterable[pa.RecordBatch]) -> _Batches:
        import socket
        from pathlib import Path

        import pyarrow as pa

        for batch in batches:
            host = None if Path(path).exists() else socket.gethostname()
            yield pa.RecordBatch.from_pydict({"host": [host] * batch.num_rows}, schema=pa.schema({"host": pa.string()}))

    rows = spark.range(0, _TRIES, 1, _TRIES).mapInArrow(look, "host string").collect()
    blind = sorted({row.host for row in rows if row.host})
    if blind:
        raise InputError(
            f"{scratch}: not seen by {listed(blind)}; put the workspace in a folder that the driver and all workers "
            "mount at the same path"
        )


def _check_numbers(spark: SparkSession, scratch: Path) -> None:
    """Check that a number beside NaN does not take its place.

    The statistics of a Parquet file leave NaN out. DataFusion, and so Sail, takes them for all values if smallest and
    largest are equal (https://github.com/apache/datafusion/pull/24804).
    """
    file = scratch / "numbers.parquet"
    pq.write_table(pa.table({"number": [1.0, math.nan]}), file)
    if not spark.read.parquet(existing(file)).filter("isnan(number)").count():
        raise InputError(
            "this server of Spark Connect reads NaN as another number, because it trusts the statistics of Parquet "
            "files; start Sail with SAIL_EXECUTION__COLLECT_STATISTICS=false"
        )


@ibis.udf.scalar.builtin
def unix_micros(moment: dt.Timestamp("UTC")) -> dt.int64:  # pyright: ignore[reportInvalidTypeForm]  # ibis reads it
    """Return the microseconds since 1970 of a UTC timestamp."""


@ibis.udf.scalar.builtin
def conv(digits: str, base: int, other: int) -> str:  # pyright: ignore[reportReturnType]
    """Convert the digits of a number from one base to another."""
