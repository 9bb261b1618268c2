"""The data of a suite: a directory, the parameters, and DuckDB tables that stay open until the suite ends.

The tables are in a temporary database below `.din`. What exceeds `MEMORY_MB` is spilled beside it, so memory does not
grow with the log. Column names come from users' files, so they enter SQL only through `quoted`. A user's column may
have the name of an alias, and then wins. A SELECT from a table with users' columns therefore reads none of its own
aliases outside ORDER BY and HAVING; an outer SELECT does.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np

from din.base import cores, memory
from din.base.workspace import Suite, Workspace
from din.params.reading import Params
from validation.thresholds import Threshold, threshold

Rows = Sequence[Mapping[str, Any]]
SAMPLE = 5
"""The number of offending rows in a report."""

MEMORY_MB = int(min(4_000, memory.available_mb() / 2))
"""The memory of DuckDB: at most half of what this process may use. Python and its libraries need about 1 GB more."""


class SuiteData:
    """The data of a suite. Its tables are created at the first query."""

    suite: ClassVar[Suite]

    def __init__(self, workspace: Workspace, params: Params) -> None:
        self.workspace = workspace
        self.params = params
        self._open = ExitStack()

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The database, with the tables that `load` creates."""
        folder = self.workspace.tables
        shutil.rmtree(folder, ignore_errors=True)  # of a suite that was killed
        folder.mkdir(parents=True)
        self._open.callback(shutil.rmtree, folder)
        config: dict[str, Any] = {"threads": cores.available(), "memory_limit": f"{MEMORY_MB}MB"}
        connection = self._open.enter_context(duckdb.connect(str(folder / "tables.duckdb"), config=config))
        self.load(connection)
        return connection

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create the tables that expectations and a user's own SELECTs read."""

    def threshold(self, name: str) -> Threshold:
        """Return the threshold of an expectation."""
        return threshold(self.suite, name, self.params)

    def views(self) -> dict[str, str]:
        """Return the queries of views that only a user's own expectations read, by the name of the view."""
        return {}

    def close(self) -> None:
        """Close the database."""
        self._open.close()

    def one(self, query: str) -> tuple[Any, ...]:
        """Return the only row of a query."""
        row = self.connection.execute(query).fetchone()
        assert row is not None, query
        return row

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return all rows of a query."""
        result = self.connection.execute(query)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def sample(self, query: str) -> Callable[[], Rows]:
        """Return a function that runs the query and returns its first `SAMPLE` rows."""
        return lambda: self.rows(f"{query} LIMIT {SAMPLE}")

    def arrays(self, query: str) -> dict[str, np.ndarray]:
        """Return the columns of a query as arrays; a missing number is NaN."""
        columns = self.connection.execute(query).fetchnumpy()
        return {name: _filled(np.ma.asarray(column)) for name, column in columns.items()}

    def columns(self, table: str) -> dict[str, str]:
        """Return the names and DuckDB types of a table's columns."""
        return {row["column_name"]: row["column_type"] for row in self.rows(f"DESCRIBE {table}")}


def quoted(name: str) -> str:
    """Return a column's name as an SQL identifier, safe for any name."""
    return '"' + name.replace('"', '""') + '"'


def text(path: Path) -> str:
    """Return a path as an SQL string for DuckDB's readers, safe for any path; only `*` is a pattern."""
    return "'" + str(path).replace("'", "''").replace("[", "[[]") + "'"


def _filled(column: np.ma.MaskedArray) -> np.ndarray:
    if np.ma.is_masked(column):
        return np.where(np.ma.getmaskarray(column), np.nan, column.data.astype(float))
    return np.asarray(column.data)
