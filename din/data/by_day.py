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
from datetime import date
from functools import cached_property
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from din.base import documents
from din.base.artifacts import hash_files, sha256_file, write_json
from din.base.errors import InputError
from din.base.names import Day, Digest
from din.base.progress import track
from din.base.workspace import Workspace
from din.data import SOURCES, rawlog, readers, values
from din.data.files import File
from din.data.memory import recall
from din.data.rows import Check, Rows, joined
from din.data.source import Earlier, Written
from din.data.tabular import Input, TableSource, types_of_ids
from din.kinds import EXACT
from din.params.fetch import DATE, Table
from din.schema import EPOCH, TIMESTAMP

SEQUENCES_A_DAY = 10**9
"""The default sequence numbers of a day's rows start at this number times the days since 1970."""


@dataclass(frozen=True)
class KnownDay:
    """The record of a day of events that was read."""

    __pydantic_config__ = documents.STRICT

    source: Digest  # of everything that determines its rows, except the types that other days decide
    delivered: int  # rows of its files in the log
    rows: int  # events, after `fetch.table.explode` and `drop_duplicates`
    first: str  # the first row, as an Arrow stream in base64
    forms: dict[str, int]  # of the values in each column
    name: str  # of its files in the log, for messages
    types: dict[str, dict[str, str]] = field(default_factory=dict)  # of its file; see `TableByDay._types`
    sha256: Digest | None = None  # of its file in data/raw/; None if the day has no rows

    @cached_property
    def head(self) -> pa.Table:
        """The first row, if there is one, under the names and in the types of the files."""
        return pa.ipc.open_stream(base64.b64decode(self.first)).read_all()


class TableByDay(TableSource):
    """The log that `fetch.table` describes, with a path of the events that names days."""

    def write(self, tree: Path, earlier: Earlier) -> Written:
        """Write the files of new and changed days, and all tables other than the events, below `tree`.

        Raises:
            InputError: a day has fewer rows than before, an event is not of its day, or an error of `read`.
        """
        path = self.workspace.days(str(self.params.events))
        memory = recall(dict[Day, KnownDay], path)
        identity = self.identity()
        pairs = zip(self._files("events"), identity["files"]["events"], strict=True)
        days = {str(day): [*files] for day, files in groupby(sorted(pairs, key=_day_of), _day_of)}
        sources = {
            day: earlier.digest({"day": day, "files": [digest for _, digest in files], "params": identity["params"]})
            for day, files in days.items()
        }
        records = {
            day: memory[day] for day, digest in sources.items() if day in memory and memory[day].source == digest
        }
        if earlier.files is not None:
            records = {
                day: record
                for day, record in records.items()
                if record.sha256 == earlier.files.get(rawlog.day_file(day))
            }
        days_read: set[Day] = set()
        unread = sources.keys() - records
        while True:
            for day in track(sorted(unread), len(unread), "reading", "day"):
                rows = self._read("events", [file for file, _ in days[day]])
                if day in memory and not earlier.accept_shrunk:
                    _require_rows(rows, day, memory[day])
                forms = {**self._input("events", rows).forms}
                record = KnownDay(sources[day], _delivered(rows), rows.count, _first_row(rows), forms, rows.name)
                records[day] = record
                events = self._sampled(records)
                if record.rows:
                    rawlog.write_day(self._converted(day, rows, events), tree)
                    record = replace(record, sha256=Digest(sha256_file(tree / rawlog.day_file(day))))
                records[day] = replace(record, types=self._types(events))
            days_read |= unread
            events = self._sampled(records)
            types = self._types(events)
            unread = {day for day, record in records.items() if record.types != types}
            if not unread:
                break
        log = self._log(events)
        rawlog.write_others(rawlog.checked(log), tree)
        files = {rawlog.day_file(day): record.sha256 for day, record in sorted(records.items()) if record.sha256}
        written = [day for day, record in sorted(records.items()) if record.sha256]
        described = rawlog.description(log, self.until, written, sum(record.rows for record in records.values()))
        if self.identity() == identity:  # otherwise rows of other files would be remembered
            write_json(path, memory | records)
        return Written(described, files | hash_files(tree), len(days_read))

    def _sampled(self, records: Mapping[Day, KnownDay]) -> Input:
        """Return the first rows of all days as a table of events, with the forms of all rows."""
        days = [record for _, record in sorted(records.items())]
        schema = readers.unified([(record.name, record.head.schema) for record in days])
        table = pa.concat_tables([record.head for record in days], promote_options="permissive").cast(schema)
        forms = dict.fromkeys(schema.names, 0)
        for record in days:
            forms |= {name: forms[name] | bits for name, bits in record.forms.items()}
        rows = Rows.of(joined([record.name for record in days]), {name: table[name] for name in schema.names})
        return replace(self._input("events", rows), forms=forms)

    def _types(self, events: Input) -> dict[str, dict[str, str]]:
        """Return the types of the columns of all days: `read` of all columns as text, and `ids` of the id columns."""
        if events.rows.count == 0:
            return {}
        kinds = events.rows.types
        read = {name: values.side(kind, events.forms[name], text=True) for name, kind in kinds.items()}
        ids = types_of_ids({"events": events, **self._sides})
        return {"read": read, "ids": {name: kind for (table, name), kind in ids.items() if table == "events"}}

    def _converted(self, day: Day, rows: Rows, sampled: Input) -> Rows:
        """Return the events of a day in the contract's types, which `sampled`, the first rows of all days, decide.

        Raises:
            InputError: a value can't be converted, or an event is not of this day.
        """
        kinds = sampled.rows.types
        floats = [name for name in rows.names if (rows.types[name], kinds[name]) == ("BIGINT", "DOUBLE")]
        rows.require(
            Check(
                f"{rows[name]} NOT BETWEEN -{EXACT} AND {EXACT}",
                name,
                rows[name],
                "a number that floats hold, since other days have floats",
                "store it as text on all days if it is an id, or else as floats",
            )
            for name in floats
        )
        columns = {name: f"CAST({rows[name] if name in rows.names else 'NULL'} AS {kinds[name]})" for name in kinds}
        events = replace(sampled, rows=rows.select(columns))
        start = SEQUENCES_A_DAY * (date.fromisoformat(day) - EPOCH.date()).days
        converted = self._events(events, types_of_ids({"events": sampled, **self._sides}), start)
        time = converted[TIMESTAMP]
        other = Check(
            f"CAST({time} AS DATE) <> DATE '{day}'",
            "its time",
            time,
            f"one on {day}, the day in the path (fetch.table.utc_offset_hours={self.params.utc_offset_hours})",
            "set the hours that the log's days are ahead of UTC, or move the row to the file of its day; if clocks "
            f"change for summer, write * for {DATE} in fetch.table.events",
        )
        converted.require([other])
        return converted


@SOURCES.register("table")
def table(workspace: Workspace, params: Table, until: date | None) -> TableSource:
    """Return the log of one's own files, read day by day if the path of the events names days."""
    return (TableByDay if DATE in str(params.events) else TableSource)(workspace, params, until)


def _day_of(pair: tuple[File, Digest]) -> Day:
    return str(pair[0].day)


def _first_row(rows: Rows) -> str:
    """Return the first row in the form of `KnownDay.first`."""
    head = rows.where("row = 0").table
    schema = pa.schema([(field.name, _type(field.type)) for field in head.schema])
    pairs = zip(head.columns, schema.types, strict=True)
    columns = [column if column.type == kind else pa.array(column.to_pylist(), kind) for column, kind in pairs]
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    return base64.b64encode(stream.getvalue()).decode()


def _type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column of DuckDB, where int32 means that it has no values; all integers are int64."""
    if pa.types.is_list(kind):
        return pa.list_(_type(kind.value_type))
    return pa.null() if kind == pa.int32() else kind


def _delivered(rows: Rows) -> int:
    return sum(count for _, count in rows.files)


def _require_rows(rows: Rows, day: Day, before: KnownDay) -> None:
    """Raise InputError if a day has shrunk, unless only other parameters keep fewer rows of its files."""
    if rows.count < before.rows and _delivered(rows) < before.delivered:
        raise InputError(
            f"{rows.name}: {rows.count:,} rows of {day}, but {before.rows:,} at an earlier fetch; expected no fewer: "
            "deliver the file again, or set fetch.shrunk_days to accept if rows were removed on purpose"
        )
