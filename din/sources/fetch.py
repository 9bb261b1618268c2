"""The stage `fetch`: write the source's log to `data/raw/`, and rewrite only the files that changed.

The fingerprint covers the source's contents, the params that shape the rows, and the code that reads this source. It
is stored in `reports/fetch.json`, beside the rows, so that a change of code that gives equal rows reruns no later
stage. With `data.until` set, a source that grows is identified by its rows up to that day, so the fingerprint of a day
stays the same when later days arrive. `.din/fetch/` remembers which rows each state of the files holds. For an unknown
state the log is read whole. Of a log whose path names days, only new and changed days are read (`by_day.py`).

When the fingerprint is unchanged and the files of `data/raw/` are as they were written, only hashes are read. Otherwise
the log is written to a temporary sibling. Of a log that is simulated by day, only the days that are not in the old tree
are drawn. Files with the same bytes are linked from the old tree to keep their inodes and times, so that DVC need not
hash them again. A failure leaves the old tree as it was.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
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
from din.params import Params, source_settings, to_json
from din.sources import (
    amazon_reviews,
    by_day,
    kuairand,
    movielens,
    movielens_release,
    rawlog,
    simulate,
    tabular,
    taobao_ads,
)
from din.sources.daily_simulation import DailySimulation
from din.sources.memory import recall, remember
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


def source_of(workspace: Workspace, params: Params) -> Source | DailySimulation:
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
            return tabular.TableSource(workspace, block.table, params.data.until)
        case "simulate" if block.simulate.daily.impressions is None:
            return simulate.Simulation(block.simulate)
        case "simulate":
            return DailySimulation(block.simulate, params.data.until)


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
    if isinstance(source, DailySimulation):
        pinned_stamp = _hash(_until(params, source.days[-1]), source, identity)
        return Seen(pinned_stamp, source.days[0], source.days[-1])
    workspace.fetched.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=workspace.fetched) as tree:
        written = _write(workspace, params, source, identity, Path(tree), None)
    pinned = params if params.data.until else _until(params, written.described["days"][-1])
    source = source_of(workspace, pinned)
    pinned_stamp = _hash(pinned, source, source.identity())
    seen = _seen(pinned, source, pinned_stamp, written)
    _remember(workspace, {stamp: seen, pinned_stamp: seen})
    return seen


def _rewrite(
    workspace: Workspace,
    params: Params,
    source: Source | DailySimulation,
    identity: Any,
    old: Fetched | None,
    pin: str | None,
) -> None:
    stamp = _hash(params, source, identity)
    held = old.manifest["files"] if old else {}
    with replace_directory(workspace.raw) as tree:
        if isinstance(source, DailySimulation):
            written = _draw(workspace, params, source, old, tree)
        else:
            written = _write(workspace, params, source, identity, tree, held)
        files = written.files
        seen = _seen(params, source, stamp, written)
        _check_pin(params, seen.fingerprint, pin)
        kept = [path for path, sha256 in files.items() if held.get(path) == sha256]
        for path in kept:
            _link(workspace.raw / path, tree / path)
        manifest = {"format": FORMAT, "source": params.fetch.source, "params": source_settings(params), "files": files}
        write_json(tree / MANIFEST, manifest | written.described)
    report: FetchReport = {"fingerprint": seen.fingerprint, "manifest": Digest(sha256_file(workspace.raw / MANIFEST))}
    write_json(workspace.fetch, report)
    if _by_rows(params):
        _remember(workspace, {stamp: seen})
    rows = f"{written.described['rows']:,} rows of {len(written.described['days'])} days from {params.fetch.source}"
    changed = f"{len(files) - len(kept)} of {len(files)} files written, the others unchanged"
    print(f"fetch: {rows}; {written.days_read} days read, {changed}")


def _draw(
    workspace: Workspace, params: Params, source: DailySimulation, old: Fetched | None, tree: Path
) -> by_day.Written:
    """Write a log that is simulated by day below `tree`, without the days that `data/raw/` holds already."""
    drawn = _drawn(workspace, params, source, old)
    described = source.write(tree, kept=drawn.keys())
    files = hash_files(tree) | {path: sha256 for of_day in drawn.values() for path, sha256 in of_day.items()}
    return by_day.Written(described, files, {}, len(source.days) - len(drawn))


def _drawn(
    workspace: Workspace, params: Params, source: DailySimulation, old: Fetched | None
) -> dict[Day, dict[str, Digest]]:
    """Return the days of the source whose files in `data/raw/` would be drawn again, with the hashes of these files."""
    if old is None or old.manifest["source"] != params.fetch.source:
        return {}
    then = _until(params, old.manifest["until"])
    before = source_of(workspace, then)
    if _hash(then, before, before.identity()) != old.fingerprint:
        return {}
    files = old.manifest["files"]
    paths = {day: (rawlog.day_file(day), rawlog.truth_file(day)) for day in source.days if day in old.manifest["days"]}
    return {day: {path: files[path] for path in of_day} for day, of_day in paths.items()}


def _until(params: Params, day: Day | None) -> Params:
    """Return the parameters with another last day; None = all days of the source."""
    return replace(params, data=replace(params.data, until=date.fromisoformat(day) if day else None))


def _write(
    workspace: Workspace, params: Params, source: Source, identity: Any, tree: Path, held: Mapping[str, Digest] | None
) -> by_day.Written:
    """Write the log below `tree`, without the files of days that need not be read; see `by_day.write`.

    Raises:
        InputError: see `Source`, `rawlog.write` and `by_day.write`.
        Unavailable: the source can't be reached now, or it changed while it was read.
    """
    if isinstance(source, tabular.TableSource) and source.days:
        path = workspace.days(str(source.params.events))
        sources = _days(params, source, identity)
        accept_shrunk = params.fetch.shrunk_days == "accept"
        written = by_day.write(source, tree, sources, recall(dict[Day, by_day.KnownDay], path), held, accept_shrunk)
        _require_unchanged(params, source, identity)
        remember(path, {day: asdict(known) for day, known in written.memory.items()})
        return written
    described = rawlog.write(source.read(), tree, params.data.until)
    _require_unchanged(params, source, identity)
    return by_day.Written(described, hash_files(tree), {}, len(described["days"]))


def _require_unchanged(params: Params, source: Source, identity: Any) -> None:
    """Raise Unavailable if the source changed while it was read."""
    if source.identity() != identity:
        raise Unavailable(
            f"fetch.source {params.fetch.source}: its files changed while they were read; run fetch again"
        )


def _days(params: Params, source: tabular.TableSource, identity: Any) -> dict[Day, Digest]:
    """Return a hash for each day of events of everything that determines its rows, but for the types of columns."""
    digests: dict[Day, list[str]] = {}
    for day, digest in zip(identity["days"], identity["files"]["events"], strict=True):
        digests.setdefault(day, []).append(digest)
    whole = replace(params, data=replace(params.data, until=None))
    return {
        day: _hash(whole, source, {"day": day, "files": of_day, "params": source.shape})
        for day, of_day in digests.items()
    }


def _by_rows(params: Params) -> bool:
    """Return whether the fingerprint is that of the rows up to `data.until`, not that of the source's files."""
    return params.fetch.source in GROWING and params.data.until is not None


def _seen(params: Params, source: Source | DailySimulation, stamp: Digest, written: by_day.Written) -> Seen:
    rows = {"files": written.files, **written.described, "until": None}
    fingerprint = _hash(params, source, rows) if _by_rows(params) else stamp
    return Seen(fingerprint, written.described["days"][0], written.described["days"][-1])


def _known(workspace: Workspace, params: Params, stamp: str) -> str | None:
    """Return the log's fingerprint where it is known without reading the log."""
    if not _by_rows(params):
        return stamp
    seen = _remembered(workspace, stamp)
    return seen.fingerprint if seen else None


def _remembered(workspace: Workspace, stamp: str) -> Seen | None:
    return recall(dict[str, Seen], workspace.seen).get(stamp)


def _remember(workspace: Workspace, seen: dict[str, Seen]) -> None:
    known = recall(dict[str, Seen], workspace.seen) | seen
    remember(workspace.seen, {stamp: asdict(log) for stamp, log in known.items()})


def _check_pin(params: Params, fingerprint: str | None, pin: str | None) -> None:
    if pin and fingerprint and fingerprint != pin:
        raise InputError(
            f"fetch.source {params.fetch.source}: the log until {params.data.until} has fingerprint {fingerprint}; the "
            f"run was opened on {pin} (DIN_SOURCE_FINGERPRINT): give this worker the same files, or open a new run"
        )


def _hash(params: Params, source: Source | DailySimulation, identity: Any) -> Digest:
    """Hash everything that determines the rows: the source's identity, the last day, and the code that reads it."""
    reader = by_day if isinstance(source, tabular.TableSource) else rawlog
    modules = code.closure({type(source).__module__, reader.__name__}, blocks={"data", "fetch"})
    parts = {
        "source": params.fetch.source,
        "identity": identity,
        "until": to_json(params.data)["until"],
        "code": code.digests(modules),
    }
    return Digest(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())


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
    new.parent.mkdir(parents=True, exist_ok=True)
    new.unlink(missing_ok=True)
    try:
        os.link(old, new)
    except OSError:  # another device, or a file system without links
        shutil.copy2(old, new)
