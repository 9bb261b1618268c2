"""Tables of Apache Spark as files of a log, one a day: `spark://lake.clicks/day={date}.parquet`.

Before `=` is the column of days, of dates or of text. A day is read through the driver and held in memory while it is
open. It is sorted by all its columns, so that equal rows give equal bytes, and its digest is that of its rows: a fetch
reads each day to hash it, and again only if it changed. Columns of maps can't be sorted.
"""

import atexit
import io
import re
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from typing_extensions import override

from din.base.errors import InputError, listed
from din.data.files import ANY_DAY
from din.params.fetch import DATE
from din_spark import session as spark

_PLACE = re.compile(r"([^/]+)/([^/=]+)=([^/]+)\.parquet")


class SparkTables(AbstractFileSystem):
    """A file system whose files are the days of Spark's tables."""

    protocol = "spark"
    _held = ("", b"")  # the path and the bytes of the day that was opened last

    @override
    def glob(self, path: str, *_: Any, **__: Any) -> list[str]:
        """Return the paths of all days of a table.

        Raises:
            InputError: the path names no table, or no column of it.
            Unavailable: Spark does not answer.
        """
        table, column, day = _parts(path)
        if day != ANY_DAY:
            raise InputError(
                f"spark://{path}: expected a table and its column of days, spark://TABLE/COLUMN={DATE}.parquet"
            )
        self._held = ("", b"")
        with spark.explained(f"spark://{table}", names=True):
            if not self._spark.catalog.tableExists(table):
                raise InputError(f"spark://{table}: Spark knows no such table; correct the name")
            rows = self._spark.table(table)
            if column not in rows.columns:
                raise InputError(f"spark://{table}: no column {column!r}; its columns: {listed(rows.columns)}")
            days = rows.selectExpr(f"{_text(column)} AS day").distinct().collect()
        if any(row.day is None for row in days):
            raise InputError(f"spark://{table}: column {column!r} is NULL in some rows; expected a day in each")
        return [f"{table}/{column}={row.day}.parquet" for row in days]

    @override
    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": None}

    @override
    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        if self._held[0] != path:
            self._held = (path, self._day(path))
        return io.BytesIO(self._held[1])

    def _day(self, path: str) -> bytes:
        """Return the rows of a day as a Parquet file."""
        table, column, day = _parts(path)
        content = io.BytesIO()
        with spark.explained(f"spark://{path}", names=True):
            rows = self._spark.table(table).where(f"{_text(column)} = '{day}'")
            pq.write_table(rows.orderBy(*map(_quoted, rows.columns)).toArrow(), content)
        return content.getvalue()

    @cached_property
    def _spark(self) -> Any:
        """A session that ends with the process."""
        session = ExitStack()
        atexit.register(session.close)
        return session.enter_context(spark.running("din fetch", "fetch.table"))


def _parts(path: str) -> tuple[str, str, str]:
    """Return the table, the column of days, and the day that a path names; empty text if it names none."""
    match = _PLACE.fullmatch(path)
    return (match[1], match[2], match[3]) if match else ("", "", "")


def _quoted(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"


def _text(column: str) -> str:
    return f"CAST({_quoted(column)} AS string)"
