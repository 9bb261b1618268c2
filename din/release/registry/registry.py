"""The registry: immutable bundles and an append-only log of promotions on any object store.

    <uri>/<model_name>/bundles/<version>/...          version = sha256 of the bundle's manifest.json
                      /promotions/000017.json         put-if-absent; the champion is the highest number
                      /seals/000017-<sha256>.json     a copy of the record that reveals edits (see records.py)
                      /runs/<run_id>/...              status files of the run, which change while it runs
                      /runs/<run_id>/promoted-<hash>/ evidence of the promotion: commit, dvc.lock, gate.json, ...
                      /looks/<version>/000003.parquet rows of the third comparison with a champion
                      /stages/<key>/...               results of finished stages, for schedulers (dags/pinned_run.py)
                      /alarms/<day>/...               what `din watch` found (din_loop/watch/alarms.py)
                      /notified/<id>                  an empty object for each event that arrived at `notify`
                      /claims/bundles/<version>/...   empty objects by which a promotion and gc notice each other
                      /claims/runs/<run_id>/...

A promotion or rollback appends one record with the next number, after storing everything that the record names. A crash
at any point therefore leaves the old champion, and two writers can't both win. Finding the champion takes two listings
and two reads. Only `gc` deletes objects, and only those that no record names.
"""

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self
from uuid import uuid4

from din.base import documents
from din.base.artifacts import MANIFEST, replace_directory, sha256_file
from din.base.errors import GateClosed, InputError, Unavailable, listed
from din.base.names import Digest, FileName, ModelName, RunId, Version
from din.base.workspace import Workspace
from din.bundle.contents import FACTS, Manifest, verify_bundle
from din.contracts.facts import Facts
from din.params.reading import Params
from din.release.registry.objects import Objects, noted, prefixes
from din.release.registry.records import (
    Chain,
    Identity,
    Override,
    Record,
    StaleChampion,
    append,
    newest_entry,
    read_chain,
    record_key,
    run_key,
    seal,
)
from din.release.registry.seen import Memory

PROMOTED = "promoted-"
_REGISTRIES = "registries"
"""The memory of registries, in the folder that all runs of a worker share."""
CLAIMS = "claims"
_FIRST = "first"
"""The claim of a first promotion on its bundle, until its record is sealed. A bundle without it had a record."""
_LONGEST_NUMBER = 6
"""A name of more digits is the beginning of a version, not a record's number."""
_REMOVAL = "removal-"


class Registry:
    """One model's namespace below a registry URI (see `din.release.registry.objects.Objects` for URIs).

    Args:
        memory: a folder that remembers how many records there were; None: nothing does.

    Raises:
        InputError: the model name has characters that are not allowed; from every method, if the URI can't be read or
            written, or a required object is missing or damaged.
        Unavailable: from every method, if the store doesn't answer.
    """

    def __init__(self, uri: str, model_name: str, memory: Path | None = None) -> None:
        self.uri = uri
        self.model_name = ModelName(model_name)
        self.objects = Objects(uri, self.model_name)
        self.name = self.objects.name
        self._memory = Memory(memory, self.name) if memory else None

    @classmethod
    def of(cls, workspace: Workspace, params: Params) -> Self:
        """Return the registry `promote.registry` of a workspace, with the namespace `promote.model_name`."""
        return cls(workspace.located(params.promote.registry), params.model_name, workspace.fetched / _REGISTRIES)

    def history(self) -> list[Record]:
        """Return all records, oldest first.

        Raises:
            InputError: there are fewer than before.
        """
        before = self._memory.newest if self._memory else 0  # read first: other processes append
        records = [entry.record for entry in self._chain().entries]
        self._require(len(records), before)
        if self._memory:
            self._memory.keep(len(records))
        return records

    def _require(self, count: int, before: int) -> None:
        """Raise InputError if there are fewer records than before."""
        if self._memory and count < before:
            raise InputError(
                f"{self.name}: has {count} records, but had {before} before; mount or restore it. To begin anew, "
                f"remove {self._memory.path}"
            )

    def champion(self, seen: int = 0) -> Record | None:
        """Return the newest record, checked against the previous one, or None before the first promotion.

        Args:
            seen: the number of the champion at an earlier look, which makes this one faster; 0: unknown.

        Raises:
            InputError: there are fewer records than before.
        """
        before = self._memory.newest if self._memory else 0
        newest = newest_entry(self.objects, seen)
        self._require(newest.record.number if newest else 0, before)
        return newest.record if newest else None

    def required_champion(self, seen: int = 0) -> Record:
        """Return the champion; see `champion`.

        Raises:
            InputError: there is none yet.
        """
        champion = self.champion(seen)
        if champion is None:
            raise InputError(f"{self.name}: no champion yet; promote a bundle first (`din promote`)")
        return champion

    def newest(self) -> int:
        """Return the number of the newest record, or 0 before the first promotion."""
        champion = self.champion()
        return champion.number if champion else 0

    def record(self, name: int | str, history: Sequence[Record] | None = None) -> Record:
        """Return the record whose number is `name`, or else the first record of the version that begins with `name`.

        Args:
            history: all records, if they are known.

        Raises:
            InputError: there is no such record, or several versions begin with `name`.
        """
        records = self.history() if history is None else history
        start = str(name)
        if isinstance(name, int) or (start.isdecimal() and len(start) <= _LONGEST_NUMBER):
            if not 1 <= int(name) <= len(records):
                raise InputError(f"{self.name}: no record {name}; there are {len(records)}, see `din registry show`")
            return records[int(name) - 1]
        matches = {record.version: record for record in reversed(records) if record.version.startswith(start)}
        if len(matches) != 1:
            listing = ", ".join(f"{record.number} ({record.version[:12]})" for record in records) or "none"
            raise InputError(f"{self.name}: {name!r} names {len(matches)} versions, expected one; records: {listing}")
        return matches.popitem()[1]

    def promote(
        self,
        directory: Path,
        version: Version,
        previous: Record | None,
        *,
        by: str,
        reason: str,
        run_id: str,
        override: Override | None = None,
        identity: Identity | None = None,
        evidence: Mapping[str, bytes],
    ) -> Record:
        """Store a bundle, then the evidence for it, then the record that makes it the champion after `previous`.

        If the process is killed, either the old champion stays, or the new one has its complete bundle and evidence. A
        rerun finishes the promotion.

        Raises:
            StaleChampion: a record after `previous` already exists.
            GateClosed: the directory no longer holds bundle `version`.
            InputError: a value of the record is not of the declared type.
        """
        if previous is None:
            self.objects.put(_first(version), b"")
        if self.put_bundle(directory) != version:
            raise GateClosed(f"nothing promoted: {directory} changed while it was judged; run `dvc repro` again")
        files = self.put_run(run_id, evidence)
        return self.append(
            version,
            previous,
            by=by,
            reason=reason,
            run_id=run_id,
            override=override,
            identity=identity,
            files=files,
        )

    def append(
        self,
        version: Version,
        previous: Record | None,
        *,
        by: str,
        reason: str,
        action: Literal["promote", "rollback"] = "promote",
        run_id: str | None = None,
        override: Override | None = None,
        identity: Identity | None = None,
        files: Mapping[FileName, Digest] | None = None,
    ) -> Record:
        """Make `version` the champion after `previous`, the champion that it was compared with.

        Raises:
            StaleChampion: a record after `previous` already exists.
            InputError: `previous` is not a record of the log, or a value of the record is not of the declared type.
        """
        log = self._chain()
        number = previous.number + 1 if previous else 1
        if len(log.entries) >= number:
            raise self._stale(log.entries[number - 1].record)
        parent = log.entries[-1] if log.entries else None
        if (parent.record if parent else None) != previous:
            raise InputError(f"{self.name}: the record to follow is not the newest one; run the gate again")
        record = Record(
            number=number,
            version=version,
            action=action,
            previous=previous.version if previous else None,
            parent=parent.digest if parent else None,
            run_id=RunId.of(run_id) if run_id else None,
            nonce=uuid4().hex,
            by=by,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            reason=reason,
            override=override,
            files=dict(files or {}),
            identity=identity,
        )
        if parent:
            self.seal(parent.record)
        if not append(self.objects, record):
            raise self._stale(self.record(number))
        self._end_first(record)
        if self._memory:
            self._memory.keep(number)
        return record

    def seal(self, record: Record) -> None:
        """Write the seal of the newest record, in case a killed promotion left it unsealed, and end its claim."""
        seal(self.objects, record.number)
        self._end_first(record)

    def _end_first(self, record: Record) -> None:
        """Remove the claim of a first promotion on the bundle of a sealed record.

        If another candidate won the first promotion, the bundle has its record later.
        """
        self.objects.delete(_first(record.version))

    def rollback(
        self, to: int | str, by: str, reason: str, champion: int | None = None, identity: Identity | None = None
    ) -> Record:
        """Make an earlier champion the champion again, after verifying its bundle.

        Args:
            to: the number of a record, or a version or its beginning.
            champion: the number of the record to roll back, by default the newest.

        Returns:
            The new record, or an existing one: that which rolled `champion` back to the same version, or the newest if
            it is a rollback to it by the same person for the same reason.

        Raises:
            InputError: `to` matches no record, several versions, or the champion itself.
            StaleChampion: another writer appended first, or `champion` was followed by another champion.
        """
        history = self.history()
        version = self.record(to, history).version
        if champion not in (None, len(history)):
            after = history[self.record(champion, history).number]
            if (after.action, after.version) != ("rollback", version):
                raise self._stale(after)
            self.seal(after)
            return after
        newest = history[-1]
        if version == newest.version:
            if (newest.action, newest.by, newest.reason) == ("rollback", by, reason):  # the reply was lost
                self.seal(newest)
                return newest
            raise InputError(f"{self.name}: {version[:12]} is the champion already (record {newest.number})")
        problems: list[str] = []
        with noted(problems):
            for key, digest in self._hashes(version):
                with noted(problems):
                    self._check(key, digest)
        if problems:
            raise InputError("\n".join([f"{self.name}: can't roll back to {version[:12]}:", *problems]))
        return self.append(version, newest, by=by, reason=reason, action="rollback", identity=identity)

    def put_bundle(self, directory: Path) -> Version:
        """Store a bundle, with its manifest last, and return its version.

        If the bundle is already stored, completely or partly, compare its files and add the missing ones.

        Raises:
            InputError: a file is missing, added or changed in the directory, or damaged in the registry.
            Unavailable: `gc` is removing the bundle.
        """
        bundle = verify_bundle(directory)
        version = bundle.version
        self._claim(f"bundles/{version}")
        stored = self.objects.keys(f"bundles/{version}")
        for name, digest in bundle.files.items():
            key = f"bundles/{version}/{name}"
            if key in stored:
                self._check(key, digest)
            else:
                self.objects.put(key, directory / name)
        self.objects.put(f"bundles/{version}/{MANIFEST}", directory / MANIFEST)
        return version

    def fetch(self, version: Version, target: Path) -> Path:
        """Copy a bundle to the directory `target`, and verify it. On failure, leave `target` unchanged."""
        files = self.files(version)
        with replace_directory(target) as directory:
            for name, digest in [*files.items(), (MANIFEST, version)]:
                key = f"bundles/{version}/{name}"
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.writelines(self.objects.stream(key))
                if sha256_file(path) != digest:
                    raise self._damaged(key)
        return target

    def versions(self) -> list[Version]:
        """Return the versions of all complete bundles, sorted."""
        keys = (key.split("/") for key in self.objects.keys("bundles"))
        stored = {parts[1] for parts in keys if parts[2:] == [MANIFEST]}
        return sorted(Version(version) for version in stored if Version.form.fullmatch(version))

    def find(self, start: str) -> Version:
        """Return the stored version that begins with `start`.

        Raises:
            InputError: no version matches, or several do.
        """
        stored = self.versions()
        matches = [version for version in stored if version.startswith(start)]
        if len(matches) != 1:
            which = ", ".join(version[:12] for version in matches) or "none"
            raise InputError(f"{self.name}: {start!r} names {which} of {len(stored)} bundles, expected one")
        return matches[0]

    def facts(self, version: Version) -> Facts:
        """Return a stored bundle's facts, verified."""
        key = f"bundles/{version}/{FACTS}"
        content = self.verified(key, self.files(version).get(FileName(FACTS)))
        return documents.parse(Facts, content, self.objects.at(key))

    def files(self, version: Version) -> dict[FileName, Digest]:
        """Return the sha256 of each file of a stored bundle, by name, from its manifest."""
        key = f"bundles/{version}/{MANIFEST}"
        return documents.parse(Manifest, self.verified(key, version), self.objects.at(key)).files

    def verified(self, key: str, digest: str | None, most: int = documents.MOST_BYTES) -> bytes:
        """Return an object's bytes, at most `most` of them, whose sha256 must be `digest`."""
        content = self.objects.read(key, most)
        if sha256(content).hexdigest() != digest:
            raise self._damaged(key)
        return content

    def put_run(self, run_id: str, files: Mapping[str, bytes]) -> dict[FileName, Digest]:
        """Store the evidence for a run's promotion, and return `files` of its record.

        The folder is named by the hash of all files, so equal files share a folder, and other files never overwrite
        those of a record.

        Raises:
            Unavailable: `gc` is removing the run.
        """
        hashes = {name: Digest(sha256(content).hexdigest()) for name, content in files.items()}
        folder = f"{PROMOTED}{sha256(documents.dump(hashes)).hexdigest()[:16]}"
        self._claim(run_key(run_id))
        for name, content in files.items():
            self.objects.put(f"{run_key(run_id)}/{folder}/{name}", content)
        return {FileName(f"{folder}/{name}"): digest for name, digest in hashes.items()}

    def verify(self) -> list[str]:
        """Check that each record follows the previous one, and hash every file that the records name.

        Returns:
            One line for each break of the chain, and for each missing or changed file of a bundle or run.
        """
        log = read_chain(self.objects)
        records = [entry.record for entry in log.entries]
        damage = list(log.damage)
        hashes = list(log.seals.items())
        for version in dict.fromkeys(record.version for record in records):
            with noted(damage):
                hashes += self._hashes(version)
        for record in records:
            if record.run_id:
                hashes += [(f"{run_key(record.run_id)}/{name}", digest) for name, digest in record.files.items()]
        for key, digest in hashes:
            with noted(damage):
                self._check(key, digest)
        if not (records or damage) and (bundles := self.versions_once_recorded()):
            damage.append(self.lost(bundles))
        return damage

    def lost(self, bundles: Sequence[Version]) -> str:
        """Return what stored bundles mean beside a log without records, and what to do about them."""
        return (
            f"{self.name}: the log of promotions is empty although {len(bundles)} bundles are stored: "
            f"{listed(bundles)}; restore the log, or remove the folder of each bundle that was never promoted"
        )

    def remarks(self) -> list[str]:
        """Return one line for each harmless irregularity of the log."""
        return read_chain(self.objects).remarks

    def versions_once_recorded(self) -> list[Version]:
        """Return the bundles that prove an empty log to be lost: all but those of interrupted first promotions."""
        claims = self.objects.keys(f"{CLAIMS}/bundles")
        return [version for version in self.versions() if _first(version) not in claims]

    def gc(self, grace: timedelta = timedelta(days=7), dry_run: bool = True) -> list[str]:
        """Remove bundles, runs and stages that no record names, and leftovers of killed writes.

        Objects modified in the meantime are kept, and nothing more is removed once a new promotion appears.

        Args:
            grace: the minimum age of removed objects. Newer ones may belong to a promotion in progress.
            dry_run: only return what would be removed.

        Returns:
            The removed locations.

        Raises:
            InputError: the log is empty although other bundles are stored. The log may have been lost, and one of them
                may be the champion.
        """
        history = self.history()
        before = datetime.now(UTC) - grace
        kept = {f"{area}/{r.version}" for r in history for area in ("bundles", "looks")}
        kept |= {run_key(r.run_id) for r in history if r.run_id}
        stored: dict[str, datetime] = {}
        for area in ("bundles", "looks", "runs", "stages", CLAIMS):
            stored |= self.objects.keys(area)
        if not dry_run:
            for key in [key for key in stored if _is_removal(key) and stored[key] < before]:
                self.objects.delete(key)  # left by a killed gc; it would block promotions forever
                del stored[key]
        owned: dict[str, dict[str, datetime]] = {}
        for key, modified in stored.items():
            owned.setdefault(_owner(key), {})[key] = modified
        orphans = [owner for owner, keys in owned.items() if owner not in kept and max(keys.values()) < before]
        unexplained = [version for version in self.versions_once_recorded() if f"bundles/{version}" in orphans]
        if unexplained and not history:
            raise InputError(self.lost(unexplained))
        leftovers = [path for path, modified in self.objects.leftovers().items() if modified < before]
        if not dry_run:
            orphans = [owner for owner in orphans if self._remove(owner, owned[owner], history)]
            for path in leftovers:
                path.unlink(missing_ok=True)
        return [self.objects.at(owner) for owner in orphans] + [str(path) for path in leftovers]

    def _remove(self, owner: str, keys: dict[str, datetime], history: list[Record]) -> bool:
        """Remove all objects of `owner`. Return False if its keys, their times, or the log have changed."""
        claim = f"{CLAIMS}/{owner}/{_REMOVAL}{uuid4().hex}"
        self.objects.put(claim, b"")
        now = self.objects.keys(owner) | self.objects.keys(f"{CLAIMS}/{owner}")
        unchanged = self.history() == history and {key: now[key] for key in now if key != claim} == keys
        if unchanged:
            # Remove the manifest first, so that the rest no longer counts as a bundle.
            for key in sorted(keys, key=lambda key: not key.endswith(f"/{MANIFEST}")):
                self.objects.delete(key)
        self.objects.delete(claim)
        return unchanged

    def _claim(self, owner: str) -> None:
        """Keep `gc` from removing the objects of `owner` until the grace period is over.

        Both `gc` and a promotion write a claim before they look for the other's, so at least one notices the other.

        Raises:
            Unavailable: `gc` is removing the objects.
        """
        self.objects.put(f"{CLAIMS}/{owner}/promotion", b"")
        removals = [key for key in self.objects.keys(f"{CLAIMS}/{owner}") if _is_removal(key)]
        if removals:
            raise Unavailable(
                f"{self.objects.at(removals[0])}: {owner} is being removed by `din registry gc`; run it again in a "
                "minute. If that gc was killed, `din registry gc --yes` forgets it after the grace period (--days)"
            )

    def command(self, *words: str) -> str:
        """Return a command of `din` about this registry, ready to paste."""
        return shlex.join(["din", *words, "--registry", self.uri, "--model", self.model_name])

    def _chain(self) -> Chain:
        log = read_chain(self.objects)
        if log.damage:
            raise InputError(f"{log.damage[0]}; the log of promotions is damaged, see `din registry verify`")
        return log

    def _stale(self, winner: Record) -> StaleChampion:
        at = self.objects.at(record_key(winner.number))
        event = f"{winner.by} made {winner.version[:12]} the champion at {winner.at}, after this comparison"
        return StaleChampion(f"{at}: {event}; run the gate again (`dvc repro gate`), then promote")

    def _damaged(self, key: str) -> InputError:
        advice = "restore it from a copy: `din registry verify` lists all damage"
        return InputError(f"{self.objects.at(key)}: damaged, its hash is not the recorded one; {advice}")

    def _hashes(self, version: Version) -> list[tuple[str, str]]:
        """Return the key and the sha256 of each file of a stored bundle."""
        return [(f"bundles/{version}/{name}", digest) for name, digest in self.files(version).items()]

    def _check(self, key: str, digest: str) -> None:
        if self.objects.sha256(key) != digest:
            raise self._damaged(key)


def _first(version: Version) -> str:
    """Return the key of a first promotion's claim on its bundle."""
    return f"{CLAIMS}/bundles/{version}/{_FIRST}"


def _owner(key: str) -> str:
    """Return the bundle, run or stage that an object or a claim belongs to, e.g. `bundles/<version>`."""
    return "/".join(key.removeprefix(f"{CLAIMS}/").split("/")[:2])


def _is_removal(key: str) -> bool:
    return key.startswith(f"{CLAIMS}/") and key.rpartition("/")[2].startswith(_REMOVAL)


def list_models(uri: str) -> list[ModelName]:
    """Return the names of the models at a registry URI, sorted. Folders with other names are ignored."""
    return [ModelName(name) for name in prefixes(uri) if ModelName.form.fullmatch(name)]
