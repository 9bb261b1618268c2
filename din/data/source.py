"""The interface between `fetch` and the source of a log. Each source is a class in a module of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from din.base.artifacts import hash_files
from din.base.names import Day, Digest
from din.base.workspace import Workspace
from din.data import rawlog
from din.data.files import File
from din.data.rawlog import RawLog


@dataclass(frozen=True)
class Earlier:
    """The result of earlier fetches."""

    files: Mapping[str, Digest] | None  # the sha256 of the files in data/raw/, by path; None = assume all known days
    digest: Callable[[Any], Digest]  # hashes a value together with the code and the name of the source
    accept_shrunk: bool  # whether a day may have fewer rows than before


@dataclass(frozen=True)
class Written:
    """A log that was written, except the files of days that need not be read again."""

    described: dict[str, Any]  # see `rawlog.description`
    files: dict[str, str]  # the sha256 of each file of the log, by path
    days_read: int


class Source(ABC):
    """One log.

    Attributes:
        grows: whether days are appended, so that the log up to a day is identified by its rows.
        days: the days of the log, if they are known without reading it.

    Args:
        workspace: where relative paths start.
        params: the source's block of parameters.
        until: the last day to read; None for all.
    """

    grows: ClassVar[bool] = False
    days: Sequence[Day] = ()

    def __init__(self, workspace: Workspace, params: Any, until: date | None) -> None:
        self.workspace = workspace
        self.params = params
        self.until = until

    @classmethod
    def recognised(cls, workspace: Workspace, params: Any) -> Sequence[File]:
        """Return the files at `params.path`, if their names say that they are this source's log; else nothing.

        `din init` asks each source about the folder that it is given.
        """
        return ()

    @abstractmethod
    def identity(self) -> Any:
        """Return JSON that changes when the rows would: hashes of contents, and params other than paths.

        Raises:
            InputError, Unavailable: as in `read`.
        """

    @abstractmethod
    def read(self) -> RawLog:
        """Read the whole log.

        Raises:
            InputError: a file or value can't be used. The message names file, row or column, value and expectation.
            Unavailable: the source can't be reached now.
        """

    def write(self, tree: Path, earlier: Earlier) -> Written:
        """Write the log below `tree`, an empty folder.

        Raises:
            InputError, Unavailable: as in `read` and `rawlog.write`.
        """
        described = rawlog.write(self.read(), tree, self.until)
        return Written(described, hash_files(tree), len(described["days"]))
