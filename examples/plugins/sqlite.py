"""A source: the events of a SQLite database.

Name this file in `plugins`, and set

    fetch:
      source: sqlite
      options: {path: clicks.db, query: "SELECT user_id, item_id, shown_at, clicked FROM events ORDER BY shown_at"}

The query gives a user, an item, a time in seconds since 1970, and 0 or 1 for a click, in this order. Further
columns are kept under their names, for context fields.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from typing_extensions import override

from din.base.artifacts import sha256_file
from din.base.errors import InputError
from din.data import SOURCES
from din.data.rawlog import TIME, RawLog
from din.data.rows import Rows
from din.data.source import Source
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID


@dataclass(frozen=True)
class Options:
    """Options of the source: the database's path, relative to params.yaml, and the query for events."""

    path: str = "clicks.db"
    query: str = "SELECT user_id, item_id, shown_at, clicked FROM events ORDER BY shown_at"


@SOURCES.register("sqlite", Options)
class Sqlite(Source):
    """Events of a database, all in memory."""

    params: Options

    @property
    def path(self) -> Path:
        """The database."""
        return self.workspace.root / self.params.path

    @override
    def identity(self) -> Any:
        if not self.path.is_file():
            raise InputError(f"fetch.options.path: {self.path}: not found; name a SQLite database")
        return {"database": sha256_file(self.path), "query": self.params.query}

    @override
    def read(self) -> RawLog:
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as database:
            try:
                cursor = database.execute(self.params.query)
                rows = cursor.fetchall()
            except sqlite3.Error as error:
                raise InputError(f"fetch.options.query: {error}; {self.params.query}") from None
        if not rows or len(rows[0]) < 4:
            raise InputError("fetch.options.query: expected rows of user, item, time and click")
        user, item, time, click, *others = zip(*rows, strict=True)
        names = [name for name, *_ in cursor.description[4:]]
        columns = {
            USER_ID: pa.array(user),
            ITEM_ID: pa.array(item),
            TIMESTAMP: pa.array([int(1e6 * second) for second in time]).cast(TIME),
            SEQUENCE: pa.array(range(len(rows))),
            LABEL: pa.array(click, pa.int8()),
            BEHAVIOUR: pa.array(click, pa.int8()),
            **dict(zip(names, map(pa.array, others), strict=True)),
        }
        events = Rows.of(self.path.name, columns)
        return RawLog(events=events, fields={"user": {USER_ID: "id"}}, protocol="temporal")
