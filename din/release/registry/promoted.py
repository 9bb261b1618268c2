"""A promotion in the registry with the files of its run, which are verified by the hashes in its record.

Files from `reports/` have their names there, e.g. `evaluation.json` and `code/train.json`. The other names are below.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from din.base import documents
from din.base.documents import Document
from din.base.errors import InputError
from din.base.names import Commit
from din.contracts.facts import Facts
from din.params.reading import plain
from din.release.registry.records import Record, run_key
from din.release.registry.registry import Registry

GIT = "git.json"
CROSSFIT = "crossfit.parquet"
RAW_MANIFEST = "raw.json"
PARAMS = "params.yaml"

T = TypeVar("T")


class GitState(Document):
    """The commit of a promotion, None outside a repository.

    `dirty` is whether files differed from the commit, not counting `params.yaml`, `dvc.yaml` and `dvc.lock`, of which
    the record has copies.
    """

    commit: Commit | None
    dirty: bool | None


@dataclass(frozen=True)
class Promoted:
    """A record that promoted a bundle, and the bundle's facts.

    Raises:
        InputError: from every method that returns a file, if the record has no such file, or the file is damaged or not
            of the expected form.
    """

    registry: Registry
    record: Record
    facts: Facts

    @classmethod
    def find(cls, registry: Registry, name: str) -> "Promoted":
        """Return the promotion with a record's number, or of the version with this beginning.

        The number of a rollback stands for the promotion of its version.

        Raises:
            InputError: no record or version matches, or several versions do.
        """
        history = registry.history()
        version = registry.record(name, history).version
        record = next(r for r in history if r.version == version and r.action == "promote")
        return cls(registry, record, registry.facts(version))

    @property
    def names(self) -> list[str]:
        """The names of the run's files."""
        return [key.partition("/")[2] for key in self.record.files]

    def content(self, name: str) -> bytes:
        """Return the bytes of a file of the run."""
        keys = [key for key in self.record.files if key.partition("/")[2] == name]
        if not keys or not self.record.run_id:
            at = f"{self.registry.name}: record {self.record.number}"
            raise InputError(f"{at} holds no {name}; expected a promotion by this release of din")
        return self.registry.verified(f"{run_key(self.record.run_id)}/{keys[0]}", self.record.files[keys[0]])

    def document(self, expected: type[T], name: str) -> T:
        """Return a JSON document of the run."""
        return documents.parse(expected, self.content(name), f"{name} of record {self.record.number}")

    def yaml(self, name: str) -> dict[str, Any]:
        """Return a YAML file of the run as plain values."""
        where = f"{name} of record {self.record.number}"
        return documents.check(dict[str, Any], plain(self.content(name).decode(errors="replace"), where), where)
