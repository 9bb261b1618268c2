"""The memory of `din fetch` in `.din/fetch/`, which saves time and reveals days that have shrunk.

A file holds the sha256 of its JSON on the first line, then the JSON. A file that is missing, damaged, edited or from
another release counts as empty, so that the source is read as if for the first time.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from din import documents
from din.artifacts import write_bytes
from din.errors import InputError

T = TypeVar("T", bound=Mapping[Any, Any])


def recall(form: type[T], path: Path) -> T:
    """Return the mapping that `remember` stored, or an empty one."""
    try:
        digest, _, content = documents.read_bytes(path).partition(b"\n")
        if digest == _digest(content):
            return documents.parse(form, content, str(path))
    except InputError:
        pass
    return form()


def remember(path: Path, value: Mapping[str, Any]) -> None:
    """Store a mapping of plain values."""
    if path.is_dir():  # nothing else could be stored there
        shutil.rmtree(path)
    content = documents.dump(value)
    write_bytes(path, _digest(content) + b"\n" + content)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
