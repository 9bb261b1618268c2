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

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from din.base.errors import InputError
from din.data import SOURCES, files, options
from din.data.rawlog import RawLog
from din.data.rows import Store
from din.data.source import Source
from din.data.tabular import TableSource
from din.params.blocks import to_json
from din.params.fetch import Table
from din.schema import EVENT_COLUMNS
from din.stages import code
from din_loop import served_log
from din_loop.served_before import continued, with_ids_of
from din_loop.served_join import Join
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
        params = with_ids_of(before, self.params) if before else self.params
        join = Join(store, params)
        tables = self._files()
        paths = [file.path for file in tables["log"]]
        join.read_requests(paths)
        join.read_clicks(tables["clicks"], self._table(params.table).dialect("clicks"))
        join.attribute_clicks()
        last_complete = join.last_complete_day(self.until)
        last_day = self.until or last_complete
        events = join.events(last_day)
        keep = tuple(name for name in events.names if name not in EVENT_COLUMNS)
        log = self._table(replace(params.table, keep=keep)).with_events(events)
        if not log.history:
            held = join.histories(paths, last_day)
            log = replace(log, history=held if held.count else None)
        return continued(before, log, store) if before else log

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
