"""A promotion of the registry with the files of its run, which are verified against the hashes in its record.

The files are named as in `reports/`, e.g. `evaluation.json` and `code/train.json`. The others are named below.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from din import documents
from din.documents import Document
from din.facts import Facts
from din.names import Commit
from din.params.reading import plain
from din.registry.records import Record
from din.registry.registry import Registry

GIT = "git.json"
CROSSFIT = "crossfit.parquet"
RAW_MANIFEST = "raw.json"
PARAMS = "params.yaml"
PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"

T = TypeVar("T")


class GitState(Document):
    """The commit that was promoted from, None outside a repository.

    `dirty` says whether files differed from it, except `params.yaml`, `dvc.yaml` and `dvc.lock`, of which the record
    has copies.
    """

    commit: Commit | None
    dirty: bool | None


@dataclass(frozen=True)
class Promoted:
    """A record of the registry that promoted a bundle, and the bundle's facts.

    Raises:
        InputError: from every method that returns a file, if the record holds no such file, or it is damaged or not of
            the expected form.
    """

    registry: Registry
    record: Record
    facts: Facts

    @classmethod
    def find(cls, registry: Registry, name: str) -> "Promoted":
        """Return the promotion that a name means: a record's number, or the beginning of a version.

        A rollback means the promotion of its version.

        Raises:
            InputError: there is no such record or version, or several versions begin so.
        """
        history = registry.history()
        version = registry.version_of(name, history)
        record = next(r for r in history if r.version == version and r.action == "promote")
        return cls(registry, record, registry.facts(version))

    @property
    def title(self) -> str:
        """The record's number and the beginning of its version."""
        return f"{self.record.number} ({self.record.version[:12]})"

    @property
    def names(self) -> list[str]:
        """The names of the run's files."""
        return [key.partition("/")[2] for key in self.record.files]

    def content(self, name: str) -> bytes:
        """Return the bytes of a file of the run."""
        return self.registry.promoted_file(self.record, name)

    def document(self, expected: type[T], name: str) -> T:
        """Return a JSON document of the run."""
        return documents.parse(expected, self.content(name), f"{name} of record {self.record.number}")

    def yaml(self, name: str) -> Any:
        """Return a YAML file of the run as plain values."""
        return plain(self.content(name).decode(errors="replace"), f"{name} of record {self.record.number}")
