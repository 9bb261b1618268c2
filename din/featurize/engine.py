"""The interface of the two engines that run featurize's Ibis program: DuckDB on one machine, and Apache Spark.

A session reads and writes files, keeps intermediate tables, and provides the few expressions that Ibis lacks.
Everything else is the same program, so both engines give the same rows in the same order.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from din.base.workspace import Workspace
from din.featurize import ENGINES
from din.params.featurize import Featurize

ROW_GROUP = 1 << 17
SESSION_SHARE = 0.7  # the engine's share of the process's memory; the rest is for Python, Arrow and malloc's slack
_HASH_BITS = 32
Condition = ir.BooleanValue | ibis.Deferred
"""Which rows of a table to keep."""


@dataclass(frozen=True)
class Contents:
    """The rows and columns of the files to write.

    Attributes:
        order: the columns of `rows` that order them uniquely.
        columns: the column of `rows` that each column of the file holds, by the file's name for it, which is any text.
    """

    rows: ir.Table
    order: Sequence[str]
    columns: Mapping[str, str]


class Session(ABC):
    """An open engine."""

    @abstractmethod
    def read(self, files: Sequence[Path], name: str) -> ir.Table:
        """Open Parquet files with the same columns; `name` is the table's name in queries."""

    @abstractmethod
    def store(self, name: str, table: ir.Table) -> ir.Table:
        """Materialise a small table (vocabularies, entities, one part's rows). It replaces a table of the same name."""

    @abstractmethod
    def parts(self, shards: int) -> Sequence[range]:
        """Return the shards that are processed together: one at a time, or all."""

    @abstractmethod
    def part(self, rows: ir.Table, part: range) -> ir.Table:
        """Return the rows of the shards in `part`, from a table with a column `shard`."""

    @abstractmethod
    def scatter(self, name: str, table: ir.Table) -> ir.Table:
        """Write an intermediate table by its column `shard`, and read it back."""

    @abstractmethod
    def spill(self, name: str, table: ir.Table, part: range) -> None:
        """Write the shards in `part` of an intermediate table with a column `shard`; `spilled` reads all back."""

    @abstractmethod
    def spilled(self, name: str) -> ir.Table:
        """Return all shards of an intermediate table."""

    @abstractmethod
    def write(self, contents: Contents, path: Path) -> None:
        """Write one Parquet file; equal rows give equal bytes."""

    @abstractmethod
    def write_part(self, contents: Contents, part: range, root: Path, files: Mapping[str, Condition]) -> None:
        """Write the files `root/<shard>/<name>.parquet` of the shards in `part`, empty ones too; see `write`.

        Args:
            contents: the rows of these shards, with a column `shard`.
            root: the folder of the shards.
            files: the name of each file, and which rows it holds.
        """

    @abstractmethod
    def epoch_us(self, moment: ir.TimestampValue) -> ir.IntegerValue:
        """Return the microseconds since 1970 of a UTC timestamp."""

    @abstractmethod
    def draw(self, text: ir.StringValue) -> ir.IntegerValue:
        """Draw a uniform integer in [0, 2³²): the first 8 hex digits of md5, which are the same on every engine."""

    def draw_below(self, text: ir.StringValue, bound: ir.IntegerValue | int) -> ir.IntegerValue:
        """Draw a uniform integer in [0, bound), for bound < 2³¹: ⌊md5 fraction × bound⌋."""
        return (self.draw(text) * bound) >> _HASH_BITS

    @abstractmethod
    def with_sums(self, values: ir.Table) -> ir.Table:
        """Add `upto` (int64), the sum of `weight` up to each row, to numbers with unique `value`s."""

    @abstractmethod
    def rows(self, table: ir.Table) -> list[dict[str, Any]]:
        """Return the rows of a small table as Python values."""

    def scalars(self, table: ir.Table) -> dict[str, Any]:
        """Return the only row of an aggregate as Python values."""
        return self.rows(table)[0]

    def size(self, table: ir.Table) -> int:
        """Return the number of rows."""
        return self.scalars(table.aggregate(rows=table.count()))["rows"]


def session(workspace: Workspace, params: Featurize) -> AbstractContextManager[Session]:
    """Open the engine that the parameters name, within `memory_mb` of process memory.

    Raises:
        InputError: memory_mb is too small, or a raw file is unreadable; pyspark or Java is missing, or the workers of
            the cluster don't see the workspace.
        Unavailable: the disk is full, or the cluster does not answer.
    """
    return ENGINES[params.engine].thing(workspace, params.memory_mb)


def flag(value: bool) -> ir.IntegerValue:
    """Return an int8 0 or 1; a bare int8 literal would reach SQL as INTEGER."""
    return ibis.literal(value).cast("int8")


def double(value: float) -> ir.FloatingValue:
    """Return exactly this float64; DuckDB reads a bare decimal as DECIMAL, whose comparisons round: x >= x may fail."""
    return ibis.literal(repr(value)).cast("float64")


def bounds_below(values: ir.Value, bounds: Sequence[float], first: int = 0) -> ir.Value:
    """Return the number of sorted bounds at or below each value, plus `first`, by binary search."""
    if not bounds:
        return ibis.literal(first)
    half = len(bounds) // 2
    lower = bounds_below(values, bounds[:half], first)
    upper = bounds_below(values, bounds[half + 1 :], first + half + 1)
    return ibis.ifelse(values < double(bounds[half]), lower, upper)


def threshold(fraction: float) -> int:
    """Return the bound that `Session.draw` stays below for this fraction of keys."""
    return round(fraction * 2**_HASH_BITS)
