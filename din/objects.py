"""Any object store behind one prefix, with errors that are one line and name the place.

Costs nothing over obstore; gives up async and everything the registry does not need.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from din.errors import InputError, Unavailable

_FINAL = (InvalidPathError, NotSupportedError, PermissionDeniedError, UnauthenticatedError)
# What is said in words alone: by listings, and of folders (not permitted, denied, exists, not a folder, read-only).
_FINAL_WORDS = re.compile(r"status code: 40[134]|err(or|no) (1|13|17|20|30)\b", re.IGNORECASE)


class Objects:
    """Objects below `<uri>/<prefix>/`, keys relative to it.

    Args:
        uri: a folder (a missing one reads as empty; the first write makes it), file://, s3://, gs://, az:// or
            memory:///; credentials as the clouds' own tools read them from the environment.
        prefix: one path segment.

    Raises:
        InputError: from every method, where the store lacks the object, or refuses to be read or written.
        Unavailable: from every method, where it doesn't answer, or fails in any other way.
    """

    def __init__(self, uri: str, prefix: str) -> None:
        self.name, self._uri, self._prefix = f"{uri.rstrip('/')}/{prefix}", uri, prefix
        self._opened = _open(uri)

    def at(self, key: str) -> str:
        """Where a key lies, for messages."""
        return f"{self.name}/{key}"

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object whole, over an older one if there is one."""
        with _reaching(self.at(key)):
            obstore.put(self._writable(), f"{self._prefix}/{key}", content)

    def create(self, key: str, content: bytes) -> bool:
        """Write an object only where there is none; False where there is one. Atomic among all writers."""
        try:
            with _reaching(self.at(key)):
                obstore.put(self._writable(), f"{self._prefix}/{key}", content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def stream(self, key: str) -> Iterator[bytes]:
        """An object's bytes in chunks."""
        with _reaching(self.at(key)):
            for chunk in obstore.get(self._store, f"{self._prefix}/{key}"):
                yield bytes(chunk)

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return b"".join(self.stream(key))

    def sha256(self, key: str) -> str:
        """Hex sha256 of an object's bytes, read in chunks."""
        digest = hashlib.sha256()
        for chunk in self.stream(key):
            digest.update(chunk)
        return digest.hexdigest()

    def keys(self, below: str) -> dict[str, datetime]:
        """Keys below a key, with the time each was last written; unfinished writes are not there."""
        with _reaching(self.at(below)):
            objects = obstore.list(self._store, f"{self._prefix}/{below}/").collect()
        return {o["path"].removeprefix(f"{self._prefix}/"): o["last_modified"] for o in objects}

    def delete(self, key: str) -> None:
        """Remove an object."""
        with _reaching(self.at(key)):
            obstore.delete(self._store, f"{self._prefix}/{key}")

    def leftovers(self) -> list[Path]:
        """Temporary files of puts that were killed: `<name>#1`, which listings hide. Only local stores have them."""
        store = self._store
        if not isinstance(store, LocalStore):
            return []
        return sorted(p for p in (Path(str(store.prefix)) / self._prefix).rglob("*#*") if p.is_file())

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = _open(self._uri)
        return self._opened or MemoryStore()

    def _writable(self) -> ObjectStore:
        self._opened = self._opened or _open(self._uri, make=True)
        assert self._opened is not None
        return self._opened


def prefixes(uri: str) -> list[str]:
    """The first path segments below a URI, sorted."""
    with _reaching(uri):
        return sorted(obstore.list_with_delimiter(_open(uri) or MemoryStore())["common_prefixes"])


def _open(uri: str, make: bool = False) -> ObjectStore | None:
    """The store; None for a local folder that is missing, unless it is to be made."""
    scheme, separator, path = uri.partition("://")
    with _reaching(uri):
        if separator and scheme != "file":
            try:
                return from_url(uri)
            except BaseError as error:  # nothing was asked yet: the URI or the environment is wrong
                raise InputError(f"{uri}: {_cause(error)}; expected a folder, s3://, gs:// or az://") from None
        folder = Path(path if separator else uri).expanduser().resolve()
        try:
            folder.stat()
        except FileNotFoundError:
            if not make:
                return None
        return LocalStore(folder, mkdir=True)


@contextmanager
def _reaching(at: str) -> Iterator[None]:
    """Turn a store's errors into one line. "Already exists" is an answer, not an error."""
    try:
        yield
    except AlreadyExistsError:
        raise
    except FileNotFoundError:
        raise InputError(f"{at}: not found in the object store; `din registry list` shows what there is") from None
    except (BaseError, OSError) as error:
        cause = _cause(error)
        if isinstance(error, _FINAL) or _FINAL_WORDS.search(cause):
            raise InputError(f"{at}: {cause}; check the registry's URI, credentials and permissions") from None
        raise Unavailable(f"{at}: {cause}; run it again once the object store answers") from None


def _cause(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
