"""Remember how many records a registry had, so that one that can't be found is not taken for a new one.

A mount that is missing at night looks like a registry without a champion. Without this, a candidate that loses to the
champion would pass the gates of a first run, and become record 1 of another log.
"""

import fcntl
from hashlib import sha256
from pathlib import Path

from pydantic import NonNegativeInt

from din.base import documents
from din.base.artifacts import write_json
from din.base.documents import Document
from din.base.errors import InputError


class _Seen(Document):
    registry: str
    newest: NonNegativeInt


class Memory:
    """The number of the newest record that was seen in one registry, kept in a file.

    Args:
        folder: holds a file for each registry. All runs of a worker share it.
        registry: the name of the registry.
    """

    def __init__(self, folder: Path, registry: str) -> None:
        self._folder = folder
        self._registry = registry
        self.path = folder / f"{sha256(registry.encode()).hexdigest()[:16]}.json"

    @property
    def newest(self) -> int:
        """The number of the newest record seen so far, or 0."""
        try:
            return documents.read(_Seen, self.path).newest
        except InputError:  # never seen, or damaged
            return 0

    def keep(self, newest: int) -> None:
        """Remember the number of the newest record."""
        if newest <= self.newest:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if newest > self.newest:
                write_json(self.path, _Seen(registry=self._registry, newest=newest))
