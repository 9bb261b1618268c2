"""Open bundles of a registry, and keep them in a cache of this machine.

scorer = scorer_of("s3://models/ctr", "movielens-100k")        # the champion, verified
scorer.score({"user": {"user_id": 7}, "history": [50, 181], "candidates": [172, 96]})
"""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from din.base.errors import InputError, Unavailable
from din.base.names import Version
from din.base.workspace import user_cache
from din.bundle.contents import Verified, verify_bundle
from din.bundle.scorer import Scorer
from din.release.registry.registry import Registry

CACHE = user_cache() / "bundles"
_KEPT = 2
"""The bundles that stay in the cache when another one is fetched: the one that answers, and the one before."""
_IN_USE = 3600
"""The seconds since its last use after which no process is about to open a bundle that it has verified."""

T = TypeVar("T")


def scorer_of(uri: str, model_name: str, number: int | None = None, cache: Path = CACHE) -> Scorer:
    """Open the champion of a registry, or the bundle of record `number`.

    The bundle is fetched once and kept in `cache` by version. If the cache can't be written, print a warning on
    standard error and fetch the bundle to a temporary folder.

    Raises:
        InputError: the registry, model or record does not exist, or the log or the bundle is damaged.
        Unavailable: the registry doesn't answer.
    """
    registry = Registry(uri, model_name)
    record = registry.required_champion() if number is None else registry.record(number)
    return open_fetched(registry, record.version, Scorer, cache)


def open_fetched(registry: Registry, version: Version, use: Callable[[Verified], T], cache: Path = CACHE) -> T:
    """Return what `use` makes of a bundle that is in `cache` or is fetched; see `scorer_of`.

    Raises:
        InputError: the bundle is missing or damaged.
        Unavailable: the registry doesn't answer, or there is no space for the bundle.
    """
    try:
        return use(_cached(registry, version, cache))
    except OSError as error:
        place = error.filename or cache
        print(f"{place}: {error.strerror}; scoring without the cache, from a temporary folder", file=sys.stderr)
    with TemporaryDirectory() as folder:  # can be removed after opening: a session keeps its files open
        try:
            return use(verify_bundle(registry.fetch(version, Path(folder) / version), version))
        except OSError as error:
            raise Unavailable(
                f"{error.filename or folder}: {error.strerror}; free some space, or set TMPDIR to another folder"
            ) from None


def _cached(registry: Registry, version: Version, cache: Path) -> Verified:
    """Return the cached bundle of this version. Fetch it if it is missing or damaged.

    Raises:
        OSError: the cache can't be read or written.
    """
    directory = cache / version
    present = os.path.lexists(directory)
    note_use(version, cache)
    try:
        return verify_bundle(directory, version)
    except InputError:  # missing, damaged, or another bundle
        if present:  # if not, another process may have added it in the meantime
            _remove(directory)
    cache.mkdir(parents=True, exist_ok=True)
    _prune(cache)
    with TemporaryDirectory(dir=cache) as parent:
        fetched = registry.fetch(version, Path(parent) / version)
        try:
            fetched.rename(directory)
        except OSError:
            if not directory.is_dir():  # if it exists, another process was faster
                raise
    return verify_bundle(directory, version)


def note_use(version: str, cache: Path = CACHE) -> None:
    """Note that a bundle is in use, so that it stays in the cache. An open one outlives its removal."""
    with contextlib.suppress(OSError):
        os.utime(cache / version)


def _prune(cache: Path) -> None:
    """Remove all bundles but the last used ones, and what killed processes left, unless it is in use."""
    bundles = [path for path in cache.iterdir() if Version.form.fullmatch(path.name)]
    bundles.sort(key=_last_use, reverse=True)
    for path in [*bundles[_KEPT:], *cache.glob("tmp*")]:
        if time.time() - _last_use(path) > _IN_USE:
            with contextlib.suppress(OSError):  # another user's, or another process was faster
                _remove(path)


def _last_use(path: Path) -> float:
    """Return when an entry of the cache was last used, in seconds since 1970; 0 if it is gone."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    """Remove an entry of the cache. If it is a link, remove only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
