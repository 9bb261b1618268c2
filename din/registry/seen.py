"""How many records have been seen in a registry, so that one that is away is not taken for a new one.

A mount that is missing at night looks like a registry without a champion. Without this, a candidate that loses to the
champion would pass the gates of a first run, and become record 1 of another log.
"""

import fcntl
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from pydantic import NonNegativeInt

from din import documents
from din.artifacts import write_json
from din.documents import Document
from din.errors import InputError


class _Seen(Document):
    registry: str
    newest: NonNegativeInt


def check(folder: Path, registry: str, newest: int) -> None:
    """Check that a registry has all records that were seen before, and remember the newest.

    Args:
        folder: it has a file for each registry.
        registry: its name.
        newest: the number of its newest record.

    Raises:
        InputError: it has fewer.
    """
    path = folder / f"{sha256(registry.encode()).hexdigest()[:16]}.json"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs of a worker share the folder
        before = 0
        with suppress(InputError):  # never seen, or damaged
            before = documents.read(_Seen, path).newest
        if newest > before:
            write_json(path, _Seen(registry=registry, newest=newest))
    if newest < before:
        raise InputError(
            f"{registry}: has {newest} records, but had {before} before; mount or restore it. To begin anew, remove "
            f"{path}"
        )
