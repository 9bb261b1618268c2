"""What makes a directory a bundle: manifest.json names every other file and its sha256; the version is its own.

Shared by whoever writes, stores or opens one. Costs one read of every file; nothing is taken on trust.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath

from din.artifacts import MANIFEST, sha256_file
from din.errors import InputError


def verify_bundle(directory: Path) -> tuple[str, dict[str, str]]:
    """Version and files (name to sha256) of a local bundle whose every file is as its manifest says.

    Raises:
        InputError: no manifest; a file missing, changed, or not in the manifest.
    """
    try:
        manifest = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise InputError(f"{directory / MANIFEST}: {error.strerror}; `dvc repro export` writes the bundle") from None
    files = parse_manifest(manifest, str(directory / MANIFEST))
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()} - {MANIFEST}
    for name in sorted(present | files.keys()):
        if name not in present or name not in files or sha256_file(directory / name) != files[name]:
            raise InputError(f"{directory / name}: missing, added or changed after export; run `dvc repro -f export`")
    return hashlib.sha256(manifest).hexdigest(), files


def parse_manifest(manifest: bytes, at: str) -> dict[str, str]:
    """The manifest's files; names stay inside the bundle, whoever wrote it."""
    try:
        files = dict(json.loads(manifest)["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{at}: not a bundle's manifest ({error!r}); expected a JSON object with 'files'") from None
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != name or name == MANIFEST:
            raise InputError(f"{at}: file name {name!r}; expected a plain relative path")
    return files
