"""Read the log of the server, and join each answer with its clicks: `fetch.source: served`.

    log of the server ─ one row per candidate ─► impressions ──┐
    table of clicks ──── of a request, or the last impression ─┴─► label ──► read as a table, with items, users, history

The history of a user's first request is what the user did before the log began. With `before`, the log continues an
earlier one: its rows until the first answer come first, and its tables are used where `table` names none.

An impression's time is the server's time of the answer. A click belongs to the request that it names, or else to the
last impression of its user and item before it. It counts if it comes at most `window_hours` after the impression. Days
whose window was still open at the newest answer with a click are left out, because more clicks may arrive for them. The
rows depend on the files alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from fsspec.implementations.local import LocalFileSystem

from din.base.errors import InputError
from din.data import SOURCES, files, options
from din.data.rawlog import RawLog
from din.data.rows import Rows, Store
from din.data.source import Source
from din.data.tabular import TableSource
from din.params.blocks import to_json
from din.params.fetch import Table
from din.schema import EVENT_COLUMNS, SEQUENCE, TIMESTAMP, USER_ID
from din.stages import code
from din_loop import served_log
from din_loop.served_join import Join, note
from din_loop.served_options import Served


@SOURCES.register("served", Served)
class ServedSource(Source):
    """The log of a server with the clicks on it. Items, users and history are tables, as in `fetch.table`."""

    grows = True
    params: Served

    def identity(self) -> Any:
        """Return the digests of all files, and the parameters that shape rows."""
        others = ("path", "clicks", "table", "before")
        shape = {key: value for key, value in to_json(self.params).items() if key not in others}
        digests = {table: files.digests(self.workspace, table_files) for table, table_files in self._files().items()}
        before = self._before and {
            "source": self._before.identity(),
            "code": code.digest({type(self._before).__module__}, {"data", "fetch"}, built_in=False),
        }
        return {"files": digests, "table": self._table(self.params.table).identity(), "before": before, **shape}

    def read(self) -> RawLog:
        """Join the log with the clicks, and read the events as a table.

        Raises:
            InputError: a file is missing, damaged or has other columns; no click belongs to an answer; no day is
                complete; two columns have the same name; too many ids are not whole numbers; or an error of the source
                `table`.
            Unavailable: the day `until` is not complete.
        """
        store = Store(self.workspace.spill)
        before = self._before and self._before.read()
        params = _with_ids_of(before, self.params) if before else self.params
        join = Join(store, params)
        tables = self._files()
        paths = [file.path for file in tables["log"]]
        join.requests(paths)
        join.clicks(tables["clicks"], self._table(params.table).dialect("clicks"))
        join.attribute()
        last_complete = join.last_day(self.until)
        last_day = self.until or last_complete
        events = join.events(last_day)
        keep = tuple(name for name in events.names if name not in EVENT_COLUMNS)
        log = self._table(replace(params.table, keep=keep)).with_events(events)
        if not log.history:
            held = join.histories(paths, last_day)
            log = replace(log, history=held if held.count else None)
        return _continued(before, log, store) if before else log

    @cached_property
    def _before(self) -> Source | None:
        """The source of the earlier log.

        Raises:
            InputError: it is the log of a server too.
        """
        fetch = self.params.before
        if fetch is None:
            return None
        if fetch.source == "served":
            raise InputError("fetch.options.before.source: served; expected the log from before the server's: name it")
        return SOURCES[fetch.source].thing(self.workspace, options.options_of(fetch), self.until)

    def _table(self, table: Table) -> TableSource:
        return TableSource(self.workspace, table, self.until)

    def _files(self) -> dict[str, tuple[files.File, ...]]:
        if self.params.clicks is None:
            raise InputError(
                "fetch.options.clicks: missing; expected the path of a table with item_id and request_id, or item_id, "
                "user_id and timestamp"
            )
        path = self.params.path
        if path is None:
            raise InputError(
                "fetch.options.path: missing; expected the folder of `din serve --log`; see docs/served-log.md"
            )
        if "://" in path:
            raise InputError(f"fetch.options.path: {path!r}: expected a local folder; copy the log here first")
        system = LocalFileSystem()
        paths = map(str, served_log.files(Path(self.workspace.located(path)).expanduser()))
        log = tuple(files.File(system, file, files.name_as(self.workspace, path, system, file)) for file in paths)
        if not log:
            raise InputError(
                f"fetch.options.path: {path}: no files such as {served_log.EXAMPLE}; expected the folder of `din serve "
                "--log`: relative ones start at the project's root"
            )
        return {"log": log, "clicks": files.expand(self.workspace, self.params.clicks, "fetch.options.clicks")}


def _with_ids_of(before: RawLog, params: Served) -> Served:
    """Return the options with whole numbers for the ids that are whole numbers in the earlier log."""
    ids: tuple[Literal["user_id", "item_id"], ...] = ("user_id", "item_id")
    return replace(params, int_ids=tuple(key for key in ids if before.events.types[key] == "BIGINT"))


def _continued(before: RawLog, log: RawLog, store: Store) -> RawLog:
    """Return the log with the earlier log's rows before it.

    A user of the earlier log has the history of that log, and the others have the one of their first request.

    Raises:
        InputError: the earlier log lacks negatives, and the server's log doesn't.
    """
    if before.sampled < 1:
        raise InputError(
            f"fetch.options.before: the log holds {before.sampled:g} of its impressions without a click, and a "
            "server's log holds all: one offset can't correct both; learn from the server's log alone"
        )
    (first,) = log.events.ask(f"min({log.events[TIMESTAMP]})")
    earlier = _local(before.events, store, "events")
    earlier = earlier.where(f"{earlier[TIMESTAMP]} < '{first}'")
    note(f"{earlier.count:,} rows of the earlier log come before the first answer, of {first:%Y-%m-%d %H:%M}")
    (start,) = earlier.ask(f"coalesce(max({earlier[SEQUENCE]}) + 1, 0)")
    columns = {name: log.events[name] for name in log.events.names}
    numbered = log.events.select(columns | {SEQUENCE: f"{log.events[SEQUENCE]} + {start}"})
    past = [_local(before.history, store, "history")] if before.history else []
    if log.history:
        known = f"SELECT {earlier[USER_ID]} FROM ({earlier.query})"
        past.append(log.history.where(f"{log.history[USER_ID]} NOT IN ({known})"))
    return replace(
        log,
        events=_united([earlier, numbered]),
        items=log.items or before.items,
        users=log.users or before.users,
        history=_united(past) if past and any(rows.count for rows in past) else None,
        fields=before.fields,
        order=before.order,
    )


def _local(rows: Rows, store: Store, table: str) -> Rows:
    """Return rows of another engine in this one."""
    return replace(rows.stored(store.file(f"before-{table}")), con=store.con)


def _united(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, in order. A column that a part lacks is empty there."""
    names = tuple(dict.fromkeys(name for rows in parts for name in rows.names))
    queries = []
    for number, rows in enumerate(parts):
        columns = ", ".join(f"{rows[name] if name in rows.names else 'NULL'} AS c{at}" for at, name in enumerate(names))
        queries.append(f"SELECT {number} AS part, row AS number, {columns} FROM ({rows.query})")
    number = "row_number() OVER (ORDER BY part, number) - 1"
    query = f"SELECT {number} AS row, * EXCLUDE (part, number) FROM ({' UNION ALL '.join(queries)})"
    files = (("the log", sum(rows.count for rows in parts)),)
    return Rows(parts[-1].con, query, names, files)
