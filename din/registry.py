"""The registry: immutable bundles and an append-only log of promotions on any object store.

    <uri>/<model_name>/bundles/<version>/...          version = sha256 of the bundle's manifest.json
                      /promotions/000017.json         put-if-absent; the champion is the highest number
                      /runs/<run_id>/...              the run's own record, which changes while it runs
                      /runs/<run_id>/promoted-<hash>/ what it knew when it promoted: commit, dvc.lock, gate.json, ...
                      /stages/<key>/...               what schedulers keep of ended stages (see dags/workspace.py)

A promotion and a rollback are both one append of exactly the next number, after everything it names is stored, so a
crash at any point leaves the old champion and two writers can't both win. Costs one listing of `promotions/` to find
the champion. It gives up deletion: only `gc` removes anything, and only what no record names.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from uuid import uuid4

from din.artifacts import MANIFEST, replace_directory, sha256_file
from din.bundle import parse_manifest, verify_bundle
from din.errors import InputError
from din.objects import Objects, prefixes, to_bytes
from din.record import Record, StaleChampion, parse_record, record_key, run_key

FACTS, PROMOTED = "facts.json", "promoted-"


class Registry:
    """One model's namespace below a registry URI (see `din.objects.Objects` for URIs).

    Raises:
        InputError: a model name of other characters; from every method, where the URI can't be read or written.
        Unavailable: from every method, where the store doesn't answer.
    """

    def __init__(self, uri: str, model_name: str) -> None:
        if not re.fullmatch(r"\w[\w.-]*", model_name, re.ASCII):
            raise InputError(f"promote.model_name: {model_name!r}; use letters, digits, '.', '_' and '-' only")
        self.uri, self.model_name = uri, model_name
        self._objects = Objects(uri, model_name)

    def history(self) -> list[Record]:
        """All records, oldest first."""
        return [self.record(number) for number in self._numbers()]

    def champion(self) -> Record | None:
        """The record with the highest number; None before the first promotion."""
        numbers = self._numbers()
        return self.record(numbers[-1]) if numbers else None

    def record(self, number: int) -> Record:
        """One record.

        Raises:
            InputError: there is none of this number, or it isn't a record.
        """
        key = record_key(number)
        return parse_record(self._objects.read(key), self._objects.at(key))

    def append(
        self,
        version: str,
        previous: Record | None,
        *,
        by: str,
        reason: str,
        action: Literal["promote", "rollback"] = "promote",
        run_id: str | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Record:
        """Make `version` the champion after `previous`, the champion it was compared with.

        Raises:
            StaleChampion: a record after `previous` exists already and is not this one.
        """
        record = Record(
            number=previous.number + 1 if previous else 1,
            version=version,
            action=action,
            previous=previous.version if previous else None,
            run_id=run_id,
            nonce=uuid4().hex,
            by=by,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            reason=reason,
            files=dict(files or {}),
        )
        key = record_key(record.number)
        if not self._objects.create(key, to_bytes(asdict(record))):
            winner = self.record(record.number)
            if winner.nonce != record.nonce:  # else a retried put whose first answer got lost: the record is ours
                raise StaleChampion(
                    f"{self._objects.at(key)}: {winner.by} made {winner.version[:12]} the champion at {winner.at}, "
                    "after this comparison; run the gate again (`dvc repro gate`), then promote"
                )
        return record

    def rollback(self, to: int | str, by: str, reason: str) -> Record:
        """Make an earlier champion the champion again, once its bundle is found intact.

        Args:
            to: a record's number, or a version or the start of one.
            by: who decides.
            reason: why, for the log.

        Raises:
            InputError: no such record, several versions, the champion itself, or a damaged bundle.
            StaleChampion: another append came first.
        """
        history = self.history()
        found = {r.version for r in history if r.number == to or (isinstance(to, str) and r.version.startswith(to))}
        if len(found) != 1:
            known = ", ".join(f"{r.number} ({r.version[:12]})" for r in history) or "none"
            raise InputError(f"{self.name}: {to!r} names {len(found)} versions, expected one; records: {known}")
        (version,) = found
        if version == history[-1].version:
            raise InputError(f"{self.name}: {version[:12]} is the champion already (record {history[-1].number})")
        if problems := self._bundle_problems(version):
            raise InputError("\n".join([f"{self.name}: can't roll back to {version[:12]}:", *problems]))
        return self.append(version, history[-1], by=by, reason=reason, action="rollback")

    def put_bundle(self, directory: Path) -> str:
        """Store a bundle, manifest last; one stored before, wholly or in part, is compared and completed.

        Returns:
            The version.

        Raises:
            InputError: a file is missing, foreign or changed, here or in the registry.
        """
        version, files = verify_bundle(directory)
        stored = self._objects.keys(f"bundles/{version}")
        for name, digest in files.items():
            key = f"bundles/{version}/{name}"
            if key not in stored:
                self._objects.put(key, directory / name)
            elif problems := self._problem(key, digest):
                raise InputError(f"{problems[0]}; a bundle never changes: see `din registry verify`")
        # Same bytes each time; a fresh time keeps `gc` from taking a bundle that was left over and is now wanted.
        self._objects.put(f"bundles/{version}/{MANIFEST}", directory / MANIFEST)
        return version

    def fetch(self, version: str, target: Path) -> Path:
        """Copy a bundle to the directory `target`, complete and verified, or not at all.

        Raises:
            InputError: the bundle is missing or damaged.
        """
        manifest, files = self._manifest(version)
        with replace_directory(target) as directory:
            for name, digest in files.items():
                key, path = f"bundles/{version}/{name}", directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.writelines(self._objects.stream(key))
                if sha256_file(path) != digest:
                    raise InputError(f"{self._objects.at(key)}: damaged, its hash is not the recorded one")
            (directory / MANIFEST).write_bytes(manifest)
        return target

    def find(self, start: str) -> str:
        """The one stored version that begins with `start`.

        Raises:
            InputError: none does, or several do.
        """
        stored = {key.split("/")[1] for key in self._objects.keys("bundles") if key.endswith(f"/{MANIFEST}")}
        found = [version for version in sorted(stored) if version.startswith(start)]
        if len(found) != 1:
            which = ", ".join(version[:12] for version in found) or "none"
            raise InputError(f"{self.name}: {start!r} names {which} of {len(stored)} bundles, expected one")
        return found[0]

    def facts(self, version: str) -> dict[str, Any]:
        """A stored bundle's facts.json, verified.

        Raises:
            InputError: the bundle or its facts are missing or damaged.
        """
        content = self._objects.read(f"bundles/{version}/{FACTS}")
        if hashlib.sha256(content).hexdigest() != self._manifest(version)[1].get(FACTS):
            at = self._objects.at(f"bundles/{version}/{FACTS}")
            raise InputError(f"{at}: damaged, its hash is not the recorded one")
        return json.loads(content)

    def put_run(self, run_id: str, files: Mapping[str, bytes]) -> dict[str, str]:
        """Store what a run knew when it promoted; returns name below runs/<run_id>/ to sha256, for the record.

        The folder is named by the hash of them all: equal files meet, others never overwrite what a record names.
        """
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        folder = f"{PROMOTED}{hashlib.sha256(to_bytes(hashes)).hexdigest()[:16]}"
        for name, content in files.items():
            self._objects.put(f"{run_key(run_id)}/{folder}/{name}", content)
        return {f"{folder}/{name}": digest for name, digest in hashes.items()}

    def verify(self) -> list[str]:
        """Read everything that records name: one line per problem; none is a sound registry."""
        problems: list[str] = []
        previous, checked = None, set()
        for expected, number in enumerate(self._numbers(), 1):
            at = self._objects.at(record_key(number))
            if number != expected:
                return [*problems, f"{at}: record {expected} is missing before it"]
            try:
                record = self.record(number)
            except InputError as error:
                return [*problems, str(error)]
            if (record.number, record.previous) != (number, previous):
                problems.append(f"{at}: says number {record.number} after {record.previous}, expected after {previous}")
            if record.version not in checked:
                problems += self._bundle_problems(record.version)
            for name, digest in record.files.items():
                problems += self._problem(f"{run_key(record.run_id or '')}/{name}", digest)
            previous = record.version
            checked.add(record.version)
        return problems

    def gc(self, grace: timedelta = timedelta(days=7), dry_run: bool = True) -> list[str]:
        """Remove what no record names and nobody wrote to for `grace`: bundles, runs, stages, leftovers of killed puts.

        What was written to meanwhile stays, and all that is left once somebody promoted meanwhile.

        Args:
            grace: younger objects may belong to a promotion in progress.
            dry_run: only say what would go.

        Returns:
            The locations removed.
        """
        history, before = self.history(), datetime.now(UTC) - grace
        kept = {f"bundles/{r.version}" for r in history} | {run_key(r.run_id) for r in history if r.run_id}
        owned: dict[str, dict[str, datetime]] = {}
        keys = (self._objects.keys(area) for area in ("bundles", "runs", "stages"))
        for key, modified in chain.from_iterable(found.items() for found in keys):
            owned.setdefault("/".join(key.split("/")[:2]), {})[key] = modified
        orphans = [owner for owner, keys in owned.items() if owner not in kept and max(keys.values()) < before]
        leftovers = [p for p in self._objects.leftovers() if datetime.fromtimestamp(p.stat().st_mtime, UTC) < before]
        if not dry_run:
            numbers = [record.number for record in history]
            orphans = [owner for owner in orphans if self._numbers() == numbers and self._delete(owner, owned[owner])]
            for path in leftovers:
                path.unlink(missing_ok=True)
        return [self._objects.at(owner) for owner in orphans] + [str(path) for path in leftovers]

    def _delete(self, owner: str, keys: dict[str, datetime]) -> bool:
        """Remove all below `owner`, unless it is no longer just these keys, of these times."""
        if self._objects.keys(owner) != keys:
            return False
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{MANIFEST}")):  # no manifest, no bundle
            self._objects.delete(key)
        return True

    @property
    def name(self) -> str:
        """URI and model name, for messages."""
        return self._objects.name

    def _numbers(self) -> list[int]:
        names = (PurePosixPath(key).name for key in self._objects.keys("promotions"))
        return sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch(r"\d{6,}\.json", name))

    def _manifest(self, version: str) -> tuple[bytes, dict[str, str]]:
        key = f"bundles/{version}/{MANIFEST}"
        content = self._objects.read(key)
        if hashlib.sha256(content).hexdigest() != version:
            raise InputError(f"{self._objects.at(key)}: damaged, its hash is not the version")
        return content, parse_manifest(content, self._objects.at(key))

    def _bundle_problems(self, version: str) -> list[str]:
        try:
            files = self._manifest(version)[1]
        except InputError as error:
            return [str(error)]
        return [problem for name in files for problem in self._problem(f"bundles/{version}/{name}", files[name])]

    def _problem(self, key: str, digest: str) -> list[str]:
        try:
            sound = self._objects.sha256(key) == digest
        except InputError as error:
            return [str(error)]
        return [] if sound else [f"{self._objects.at(key)}: damaged, its hash is not the recorded one"]


def list_models(uri: str) -> list[str]:
    """Names of the models below a registry URI, sorted."""
    return prefixes(uri)
