"""The tables of a log as DuckDB queries. DuckDB spills to disk whatever does not fit into its memory.

In SQL the columns are named c0, c1, …, because files may use any names, and SQL ignores their case. The column `row` is
the number of the row in the files, counted from 0 over all of them, so that messages can name its place.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import accumulate, count, pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, NamedTuple
from weakref import finalize

import duckdb
import pyarrow as pa

from din.base import cores
from din.base.errors import InputError, shown

BATCH = 1 << 17  # rows
_MEMORY = "128MB"  # for DuckDB; Python and Arrow need about as much


class Check(NamedTuple):
    """A rule that every row must obey."""

    broken: str  # the SQL condition of a row that breaks it
    name: str  # of the value, for messages, e.g. its column
    value: str  # its SQL expression
    expected: str
    fix: str | Callable[[Any], str]  # the next step, or a function of the value that returns it


@dataclass(frozen=True)
class Rows:
    """One table of a log."""

    con: duckdb.DuckDBPyConnection
    query: str  # SQL that selects `row` and the columns
    names: tuple[str, ...]  # of the columns c0, c1, …
    files: tuple[tuple[str, int], ...]  # name and number of rows of each, in reading order
    split: int = 1  # `row`, divided by it, is the number of the row in the files

    @classmethod
    def of(cls, name: str, columns: Mapping[str, Any]) -> "Rows":
        """Return a small table of one file, in memory."""
        table = pa.table({**columns})
        con = _in_memory().cursor()
        con.register("in_memory", numbered(table, 0))
        return cls(con, "SELECT * FROM in_memory", tuple(table.column_names), ((name, table.num_rows),))

    @property
    def name(self) -> str:
        """The name of all files together, for messages."""
        return joined([name for name, _ in self.files])

    @cached_property
    def types(self) -> dict[str, str]:
        """DuckDB's type of each column."""
        described = self.con.execute(f"DESCRIBE {self.query}").fetchall()
        kinds = {column: kind for column, kind, *_ in described}
        return {name: kinds[self[name]] for name in self.names}

    @cached_property
    def count(self) -> int:
        """The number of rows."""
        return self.ask("count(*)")[0]

    @property
    def rows_of_files(self) -> list[int]:
        """The number of these rows that come from each file, in reading order."""
        ends = [end * self.split for end in accumulate(rows for _, rows in self.files)]
        until = self.ask(*(f"count(*) FILTER (WHERE row < {end})" for end in ends))
        return [end - start for start, end in pairwise((0, *until))]

    @property
    def table(self) -> pa.Table:
        """All rows, in memory, in the order of the files."""
        schema = self.schema
        return pa.Table.from_batches([*self.batches("row")], schema)

    @property
    def schema(self) -> pa.Schema:
        """The columns' types in Arrow."""
        return self._named(
            self.con.execute(f"SELECT * EXCLUDE row FROM ({self.query}) LIMIT 0").to_arrow_table().schema
        )

    def __getitem__(self, name: str) -> str:
        """Return the name of a column in SQL."""
        return f"c{self.names.index(name)}"

    def select(self, columns: Mapping[str, str]) -> "Rows":
        """Return rows with other columns, each an SQL expression over these."""
        chosen = "".join(f", {sql} AS c{at}" for at, sql in enumerate(columns.values()))
        return replace(self, query=f"SELECT row{chosen} FROM ({self.query})", names=tuple(columns))

    def exploded(self, columns: Mapping[str, str], length: str, most: int) -> "Rows":
        """Return several rows for each, with other columns that are SQL expressions with `unnest`.

        Args:
            columns: the columns.
            length: SQL for the number of rows that a row becomes, at most `most`.
        """
        chosen = "".join(f", {sql} AS c{at}" for at, sql in enumerate(columns.values()))
        query = f"SELECT row * {most} + unnest(range({length})) AS row{chosen} FROM ({self.query})"
        return replace(self, query=query, names=tuple(columns), split=self.split * most)

    def where(self, condition: str) -> "Rows":
        """Return the rows that fulfil a condition in SQL."""
        return replace(self, query=f"SELECT * FROM ({self.query}) WHERE {condition}")

    def one_each(self, pick: Literal["min", "max"], *keys: str, order: str | None = None) -> "Rows":
        """Return the first row (`min`) or the last one (`max`) for each combination of some values.

        Args:
            keys: an SQL expression for each value.
            order: an SQL expression that orders the rows; the files' order breaks ties, and is the default.
        """
        row = f"arg_{pick}(row, ({order}, row))" if order else f"{pick}(row)"
        return self.where(f"row IN (SELECT {row} FROM ({self.query}) GROUP BY {', '.join(keys)})")

    def stored(self, path: Path) -> "Rows":
        """Return the same rows from a file that holds them from now on, so that their query runs only once."""
        file = quoted(str(path))
        self.con.execute(f"COPY ({self.query}) TO {file} (FORMAT parquet, COMPRESSION lz4, PRESERVE_ORDER false)")
        return replace(self, query=f"SELECT * FROM read_parquet({file}, hive_partitioning = false)")

    def ask(self, *expressions: str) -> tuple[Any, ...]:
        """Return the values of aggregates."""
        row = self.con.execute(f"SELECT {', '.join(expressions)} FROM ({self.query})").fetchone()
        assert row is not None
        return row

    def require(self, checks: Iterable[Check], advice: str | None = None) -> None:
        """Check all rows in one pass. `advice` replaces the `fix` of each check.

        Raises:
            InputError: a row breaks a check. The message names the first row of the first such check.
        """
        checks = [*checks]
        firsts = self.ask("count(*)", *(f"min(row) FILTER (WHERE {check.broken})" for check in checks))[1:]
        for check, row in zip(checks, firsts, strict=True):
            if row is not None:
                query = f"SELECT {check.value} FROM ({self.query}) WHERE row = {row} AND ({check.broken}) LIMIT 1"
                ((value,),) = self.con.execute(query).fetchall()
                fix = advice or (check.fix if isinstance(check.fix, str) else check.fix(value))
                actual = "missing" if value is None else shown(value) if isinstance(value, str) else value
                others = self.ask(f"count(*) FILTER (WHERE {check.broken})")[0] - 1
                also = f"; {others:,} more rows have such a value" if others else ""
                raise InputError(f"{self.at(row)}: {check.name} is {actual}; expected {check.expected}: {fix}{also}")

    def at(self, row: int) -> str:
        """Return the place of a row for messages, e.g. `clicks.csv row 17`.

        Rows are counted from 1 within their file, without the header.
        """
        row //= self.split
        for name, rows in self.files:
            if row < rows:
                return f"{name} row {row + 1}"
            row -= rows
        raise IndexError(row)

    def batches(self, order: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows in batches, in an order given in SQL. The next query on the connection ends the iteration."""
        query = f"SELECT * EXCLUDE row FROM ({self.query}) ORDER BY {order}"
        for batch in self.con.execute(query).to_arrow_reader(BATCH):
            schema = self._named(batch.schema)
            columns = [column.cast(kind) for column, kind in zip(batch.columns, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _named(self, schema: pa.Schema) -> pa.Schema:
        """Return a schema of DuckDB with our names of columns, and with Arrow's name for the elements of lists."""
        kinds = [pa.list_(kind.value_type) if pa.types.is_list(kind) else kind for kind in schema.types]
        return pa.schema([*zip(self.names, kinds, strict=True)])


def joined(names: Sequence[str]) -> str:
    """Return the name of all files together, for messages."""
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


class Store:
    """An engine with bounded memory, and a folder for its tables and its spilled data."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = Path(mkdtemp(dir=folder))
        self.con = duckdb.connect(
            config={"threads": cores.available(), "memory_limit": _MEMORY, "temp_directory": str(self.folder / "spill")}
        )
        finalize(self.con, shutil.rmtree, self.folder, ignore_errors=True)  # once no rows need the folder
        self.con.execute("SET TimeZone = 'UTC'")
        self._count = count()

    def file(self, table: str) -> Path:
        """Return the path for the rows of a table, and delete an earlier table of that name."""
        for old in self.folder.glob(f"{table}-*.parquet"):
            old.unlink()
        return self.folder / f"{table}-{next(self._count)}.parquet"


def quoted(text: str) -> str:
    """Return text as a constant of SQL; DuckDB takes a zero byte for the end of a literal."""
    literals = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return literals[0] if len(literals) == 1 else f"({' || chr(0) || '.join(literals)})"


def numbered(table: pa.Table, start: int) -> pa.Table:
    """Return a table with its columns named c0, c1, …, and with a column `row` that counts from `start`."""
    table = table.rename_columns([f"c{at}" for at in range(table.num_columns)])
    return table.add_column(0, "row", pa.arange(start, start + table.num_rows))


@cache
def _in_memory() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()
