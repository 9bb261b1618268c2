"""Publishers' logs, read as tables whose files, columns and types are known."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar

from din.base.errors import InputError, listed
from din.base.workspace import Workspace
from din.data import values
from din.data.files import File
from din.data.rawlog import RawLog
from din.data.rows import Rows
from din.data.tabular import Input, TableSource
from din.params.fetch import Table
from din.schema import ITEM_ID, USER_ID
from din_logs.download import Download

BEIJING = 8  # hours ahead of UTC, all year round


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """Options of a publisher's log.

    Attributes:
        path: a folder, zip or glob of the publisher's files.
    """

    path: str | None = None


class Publisher(TableSource):
    """A log in its publisher's files.

    A subclass names the files and their columns. Files that lack a column, or hold an id of another type, are refused.

    Attributes:
        layout: the columns and rules by which the files are read.
        names: the names of each table's files.
        fields, protocol, order: see `RawLog`. Fields of users are left out if no file describes users.
        needs: the columns that each table must have, in addition to the columns of events.
        whole_ids: whether the ids are whole numbers.
    """

    grows = False
    advice = "download the publisher's file again"
    layout: ClassVar[Table] = Table()
    names: ClassVar[Mapping[str, Sequence[str]]] = {}
    fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    protocol: ClassVar[str] = "temporal"
    order: ClassVar[str | None] = None
    needs: ClassVar[Mapping[str, Collection[str]]] = {}
    whole_ids: ClassVar[bool] = True

    def __init__(self, workspace: Workspace, params: Any, until: date | None) -> None:
        super().__init__(workspace, self.layout, until)
        self.settings = params

    @classmethod
    def recognised(cls, workspace: Workspace, params: Any) -> Sequence[File]:
        """Return the publisher's files at a path, if all are there."""
        with suppress(InputError):
            return [file for files in cls(workspace, params, None).found().values() for file in files]
        return ()

    def download(self) -> Download:
        """Find the files at the path that the source's options name."""
        return Download.at(self.workspace, self.settings.path)

    def found(self) -> dict[str, tuple[File, ...]]:
        """Return the files of each table."""
        download = self.download()
        assert self.names, f"{type(self).__name__}: names no files; set `names`, or define `found`"
        return {table: tuple(map(download.need, names)) for table, names in self.names.items()}

    def read(self) -> RawLog:
        """Read all tables."""
        log = super().read()
        fields = {group: declared for group, declared in self.fields.items() if group != "user" or log.users}
        return replace(log, fields=fields, protocol=self.protocol, order=self.order)

    def columns(self, table: str, rows: Rows) -> dict[str, str]:
        """Return the columns of a table, each as SQL over the columns of its files; by default, they are the same."""
        return {name: rows[name] for name in rows.names}

    def _require(self, table: str, names: Sequence[str], file: str) -> None:
        stripped = [name.strip() for name in names]
        missing = [name for name in self._wanted(table).values() if name not in names]
        missing += [name for name in self.needs.get(table, ()) if name not in stripped]
        if missing:
            raise InputError(f"{file}: no column {missing[0]!r}; its columns: {listed(names)}; {self.advice}")

    def _input(self, table: str, rows: Rows) -> Input:
        """Describe a table, and check that its ids are whole numbers: one that is not would make all of them text."""
        described = super()._input(table, rows)
        ids = [header for column, header in described.names.items() if self.whole_ids and column in (USER_ID, ITEM_ID)]
        odd = [name for name in ids if described.forms[name] != values.Form.WHOLE]
        rows.require([values.whole(rows, name)[1] for name in odd], self.advice)
        return described

    def _read(self, table: str, table_files: Sequence[File]) -> Rows:
        """Read a table. Blanks around the names of columns are ignored."""
        rows = super()._read(table, table_files)
        rows = replace(rows, names=tuple(name.strip() for name in rows.names))
        return rows.select(self.columns(table, rows))
