"""The stage `fetch`: write the source's log to `data/raw/`, and rewrite only the files that changed.

The fingerprint covers the source's contents, the params that shape the rows, and the code that reads this source. It
is stored in `reports/fetch.json`, beside the rows, so that a change of code that gives equal rows reruns no later
stage. With `data.until` set, a source that grows is identified by its rows up to that day, so the fingerprint of a day
stays the same when later days arrive. `.din/fetch/` remembers which rows each state of the files holds; for an unknown
state the log is read whole.

When the fingerprint is unchanged and the files of `data/raw/` are as they were written, only hashes are read. Otherwise
the log is read whole and written to a temporary sibling. Files with the same bytes are linked from the old tree to keep
their inodes and times, so that DVC need not hash them again. A failure leaves the old tree as it was.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from din import code, documents
from din.artifacts import MANIFEST, hash_files, replace_directory, sha256_file, write_json
from din.document_types import FetchReport, RawManifest
from din.errors import InputError, Unavailable
from din.names import Day, Digest
from din.params import Data, Params, source_settings, to_json
from din.sources import (
    amazon_reviews,
    kuairand,
    movielens,
    movielens_release,
    rawlog,
    simulate,
    tabular,
    taobao_ads,
)
from din.workspace import FORMAT, Workspace

GROWING = {"table"}
"""The sources to which days are appended."""


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


class Source(Protocol):
    """One log format.

    To add a format, write a module with such a class, a case in `source_of`, and a block in `din.params.fetch`.
    """

    def identity(self) -> Any:
        """Return JSON that changes when the rows would: hashes of contents, and params other than paths.

        Raises:
            InputError: the source is missing or unreadable.
            Unavailable: the source can't be reached now.
        """
        ...

    def read(self) -> rawlog.RawLog:
        """Read the whole log.

        Raises:
            InputError: a file or value can't be used. The message names file, row or column, and value, and says what
                was expected.
            Unavailable: the source can't be reached now.
        """
        ...


def source_of(workspace: Workspace, params: Params) -> Source:
    """Return the source that `fetch.source` names; its relative paths start at the workspace."""
    block = params.fetch
    match block.source:
        case "movielens-100k":
            return movielens.MovieLens(workspace, block.movielens)
        case "movielens":
            return movielens_release.MovieLensRelease(workspace, block.movielens)
        case "amazon-reviews":
            return amazon_reviews.AmazonReviews(workspace, block.amazon_reviews)
        case "kuairand-pure":
            return kuairand.KuaiRandPure(workspace, block.kuairand_pure)
        case "taobao-ads":
            return taobao_ads.TaobaoAds(workspace, block.taobao_ads)
        case "table":
            return tabular.TableSource(workspace, block.table)
        case "simulate":
            return simulate.Simulation(block.simulate)


def fetch(workspace: Workspace, params: Params) -> None:
    """Bring `data/raw/` up to date with the source.

    `DIN_SOURCE_FINGERPRINT` in the environment pins the fingerprint that the source must have. `data/raw/` stays as it
    was when an error is raised.

    Raises:
        InputError: see `Source` and `rawlog.write`; or the fingerprint is not the pinned one.
        Unavailable: the source can't be reached now, or it changed while it was read.
    """
    pin = os.environ.get("DIN_SOURCE_FINGERPRINT")
    old = _fetched(workspace)
    if not (pin and old and old.fingerprint == pin):  # rows that match the pin make the source unnecessary
        source = source_of(workspace, params)
        identity = source.identity()
        stamp = _hash(params, source, identity)
        known = _known(workspace, params, stamp)
        _check_pin(params, known, pin)
        if not (known and old and old.fingerprint == known):
            _rewrite(workspace, params, source, identity, old, pin)
            return
    assert old is not None
    rows = f"{old.manifest['rows']:,} rows, {len(old.manifest['days'])} days"
    print(f"fetch: {workspace.raw} is up to date with {params.fetch.source} ({rows})")


def look(workspace: Workspace, params: Params) -> Seen:
    """Describe the source's log up to `data.until`, by default up to its newest day, as `fetch` would find it.

    Raises:
        InputError: see `Source` and `rawlog.write`.
        Unavailable: see `fetch`.
    """
    source = source_of(workspace, params)
    identity = source.identity()
    stamp = _hash(params, source, identity)
    if seen := _remembered(workspace, stamp):
        return seen
    log = _read(params, source, identity)
    workspace.fetched.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=workspace.fetched) as tree:
        described = rawlog.write(log, Path(tree), params.data.until)
        until = params.data.until or date.fromisoformat(described["days"][-1])
        pinned = replace(params, data=Data(until=until))
        pinned_stamp = _hash(pinned, source, identity)
        seen = _seen(pinned, source, pinned_stamp, described, hash_files(Path(tree)))
    _remember(workspace, {stamp: seen, pinned_stamp: seen})
    return seen


def _rewrite(
    workspace: Workspace,
    params: Params,
    source: Source,
    identity: Any,
    old: Fetched | None,
    pin: str | None,
) -> None:
    log = _read(params, source, identity)
    stamp = _hash(params, source, identity)
    with replace_directory(workspace.raw) as tree:
        described = rawlog.write(log, tree, params.data.until)
        files = hash_files(tree)
        seen = _seen(params, source, stamp, described, files)
        _check_pin(params, seen.fingerprint, pin)
        kept = [path for path, sha256 in files.items() if old and old.manifest["files"].get(path) == sha256]
        for path in kept:
            _link(workspace.raw / path, tree / path)
        manifest = {"format": FORMAT, "source": params.fetch.source, "params": source_settings(params), "files": files}
        write_json(tree / MANIFEST, manifest | described)
    report: FetchReport = {"fingerprint": seen.fingerprint, "manifest": Digest(sha256_file(workspace.raw / MANIFEST))}
    write_json(workspace.fetch, report)
    if _by_rows(params):
        _remember(workspace, {stamp: seen})
    print(
        f"fetch: {described['rows']:,} rows of {len(described['days'])} days from {params.fetch.source}; "
        f"{len(files) - len(kept)} of {len(files)} files written, the others unchanged"
    )


def _read(params: Params, source: Source, identity: Any) -> rawlog.RawLog:
    log = source.read()
    if source.identity() != identity:
        raise Unavailable(
            f"fetch.source {params.fetch.source}: its files changed while they were read; run fetch again"
        )
    return log


def _by_rows(params: Params) -> bool:
    """Return whether the fingerprint is that of the rows up to `data.until`, not that of the source's files."""
    return params.fetch.source in GROWING and params.data.until is not None


def _seen(params: Params, source: Source, stamp: str, described: dict[str, Any], files: dict[str, str]) -> Seen:
    rows = {"files": files, **described, "until": None}
    fingerprint = _hash(params, source, rows) if _by_rows(params) else stamp
    return Seen(Digest(fingerprint), described["days"][0], described["days"][-1])


def _known(workspace: Workspace, params: Params, stamp: str) -> str | None:
    """Return the log's fingerprint where it is known without reading the log."""
    if not _by_rows(params):
        return stamp
    seen = _remembered(workspace, stamp)
    return seen.fingerprint if seen else None


def _remembered(workspace: Workspace, stamp: str) -> Seen | None:
    return _memory(workspace).get(stamp)


def _remember(workspace: Workspace, seen: dict[str, Seen]) -> None:
    write_json(workspace.seen, {stamp: asdict(log) for stamp, log in (_memory(workspace) | seen).items()})


def _memory(workspace: Workspace) -> dict[str, Seen]:
    """Return the logs that earlier fetches saw, by stamp.

    The file only saves time, so a missing or damaged one counts as empty.
    """
    try:
        return documents.read(dict[str, Seen], workspace.seen)
    except InputError:
        return {}


def _check_pin(params: Params, fingerprint: str | None, pin: str | None) -> None:
    if pin and fingerprint and fingerprint != pin:
        raise InputError(
            f"fetch.source {params.fetch.source}: the log until {params.data.until} has fingerprint {fingerprint}; the "
            f"run was opened on {pin} (DIN_SOURCE_FINGERPRINT): give this worker the same files, or open a new run"
        )


def _hash(params: Params, source: Source, identity: Any) -> str:
    """Hash everything that determines the rows: the source's identity, the last day, and the code that reads it."""
    modules = code.closure({type(source).__module__, rawlog.__name__}, blocks={"data", "fetch"})
    parts = {
        "source": params.fetch.source,
        "identity": identity,
        "until": to_json(params.data)["until"],
        "code": code.digests(modules),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
    found = files.pop(MANIFEST)
    return (
        Fetched(manifest, report["fingerprint"]) if (report["manifest"], manifest["files"]) == (found, files) else None
    )


def _link(old: Path, new: Path) -> None:
    new.unlink()
    try:
        os.link(old, new)
    except OSError:  # another device, or a file system without links
        shutil.copy2(old, new)
