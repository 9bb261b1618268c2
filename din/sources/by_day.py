"""Read a log whose path names days, e.g. `logs/{date}.csv`, and of it only the days that changed.

    unchanged day              its file in data/raw/ is kept, and its files in the log are only hashed
    new or changed day         it is read; the forms of values in all days decide the types of its columns
    changed types of columns   every day is read again, e.g. because a column of numbers now holds a word

The forms, the first row and a hash of each day are remembered in `.din/fetch/`. The bytes of each file are the same
whether days are fetched one by one or all at once. Without the memory, the whole log is read.

A day that has fewer rows than at an earlier fetch is refused, unless `fetch.shrunk_days` accepts it. The tables of
items, users and history are read whole at each fetch.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from din import documents
from din.artifacts import hash_files, sha256_file
from din.errors import InputError
from din.names import Day, Digest
from din.progress import track
from din.sources import rawlog
from din.sources.rows import Rows
from din.sources.source import Earlier, Written

if TYPE_CHECKING:
    from din.sources.tabular import TableSource


@dataclass(frozen=True)
class KnownDay:
    """The record of a day of events that was read."""

    __pydantic_config__ = documents.STRICT

    source: Digest  # of everything that determines its rows, except the types that other days decide
    rows: int
    first: str  # the first row, as an Arrow stream in base64
    forms: dict[str, int]  # of the values in each column
    files: tuple[tuple[str, int], ...]  # name and number of rows of each file that the day was read from
    types: dict[str, dict[str, str]] = field(default_factory=dict)  # of its file; see `TableSource.types`
    sha256: Digest | None = None  # of its file in data/raw/; None if the day has no rows

    @cached_property
    def head(self) -> pa.Table:
        """The first row, if there is one, under the names and in the types of the files."""
        return pa.ipc.open_stream(base64.b64decode(self.first)).read_all()


Memory = Mapping[Day, KnownDay]


def first_row(rows: Rows) -> str:
    """Return the first row in the form of `KnownDay.first`."""
    table = rows.where("row = 0").table
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return base64.b64encode(stream.getvalue()).decode()


def write(
    source: "TableSource", tree: Path, memory: Memory, sources: Mapping[Day, Digest], earlier: Earlier
) -> tuple[Written, Memory]:
    """Write the files of new and changed days, and all tables other than the events, below `tree`.

    Args:
        source: the log.
        tree: an empty folder.
        memory: the known days.
        sources: the days of the log, each with its `KnownDay.source`.
        earlier: the result of earlier fetches.

    Returns:
        The files that were written, and the memory for the next fetch.

    Raises:
        InputError: a day has fewer rows than before, or an error of `TableSource.read`.
    """
    known = {day: memory[day] for day, digest in sources.items() if day in memory and memory[day].source == digest}
    if earlier.files is not None:
        known = {day: one for day, one in known.items() if one.sha256 == earlier.files.get(rawlog.day_file(day))}
    days_read: set[Day] = set()
    unread = sources.keys() - known
    while True:
        for day in track(sorted(unread), len(unread), "reading", "day"):
            rows = source.read_day(day)
            if day in memory and not earlier.accept_shrunk:
                _require_rows(rows, day, memory[day].rows)
            one = known[day] = source.known_day(sources[day], rows)
            days = [known[each] for each in sorted(known)]
            if one.rows:
                rawlog.write_day(source.convert_day(day, rows, days), tree)
                one = replace(one, sha256=Digest(sha256_file(tree / rawlog.day_file(day))))
            known[day] = replace(one, types=source.types(days))
        days_read |= unread
        known = dict(sorted(known.items()))
        types = source.types([*known.values()])
        unread = {day for day, one in known.items() if one.types != types}
        if not unread:
            break
    log = source.convert_others([*known.values()])
    rawlog.write_others(rawlog.checked(log), tree, source.until)
    files = {rawlog.day_file(day): one.sha256 for day, one in known.items() if one.sha256}
    written = [day for day, one in known.items() if one.sha256]
    described = rawlog.description(log, source.until, written, sum(one.rows for one in known.values()))
    return Written(described, files | hash_files(tree), len(days_read)), {**memory, **known}


def _require_rows(rows: Rows, day: Day, before: int) -> None:
    if rows.count < before:
        raise InputError(
            f"{rows.name}: {rows.count:,} rows of {day}, but {before:,} at an earlier fetch; expected no fewer: "
            "deliver the file again, or set fetch.shrunk_days to accept if rows were removed on purpose"
        )
