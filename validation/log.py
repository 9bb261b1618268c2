"""The raw log in DuckDB: its tables, its calendar, and the declared kinds of its columns.

The events are copied once into a temporary database on disk, because a log of years has thousands of small files and a
suite scans the events about thirty times. Every scan runs in DuckDB, which spills to disk. Only figures by day, user or
value, and a few examples, reach Python. Names of columns come from outside, so they enter SQL only through `quoted`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from din import cores, documents
from din.artifacts import MANIFEST
from din.document_types import RawManifest
from din.params import Params
from din.schema import ITEM_ID, LABEL, USER_ID, Field, parse_fields
from din.workspace import Workspace
from validation.checks import SAMPLE, Severity
from validation.trailing import Calendar

SIDE_IDS = {"items": (ITEM_ID,), "users": (USER_ID,), "history": (USER_ID, ITEM_ID)}
_CLICKS_ALONE = 0.999  # from this CTR on, labels carry no information


@dataclass(frozen=True)
class Log:
    """An open raw log, with the table `events`, and `items`, `users` and `history` if the log has them.

    Attributes:
        connection: the database.
        tables: the side tables of the log.
        until: the last day that may be used.
        daily: whether the source promises rows for every day.
        protocol: temporal, by_user or leave_last_out.
        fields: the declared columns by name, which the model reads; others are only kept.
        calendar: the days with events; under `temporal` the newest are those that validate or test.
        newest_severity: the severity of an expectation that an extreme newest day breaks.
    """

    connection: duckdb.DuckDBPyConnection
    tables: tuple[str, ...]
    until: date | None
    daily: bool
    protocol: str
    fields: dict[str, Field]
    calendar: Calendar
    newest_severity: Severity

    def one(self, query: str) -> tuple[Any, ...]:
        """Return the only row of a query."""
        row = self.connection.execute(query).fetchone()
        assert row is not None, query
        return row

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return all rows of a query."""
        found = self.connection.execute(query)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def sample(self, query: str, count: float | None) -> list[dict[str, Any]]:
        """Return a few rows of a query, or none without running it if `count` is 0 or None."""
        return self.rows(f"{query} LIMIT {SAMPLE}") if count else []

    def arrays(self, query: str) -> dict[str, np.ndarray]:
        """Return the columns of a query of numbers and days; a missing number is NaN."""
        return _arrays(self.connection, query)

    def columns(self, table: str) -> dict[str, str]:
        """Return the names and DuckDB types of a table's columns."""
        return {row["column_name"]: row["column_type"] for row in self.rows(f"DESCRIBE {table}")}

    @property
    def first_newest(self) -> str:
        """The first of the newest days, or a day after all others if there are none."""
        days = self.calendar.days
        return str(days[self.calendar.newest]) if self.calendar.newest < len(days) else "9999-12-31"

    def labels_vary(self) -> bool:
        """Return whether labels can tell users, items and days apart, which they can't in a log of clicks only."""
        (ctr,) = self.one(f"SELECT avg({LABEL}) FROM events")
        return ctr is not None and ctr < _CLICKS_ALONE


@contextmanager
def opened(workspace: Workspace, params: Params) -> Iterator[Log]:
    """Open `data/raw`.

    Raises:
        InputError: the manifest is missing or has another format, or `featurize.fields` is invalid.
    """
    root = workspace.raw
    manifest = read_manifest(root)
    protocol = params.featurize.protocol or manifest["protocol"]
    heldout_days = params.featurize.valid_days + params.featurize.test_days
    declared = params.featurize.fields or manifest["fields"]
    fields = parse_fields({group: columns or {} for group, columns in declared.items()})
    until = date.fromisoformat(manifest["until"]) if manifest["until"] else None
    tables = tuple(name for name in SIDE_IDS if (root / f"{name}.parquet").exists())
    with (
        TemporaryDirectory() as folder,
        duckdb.connect(f"{folder}/log.duckdb", config={"threads": cores.available()}) as connection,
    ):
        connection.execute(
            f"CREATE TABLE events AS SELECT * FROM read_parquet({text(root / 'events/*/*.parquet')}, "
            "union_by_name = true, hive_partitioning = true, hive_types = {'date': VARCHAR})"
        )
        for name in tables:
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet({text(root / f'{name}.parquet')})")
        yield Log(
            connection=connection,
            tables=tables,
            until=until,
            daily=manifest["daily"],
            protocol=protocol,
            fields={field.name: field for field in fields},
            calendar=_calendar(connection, until, heldout_days if protocol == "temporal" else 0),
            newest_severity="critical" if params.validate_raw.strange_days == "critical" else "warning",
        )


def read_manifest(root: Path) -> RawManifest:
    """Read the manifest that `fetch` wrote.

    Raises:
        InputError: it is missing, or not a manifest of this version.
    """
    return documents.read(RawManifest, root / MANIFEST, "run `dvc repro fetch`")


def quoted(name: str) -> str:
    """Return a column's name as an SQL identifier, safe for any name."""
    return '"' + name.replace('"', '""') + '"'


def text(path: Path) -> str:
    """Return a path as an SQL string, safe for any path."""
    return "'" + str(path).replace("'", "''") + "'"


def _calendar(connection: duckdb.DuckDBPyConnection, until: date | None, heldout_days: int) -> Calendar:
    days = _arrays(connection, "SELECT DISTINCT date::DATE AS day FROM events ORDER BY day")["day"]
    days = days.astype("datetime64[D]")
    if not heldout_days or not len(days):
        return Calendar(days, len(days))
    last = np.datetime64(until, "D") if until else days[-1]
    first = last - np.timedelta64(heldout_days - 1, "D")
    return Calendar(days, int(np.searchsorted(days, first)))


def _arrays(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, np.ndarray]:
    found = connection.execute(query).fetchnumpy()
    return {name: _filled(np.ma.asarray(column)) for name, column in found.items()}


def _filled(column: np.ma.MaskedArray) -> np.ndarray:
    if np.ma.is_masked(column):
        return np.where(np.ma.getmaskarray(column), np.nan, column.data.astype(float))
    return np.asarray(column.data)
