"""The rules that every change of the store keeps, checked at each step."""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from .store import Stored


class Violation(Exception):
    """A rule of the registry was broken."""


@dataclass
class Rules:
    """The log as it grew, and the rules that each write and removal must keep.

    Attributes:
        objects: the objects of the store, by path.
        log: the records in the order in which they were first written.
        authors: who wrote each record; None if it landed late.
        named: the objects that records name, and all looks.
        digest: the hash of the newest record.
        damaged: the files that lost a byte before the history began.
        looks: the candidates that were compared with each champion, in the order of their looks.
    """

    objects: dict[str, Stored]
    log: list[dict[str, Any]] = field(default_factory=list)
    authors: list[object] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    digest: str | None = None
    damaged: set[str] = field(default_factory=set)
    looks: dict[str, list[str]] = field(default_factory=dict)

    def copy(self, objects: dict[str, Stored]) -> "Rules":
        """Return the rules with the same log, for a copy of the objects."""
        looks = {champion: list(candidates) for champion, candidates in self.looks.items()}
        return Rules(objects, list(self.log), list(self.authors), set(self.named), self.digest, looks=looks)

    def wrote(self, path: str, before: Stored | None, author: object) -> None:
        """Check a write that just landed."""
        model, area, rest = path.split("/", 2)
        content = self.objects[path].content
        self.damaged.discard(path)
        if before and before.content != content and (area in ("promotions", "seals") or path in self.named):
            raise Violation(f"overwritten: {path} was replaced by other bytes")
        if area == "promotions" and not before:
            self._check_record(model, rest, content)
            self.authors.append(author)
        elif area == "seals":
            record = self.objects.get(f"{model}/promotions/{rest[:6]}.json")
            if record is None or record.content != content or sha256(content).hexdigest() not in rest:
                raise Violation(f"seal without record: {path} is not a copy of a stored record")
        elif area == "bundles":
            version, name = rest.split("/", 1)
            if name == "manifest.json":
                self._check_bundle(model, version)
        elif area == "looks":
            self._check_look(rest, content)
            self.named.add(path)

    def deleted(self, path: str) -> None:
        """Check a removal that just landed."""
        model, area, rest = path.split("/", 2)
        self.damaged.discard(path)
        if area in ("promotions", "seals"):
            raise Violation(f"log removed: {path} was deleted")
        if path in self.named:
            raise Violation(f"named object removed: {path} was deleted although a record names it")
        manifest = f"{model}/bundles/{rest.split('/')[0]}/manifest.json"
        if area == "bundles" and manifest in self.objects and path.rpartition("/")[2] in _files(self.objects[manifest]):
            raise Violation(f"half a bundle: {path} was deleted while its manifest is stored")

    def damage(self, path: str) -> None:
        """Remove the last byte of a stored file."""
        before = self.objects[path]
        self.objects[path] = Stored(before.content[:-1], before.modified)
        self.damaged.add(path)

    def is_damaged(self, area: Literal["bundles", "looks"], version: str) -> bool:
        """Return whether a bundle, or a look at it, is damaged."""
        return any(f"/{area}/{version}/" in path for path in self.damaged)

    def is_sealed(self, number: int) -> bool:
        """Return whether a record has a seal."""
        return any(f"/seals/{number:06d}-" in path for path in self.objects)

    def check_end(self) -> None:
        """Check the store after everybody is done and gc has run: it holds the log, its seals, and the named objects.

        Raises:
            Violation: there is a leftover.
        """
        for path in self.objects:
            area = path.split("/")[1]
            if (area in ("bundles", "runs") and path not in self.named) or "/removal-" in path:
                raise Violation(f"leftover: {path} is still stored after gc")
        stored = sum("/promotions/" in path for path in self.objects)
        if stored != len(self.log):
            raise Violation(f"gap: {stored} records are stored, {len(self.log)} were written")

    def _check_record(self, model: str, name: str, content: bytes) -> None:
        record = json.loads(content)
        number = len(self.log) + 1
        champion = self.log[-1]["version"] if self.log else None
        if record["number"] != number or name != f"{number:06d}.json":
            raise Violation(f"gap: {name} with number {record['number']} follows {len(self.log)} records")
        if record["parent"] != self.digest or record["previous"] != champion:
            raise Violation(f"chain: {name} does not follow the record before it")
        if self.digest and f"{model}/seals/{number - 1:06d}-{self.digest}.json" not in self.objects:
            raise Violation(f"unsealed: {name} follows a record without a seal")
        self.named |= self._check_bundle(model, record["version"])
        for file, digest in record["files"].items():
            path = f"{model}/runs/{record['run_id']}/{file}"
            if path not in self.objects or sha256(self.objects[path].content).hexdigest() != digest:
                raise Violation(f"evidence: {name} names {path}, which is missing or differs")
            self.named.add(path)
        self.log.append(record)
        self.digest = sha256(content).hexdigest()

    def _check_look(self, name: str, content: bytes) -> None:
        champion, file = name.split("/")
        candidates = self.looks.setdefault(champion, [])
        candidate = pq.read_schema(pa.BufferReader(content)).metadata[b"candidate"].decode()
        if file != f"{len(candidates) + 1:06d}.parquet":
            raise Violation(f"gap: look {file} follows {len(candidates)} looks at {champion[:12]}")
        if candidate in candidates:
            raise Violation(f"second look: {candidate[:12]} was compared with {champion[:12]} before")
        if champion not in {record["version"] for record in self.log}:
            raise Violation(f"no champion: {candidate[:12]} was compared with {champion[:12]}, which was none")
        candidates.append(candidate)

    def _check_bundle(self, model: str, version: str) -> set[str]:
        folder = f"{model}/bundles/{version}"
        manifest = self.objects.get(f"{folder}/manifest.json")
        if manifest is None or sha256(manifest.content).hexdigest() != version:
            raise Violation(f"half a bundle: {folder}/manifest.json is missing or differs")
        files = _files(manifest)
        for name, digest in files.items():
            one = self.objects.get(f"{folder}/{name}")
            if one is None or sha256(one.content).hexdigest() != digest:
                raise Violation(f"half a bundle: {folder}/{name} is missing or differs")
        return {f"{folder}/{name}" for name in (*files, "manifest.json")}


def _files(manifest: Stored) -> dict[str, str]:
    return json.loads(manifest.content)["files"]
