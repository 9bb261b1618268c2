"""The stage `fetch`: the source's log as `data/raw/`, rewritten only where the log changed.

The fingerprint covers the source's contents, the params that shape the rows, and this package's code. When it is
unchanged and the files of `data/raw/` verify, nothing is read but hashes. Otherwise the log is read whole, written to
a temporary sibling, and files with the same bytes are linked from the old tree, so that their inodes and times stay
(DVC then need not hash them again). A failure at any point leaves the old tree as it was.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

from din.artifacts import MANIFEST, hash_files, read_json, replace_directory, write_json
from din.errors import InputError
from din.params import Params, to_json
from din.sources import (
    amazon_reviews,
    kuairand,
    movielens,
    movielens_release,
    rawlog,
    simulate,
    table,
    taobao_ads,
)

RAW = Path("data/raw")
_CODE = Path(__file__).parent


class Source(Protocol):
    """One form of log. To add one: a module with such a class, its name in `SOURCES` and in `params.Fetch.source`."""

    def identity(self) -> Any:
        """JSON that changes when the rows would: hashes of contents, and params without paths.

        Raises:
            InputError: the source is missing or unreadable.
        """
        ...

    def read(self) -> rawlog.RawLog:
        """Read everything.

        Raises:
            InputError: a file or value that can't be used; names file, row or column, value and what was expected.
        """
        ...


def source_of(params: Params) -> Source:
    """The source that `fetch.source` names."""
    block = params.fetch
    match block.source:
        case "movielens-100k":
            return movielens.MovieLens(block.positive_rating)
        case "movielens":
            return movielens_release.MovieLensRelease(block.path, block.positive_rating)
        case "amazon-reviews":
            return amazon_reviews.AmazonReviews(block.path)
        case "kuairand-pure":
            return kuairand.KuaiRandPure(block.path, block.random_exposure)
        case "taobao-ads":
            return taobao_ads.TaobaoAds(block.path, block.behaviours, block.behaviour_days)
        case "table":
            return table.TableSource(block.table)
        case "simulate":
            return simulate.Simulation(block.simulate)


def fetch(params: Params) -> None:
    """Bring `data/raw/` up to date with the source.

    Raises:
        InputError: see `Source` and `rawlog.write`; `data/raw/` is then as it was.
    """
    source = source_of(params)
    identity = source.identity()
    fingerprint = _fingerprint(params, identity)
    old = _verified(RAW)
    if old and old["fingerprint"] == fingerprint:
        print(f"fetch: {RAW} is up to date with {params.fetch.source} ({old['rows']:,} rows, {len(old['days'])} days)")
        return
    log = source.read()
    if source.identity() != identity:
        raise InputError(f"fetch.source {params.fetch.source}: its files changed while they were read; run fetch again")
    with replace_directory(RAW) as tree:
        described = rawlog.write(log, tree, params.data.until)
        files = hash_files(tree)
        kept = [path for path, sha256 in files.items() if old and old["files"].get(path) == sha256]
        for path in kept:
            _link(RAW / path, tree / path)
        manifest = {"format": 1, "source": params.fetch.source, "fingerprint": fingerprint, "files": files, **described}
        write_json(tree / MANIFEST, manifest)
    print(
        f"fetch: {described['rows']:,} rows of {len(described['days'])} days from {params.fetch.source}; "
        f"{len(files) - len(kept)} of {len(files)} files written, the others unchanged"
    )


def _fingerprint(params: Params, identity: Any) -> str:
    parts = {
        "source": params.fetch.source,
        "identity": identity,
        "until": to_json(params.data)["until"],
        "code": {path: sha256 for path, sha256 in hash_files(_CODE).items() if path.endswith(".py")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _verified(root: Path) -> dict[str, Any] | None:
    """The manifest of a tree whose files are exactly those it names, else None."""
    if not (root / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(root / MANIFEST)
    except InputError:
        return None
    files = hash_files(root)
    del files[MANIFEST]
    return manifest if manifest.get("format") == 1 and manifest.get("files") == files else None


def _link(old: Path, new: Path) -> None:
    new.unlink()
    try:
        os.link(old, new)
    except OSError:  # another device, or a file system without links
        shutil.copy2(old, new)
