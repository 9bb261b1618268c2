"""Read a log whose path names days, as `logs/{date}.csv`, and only the days that changed.

    day as at the last fetch       its file in data/raw/ stays; of the log only the hash of its files is read
    day new or changed             read, together with a few rows of each other day that decide the types of columns
    types of columns changed       every day is read again, e.g. because a column of numbers holds a word now

The few rows and a hash of each day are remembered in `.din/fetch/`. The bytes of each file are the same whether days
are fetched one by one or all at once. Without the memory, the log is read whole. RAM holds one day and other tables.

A day that has fewer rows than at an earlier fetch is refused, unless `fetch.shrunk_days` accepts it. The tables of
items, users and history are read whole at each fetch.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from din import documents
from din.artifacts import hash_files, sha256_file
from din.errors import InputError
from din.names import Day, Digest
from din.progress import track
from din.sources import rawlog
from din.sources.rawlog import Part
from din.sources.tabular import TableSource


@dataclass(frozen=True)
class KnownDay:
    """The memory of a day of events.

    Attributes:
        source: the hash of everything that determines its rows, but for the types that other days decide.
        types: the types under which its file was written; see `TableSource.types`.
        rows: their number.
        sha256: the hash of its file in data/raw/, or None if it has no rows.
        deciding: the rows that decide the types of columns, as an Arrow stream in base64.
        files: name and number of rows of each file that the day was read from.
        origins: the row of the files that each deciding row came from.
    """

    __pydantic_config__ = documents.STRICT

    source: Digest
    types: dict[str, dict[str, str]]
    rows: int
    sha256: Digest | None
    deciding: str
    files: tuple[tuple[str, int], ...]
    origins: tuple[int, ...]


Memory = Mapping[Day, KnownDay]


@dataclass(frozen=True)
class Written:
    """A log that was written, but for files of days that need not be read.

    Attributes:
        described: see `rawlog.description`.
        files: the sha256 of each file of the log, by path.
        memory: what to remember of its days.
        days_read: the number of days that were read.
    """

    described: dict[str, Any]
    files: dict[str, str]
    memory: Memory
    days_read: int


def write(
    source: TableSource,
    tree: Path,
    sources: Mapping[Day, Digest],
    memory: Memory,
    held: Mapping[str, Digest] | None,
    accept_shrunk: bool,
) -> Written:
    """Write the files of new and changed days, and all tables other than the events, below `tree`.

    Args:
        source: the log, whose paths name days.
        tree: an empty folder.
        sources: for each day, the hash of everything that determines its rows, but for what other days decide.
        memory: what earlier fetches remember.
        held: the sha256 of the files that need not be written again, by path; None for the files of all known days.
        accept_shrunk: whether a day may have fewer rows than the memory says.

    Raises:
        InputError: see `TableSource` and `rawlog.checked`; or a day has fewer rows than before.
    """
    known = {day: memory[day] for day, digest in sources.items() if day in memory and memory[day].source == digest}
    if held is not None:
        known = {day: one for day, one in known.items() if one.sha256 == held.get(rawlog.day_file(day))}
    deciding = {day: _part(one) for day, one in known.items()}
    days_read: set[Day] = set()
    unread = sources.keys() - known
    while True:
        for day in track(sorted(unread), len(unread), "reading", "day"):
            part = source.read_day(day)
            if day in memory and not accept_shrunk:
                _require_rows(part, day, memory[day].rows)
            deciding[day] = source.deciding(part)
            few = [deciding[each] for each in sorted(deciding)]
            types = source.types(few)
            sha256 = _write_day(source, tree, day, part, few)
            known[day] = _remembered(sources[day], types, part, sha256, deciding[day])
        days_read |= unread
        few = [deciding[day] for day in sorted(deciding)]
        types = source.types(few)
        unread = {day for day, one in known.items() if one.types != types}
        if not unread:
            break
    log = source.convert_others(few)
    rawlog.write_others(log, tree, source.until)
    files = {rawlog.day_file(day): one.sha256 for day, one in known.items() if one.sha256}
    days = sorted(day for day, one in known.items() if one.sha256)
    described = rawlog.description(log, source.until, days, sum(one.rows for one in known.values()))
    return Written(described, files | hash_files(tree), {**memory, **known}, len(days_read))


def _require_rows(part: Part, day: Day, before: int) -> None:
    """Raise InputError if a day has fewer rows than before."""
    rows = part.table.num_rows
    if rows < before:
        raise InputError(
            f"{part.name}: {rows:,} rows of {day}, but {before:,} at an earlier fetch; expected no fewer: deliver the "
            "file again, or set fetch.shrunk_days to accept if rows were removed on purpose"
        )


def _write_day(source: TableSource, tree: Path, day: Day, part: Part, deciding: Sequence[Part]) -> Digest | None:
    """Convert a day, write its file below `tree` and return the file's hash; None if the day has no rows."""
    if part.table.num_rows == 0:
        return None
    rawlog.write_day(source.convert_day(day, part, deciding), tree)
    return Digest(sha256_file(tree / rawlog.day_file(day)))


def _remembered(
    source: Digest, types: dict[str, dict[str, str]], part: Part, sha256: Digest | None, deciding: Part
) -> KnownDay:
    table = deciding.table.combine_chunks()
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return KnownDay(
        source=source,
        types=types,
        rows=part.table.num_rows,
        sha256=sha256,
        deciding=base64.b64encode(stream.getvalue()).decode(),
        files=part.files,
        origins=tuple(deciding.origins.tolist()),
    )


def _part(known: KnownDay) -> Part:
    """Return the rows of a day that decide the types of columns."""
    table = pa.ipc.open_stream(base64.b64decode(known.deciding)).read_all()
    return Part(table, known.files, np.array(known.origins, dtype=np.int64))
