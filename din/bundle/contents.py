"""Verify that a directory is a bundle: manifest.json lists the sha256 of every other file.

The version of a bundle is the sha256 of its manifest.json. Export, registry and scorer all verify bundles with this
module, which reads every file once.
"""

import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from din.base import documents
from din.base.artifacts import MANIFEST, sha256_file
from din.base.errors import InputError
from din.base.names import Digest, FileName, Version

_NO_BUNDLE = "expected the folder of a bundle, such as models/bundle, which `dvc repro export` writes"
FACTS = "facts.json"
SIGNATURE = "signature.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of a bundle: the sha256 of every other file, by name."""

    __pydantic_config__ = documents.STRICT

    files: dict[FileName, Digest]


@dataclass(frozen=True)
class Verified:
    """A bundle whose files all match its manifest.

    Attributes:
        files: the sha256 of every file except the manifest, by name.
    """

    directory: Path
    version: Version
    files: dict[FileName, Digest]


def verify_bundle(directory: Path, expected: Version | None = None) -> Verified:
    """Verify every file of a local bundle.

    Args:
        directory: a directory, not a link to one.
        expected: the version that the bundle must have.

    Raises:
        InputError: the manifest is missing, or its version is not the expected one; or a file is missing, changed, a
            link, or not in the manifest.
    """
    if directory.is_symlink():
        raise InputError(f"{directory}: is a symbolic link; expected a bundle's own directory")
    path = directory / MANIFEST
    content = documents.read_bytes(path, missing=_NO_BUNDLE)
    version = Version(sha256(content).hexdigest())
    if expected is not None and version != expected:
        raise InputError(f"{directory}: holds bundle {version[:12]}, expected {expected[:12]}")
    files = documents.parse(Manifest, content, str(path)).files
    present = _present(directory) - {MANIFEST}
    for name in sorted(present | files.keys()):
        if name not in present or name not in files or sha256_file(directory / name) != files[FileName(name)]:
            raise InputError(f"{directory / name}: missing, added or changed after export; run `dvc repro -f export`")
    return Verified(directory, version, files)


def _present(directory: Path) -> set[str]:
    """Return the relative paths of the files in a directory.

    Raises:
        InputError: one is a symbolic link, or a pipe or device, which could block a reader.
    """
    paths = set()
    for root, folders, files in os.walk(directory):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        paths |= {(Path(root) / name).relative_to(directory).as_posix() for name in [*files, *links]}
    odd = sorted(name for name in paths if not stat.S_ISREG((directory / name).lstat().st_mode))
    if odd:
        raise InputError(f"{directory / odd[0]}: is a symbolic link, a pipe or a device; a bundle holds plain files")
    return paths
