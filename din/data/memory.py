"""The memory of `din fetch` in `.din/fetch/`, which saves time and reveals days that have shrunk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from din.base import documents
from din.base.errors import InputError

T = TypeVar("T", bound=Mapping[Any, Any])
_MOST_BYTES = 1 << 30  # years of days with hundreds of columns


def recall(form: type[T], path: Path) -> T:
    """Return the mapping that an earlier fetch wrote.

    A file that is missing, not JSON, or of another form counts as empty: the source is read as if for the first time.
    """
    try:
        return documents.parse(form, documents.read_bytes(path, _MOST_BYTES), str(path), _MOST_BYTES)
    except InputError:
        return form()
