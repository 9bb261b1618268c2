"""The stage `fetch`: write the source's log to `data/raw/`, and rewrite only the files that changed.

The fingerprint covers the source's contents, the params that shape the rows, and the code that reads this source. It
is stored in `reports/fetch.json`, apart from the rows, so that a change of code that gives equal rows reruns no later
stage. With `data.until` set, a source that grows is identified by its rows up to that day, so the fingerprint stays the
same when later days arrive. `.din/fetch/` remembers the fingerprint of each state of the files. For an unknown state
the whole log is read, or only its new and changed days if its path names days (`by_day.py`).

When the fingerprint is unchanged and the files of `data/raw/` are as they were written, nothing but hashes is read.
Otherwise the log is written to a temporary sibling. Files with the same bytes are linked from the old tree to keep
their inodes and times, so that DVC need not hash them again. A failure leaves the old tree unchanged.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from din import plugins
from din.base import documents
from din.base.artifacts import MANIFEST, hash_files, replace_directory, sha256_file, write_json
from din.base.errors import InputError, Unavailable
from din.base.names import Day, Digest
from din.base.workspace import FORMAT, Workspace
from din.contracts.manifests import FetchReport, RawManifest
from din.data import SOURCES, rawlog
from din.data.declared import check_fields
from din.data.memory import recall
from din.data.options import options_of, options_of_rows
from din.data.source import Earlier, Source, Written
from din.params.blocks import to_json
from din.params.reading import Params
from din.stages import code
from din.stages.stage import workspace_lock


@dataclass(frozen=True)
class Fetched:
    """The contents of `data/raw/`: its manifest, and the fingerprint of the source that it was read from."""

    manifest: RawManifest
    fingerprint: Digest


@dataclass(frozen=True)
class Seen:
    """A log up to a day: its fingerprint, and its first and last day (YYYY-MM-DD)."""

    fingerprint: Digest
    first_day: Day
    last_day: Day


def source_of(workspace: Workspace, params: Params) -> Source:
    """Return the source that `fetch.source` names; its relative paths start at the workspace."""
    make = SOURCES[params.fetch.source].thing
    return make(workspace, options_of(params.fetch), params.data.until)


class _Log:
    """The log that the parameters describe, as its source is now.

    Attributes:
        stamp: the fingerprint of the source's files as they are.
        by_rows: whether the log is identified by its rows up to `data.until`, not by the source's files.
    """

    def __init__(self, workspace: Workspace, params: Params) -> None:
        self.workspace = workspace
        self.params = params
        self.source = source_of(workspace, params)
        self.identity = self.source.identity()
        self.until = to_json(params.data)["until"]
        self.stamp = self.hash(self.identity, self.until)
        self.by_rows = self.source.grows and params.data.until is not None

    def hash(self, value: Any, until: str | None) -> Digest:
        """Hash a value, a last day, and the code that reads the source: everything that determines the rows."""
        reader = type(self.source).__module__
        modules = {reader, rawlog.__name__}
        parts = {
            "source": self.params.fetch.source,
            "identity": value,
            "until": until,
            "code": code.digest(modules, {"data", "fetch"}, plugins.digest_of(reader), built_in=False),
        }
        return Digest(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())

    def write(self, tree: Path, held: Mapping[str, Digest] | None) -> Written:
        """Write the log below `tree`, except the files of days that need not be read again.

        Args:
            tree: an empty folder.
            held: see `Earlier.files`.
        """
        shutil.rmtree(self.workspace.spill, ignore_errors=True)  # left behind by a killed fetch
        accept = self.params.fetch.shrunk_days == "accept"
        written = self.source.write(tree, Earlier(held, partial(self.hash, until=None), accept))
        if self.source.identity() != self.identity:
            raise Unavailable(
                f"fetch.source {self.params.fetch.source}: its files changed while they were read; run fetch again"
            )
        return written

    def seen(self, written: Written) -> Seen:
        """Return the log's fingerprint and days."""
        rows = {"files": written.files, **written.described, "until": None}
        fingerprint = self.hash(rows, self.until) if self.by_rows else self.stamp
        return Seen(fingerprint, written.described["days"][0], written.described["days"][-1])

    def remembered(self) -> Seen | None:
        """Return the log that an earlier run saw in the same files, or None."""
        return recall(dict[str, Seen], self.workspace.seen).get(self.stamp)

    def check(self, fingerprint: str, pin: str | None) -> None:
        """Raise InputError if a run is pinned to another fingerprint."""
        if pin and fingerprint != pin:
            raise InputError(
                f"fetch.source {self.params.fetch.source}: the log until {self.until} has fingerprint "
                f"{fingerprint}; the run was opened on {pin} (DIN_SOURCE_FINGERPRINT): give this worker the same "
                "files, or open a new run"
            )


def fetch(workspace: Workspace, params: Params) -> None:
    """Bring `data/raw/` up to date with the source.

    `DIN_SOURCE_FINGERPRINT` in the environment pins the fingerprint that the source must have. An error leaves
    `data/raw/` unchanged.

    Raises:
        InputError: see `Source`, `rawlog.write` and `check_fields`; or the fingerprint is not the pinned one.
        Unavailable: the source can't be reached now, or it changed while it was read.
    """
    pin = os.environ.get("DIN_SOURCE_FINGERPRINT")
    old = _fetched(workspace)
    if not (pin and old and old.fingerprint == pin):  # rows that match the pin make the source unnecessary
        log = _Log(workspace, params)
        seen = log.remembered()
        fingerprint = log.stamp if not log.by_rows else seen and seen.fingerprint
        if fingerprint:
            log.check(fingerprint, pin)
        if not (fingerprint and old and old.fingerprint == fingerprint):
            _rewrite(log, old, pin)
            return
    assert old is not None
    rows = f"{old.manifest.rows:,} rows, {len(old.manifest.days)} days"
    print(f"fetch: {workspace.raw} is up to date with {params.fetch.source} ({rows})")


def describe(workspace: Workspace, params: Params) -> Seen:
    """Describe the source's log up to `data.until`, by default up to its newest day, as `fetch` would find it.

    Raises:
        InputError: see `Source` and `rawlog.write`.
        Unavailable: see `fetch`.
    """
    log = _Log(workspace, params)
    if seen := log.remembered():
        return seen
    if days := log.source.days:
        return Seen(log.hash(log.identity, days[-1]), days[0], days[-1])
    with workspace_lock(workspace), TemporaryDirectory(dir=workspace.state) as tree:  # a fetch may be running
        written = log.write(Path(tree), None)
        last = date.fromisoformat(written.described["days"][-1])
        pinned = log if params.data.until else _Log(workspace, replace(params, data=replace(params.data, until=last)))
        if params.data.until is None and pinned.by_rows and rawlog.goes_beyond(Path(tree), last):
            shutil.rmtree(tree)
            written = pinned.write(Path(tree), None)
    seen = pinned.seen(written)
    _remember(workspace, {log.stamp: seen, pinned.stamp: seen})
    return seen


def _rewrite(log: _Log, old: Fetched | None, pin: str | None) -> None:
    workspace = log.workspace
    source = log.params.fetch.source
    held = old.manifest.files if old else {}
    with replace_directory(workspace.raw.resolve()) as tree:  # it may be a link to another disk
        written = log.write(tree, held)
        files = written.files
        seen = log.seen(written)
        log.check(seen.fingerprint, pin)
        kept = [path for path, sha256 in files.items() if held.get(path) == sha256]
        for path in kept:
            _link(workspace.raw / path, tree / path)
        if log.params.featurize.fields is None:
            check_fields(written.described["fields"], tree, source)
        manifest = {"format": FORMAT, "source": source, "params": options_of_rows(log.params.fetch), "files": files}
        manifest = documents.check(RawManifest, manifest | written.described, f"the manifest of {workspace.raw}")
        write_json(tree / MANIFEST, manifest)
    manifest_hash = Digest(sha256_file(workspace.raw / MANIFEST))
    write_json(workspace.fetch, FetchReport(fingerprint=seen.fingerprint, manifest=manifest_hash))
    if log.by_rows:
        _remember(workspace, {log.stamp: seen})
    rows = f"{written.described['rows']:,} rows of {len(written.described['days'])} days from {source}"
    changed = f"{len(files) - len(kept)} of {len(files)} files written, the others unchanged"
    print(f"fetch: {rows}; {written.days_read} days read, {changed}")


def _remember(workspace: Workspace, seen: dict[str, Seen]) -> None:
    write_json(workspace.seen, recall(dict[str, Seen], workspace.seen) | seen)


def _fetched(workspace: Workspace) -> Fetched | None:
    """Describe `data/raw/`, or return None if its files differ from the ones that its manifest and report name."""
    path = workspace.raw / MANIFEST
    if not (path.is_file() and workspace.fetch.is_file()):
        return None
    try:
        manifest = documents.read(RawManifest, path)
        report = documents.read(FetchReport, workspace.fetch)
    except InputError:
        return None
    files = hash_files(workspace.raw)
    digest = files.pop(MANIFEST)
    return Fetched(manifest, report.fingerprint) if (report.manifest, manifest.files) == (digest, files) else None


def _link(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    new.unlink(missing_ok=True)
    try:
        os.link(old, new)
    except OSError:  # another device, or a file system without links
        shutil.copy2(old, new)
