"""People and services that use a registry at the same time.

They know nothing of the simulation. Each is one command, with its command's exit codes.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from din.artifacts import hash_files, write_json
from din.errors import GateClosed
from din.facts import Facts
from din.names import ModelName, Version
from din.registry import stored_comparisons
from din.registry.bundle import verify_bundle
from din.registry.records import Record, StaleChampion
from din.registry.registry import Registry
from tests.factories import documents_of

CANDIDATES = 4


@dataclass(frozen=True)
class Candidate:
    """A bundle on a local disk.

    Attributes:
        directory: its directory.
        version: its version.
        files: its files with their bytes, with the manifest.
        look: its predictions and a champion's on the same rows, as `din gate` stores them.
    """

    directory: Path
    version: Version
    files: dict[str, bytes]
    look: pa.Table


@cache
def candidate(number: int) -> Candidate:
    """Return a candidate, whose bundle is made once in each process."""
    directory = folder() / f"candidate-{number}"
    directory.mkdir()
    write_json(directory / "facts.json", documents_of.facts(model=f"model {number}"))
    (directory / "model.onnx").write_text(f"model {number}")
    write_json(directory / "manifest.json", {"files": hash_files(directory)})
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    version = verify_bundle(directory).version
    return Candidate(directory, version, files, _look(version))


def _look(version: Version) -> pa.Table:
    rows = pa.table({"user": [0, 1], "label": [0, 1], "timestamp": [1, 2], "prediction": [0.2, 0.4]})
    return stored_comparisons.rows_of(
        rows, np.array([0.3, 0.1]), pa.chunked_array([["u0", "u1"]]), ModelName("ads"), version
    )


def candidates_by_version() -> dict[Version, Candidate]:
    """Return all candidates."""
    return {candidate(number).version: candidate(number) for number in range(CANDIDATES)}


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")  # on a disk, each removal of a folder would take milliseconds
    return tempfile.TemporaryDirectory(prefix="simulation-", dir=memory if memory.is_dir() else None)


def folder() -> Path:
    """Return this process's folder for bundles, which is removed at its end."""
    return Path(_temporary().name)


@dataclass(frozen=True)
class Delivered:
    """A champion as a reader got it: its record, its facts, and the bytes of its bundle's files."""

    record: Record
    facts: Facts
    files: dict[str, bytes]


@dataclass(frozen=True)
class Compared:
    """The champion that a candidate was compared with, and all looks at it up to the candidate's."""

    champion: Record
    looks: Sequence[pa.Table]


class Actor(Protocol):
    """One command."""

    @property
    def name(self) -> str: ...

    def act(self, registry: Registry) -> object: ...


@dataclass(frozen=True)
class Promoter:
    """`din gate` and then `din promote`, for a candidate that passes every gate."""

    name: str
    candidate: Candidate
    run_id: str

    def act(self, registry: Registry) -> Record:
        """Compare with the champion, promote, and return the new champion."""
        version = self.candidate.version
        judged = registry.champion()
        history = registry.history()
        champion = history[-1] if history else None
        if champion and champion.version == version:
            registry.seal(champion)
            return champion
        if champion != judged:
            raise StaleChampion("the champion is not the one that the gate compared with")
        if any(record.version == version for record in history):
            raise GateClosed("the candidate was champion and has been replaced")
        evidence = {"gate.json": version.encode(), "dvc.lock": b"lock"}
        promoted = registry.promote(
            self.candidate.directory,
            version,
            champion,
            by=self.name,
            reason="gate open",
            run_id=self.run_id,
            evidence=evidence,
        )
        assert promoted.previous == (judged.version if judged else None), "it follows a champion that was not compared"
        return promoted


@dataclass(frozen=True)
class Judge:
    """`din gate`, for a candidate that stays undecided."""

    name: str
    candidate: Candidate

    def act(self, registry: Registry) -> Compared | None:
        """Look at the champion, or find the candidate's earlier look; None if there is no other champion."""
        history = registry.history()
        version = self.candidate.version
        if not history or history[-1].version == version:
            return None
        champion = history[-1]
        found = stored_comparisons.stored(registry, champion.version, version)
        return Compared(champion, found or stored_comparisons.store(registry, champion.version, self.candidate.look))


@dataclass(frozen=True)
class Rollback:
    """`din registry rollback`."""

    name: str
    to: int

    def act(self, registry: Registry) -> Record:
        """Bring an earlier champion back."""
        return registry.rollback(self.to, by=self.name, reason="bad on mobile")


@dataclass(frozen=True)
class Reader:
    """A scoring service that fetches the champion into a directory of its own."""

    name: str
    target: Path

    def act(self, registry: Registry) -> Delivered | None:
        """Return the champion, or None before the first promotion."""
        record = registry.champion()
        if record is None:
            return None
        registry.fetch(record.version, self.target)
        facts = registry.facts(record.version)
        paths = (path for path in self.target.rglob("*") if path.is_file())
        return Delivered(record, facts, {path.relative_to(self.target).as_posix(): path.read_bytes() for path in paths})


@dataclass(frozen=True)
class Collector:
    """`din registry gc --yes`."""

    name: str
    grace: timedelta

    def act(self, registry: Registry) -> list[str]:
        """Remove whatever no record names and nobody wrote for the grace period."""
        return registry.gc(self.grace, dry_run=False)


@dataclass(frozen=True)
class Verifier:
    """`din registry verify`."""

    name: str

    def act(self, registry: Registry) -> None:
        """Raise GateClosed for damage."""
        if damage := [*registry.verify(), *stored_comparisons.damage(registry)]:
            raise GateClosed("\n".join(damage))
