"""Write files and directories that are complete or absent, and hash their contents.

Stages write only through this module. A killed process leaves at most a `.tmp-*` sibling, which the next writer of the
same target removes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from din.base import documents
from din.base.errors import InputError

MANIFEST = "manifest.json"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write a file to; on success it is synced and renamed over `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{target.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, one trailing newline, no NaN."""
    write_bytes(target, documents.dump(value))


def read_json(path: Path) -> Any:
    """Read JSON of any form that an earlier stage wrote; `din.base.documents.read` also checks the form.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    return documents.decode(documents.read_bytes(path), str(path))


@contextmanager
def replace_directory(target: Path) -> Iterator[Path]:
    """Yield an empty sibling directory to fill; it replaces `target` on success and is removed on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-new-{target.name}")
    old = target.with_name(f".tmp-old-{target.name}")
    if old.exists() and not target.exists():  # a swap was killed halfway
        old.rename(target)
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(root: Path) -> dict[str, str]:
    """Map the relative POSIX path of every file below `root` to its sha256, sorted, without temporary files."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    kept = (path for path in paths if not any(part.startswith(".tmp-") for part in path.parts))
    return {path.as_posix(): sha256_file(root / path) for path in kept}


def hash_tree(*roots: Path) -> str:
    """Return one sha256 over names and contents of files and directories. Reports identify their inputs by it.

    Raises:
        InputError: a root does not exist.
    """
    digest = hashlib.sha256()
    for root in roots:
        if not root.exists():
            raise InputError(f"{root}: not found; run `dvc repro` to build it")
        files = {"": sha256_file(root)} if root.is_file() else hash_files(root)
        digest.update(json.dumps([root.name, files]).encode())
    return digest.hexdigest()
