"""Objects below one prefix of any object store, with one-line errors that name the location.

Every request is bounded in time (`TIMEOUTS`, `RETRY`). A failure that a retry may fix is `Unavailable`. A failure that
would recur, e.g. a missing bucket, refused credentials or a plain-http endpoint, is `InputError`. Only the operations
that the registry needs are supported, and no asynchronous ones.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from din.base import documents
from din.base.errors import InputError, Unavailable, shown
from din.base.names import Digest

TIMEOUTS = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "10m"}
"""The longest wait for a connection, for the next byte of a response, and for a whole request."""
RETRY: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
"""How often and how long obstore itself retries a failed request, with growing pauses."""
_ENVIRONMENT = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_CLIENT_KEYS = (
    *TIMEOUTS, "allow_http", "allow_invalid_certificates", "http1_only", "http2_only", "pool_idle_timeout",
    "pool_max_idle_per_host", "proxy_url", "proxy_ca_certificate", "proxy_excludes", "user_agent",
)  # fmt: skip
_FINAL = (InvalidPathError, NotSupportedError)
_REFUSED = (PermissionDeniedError, UnauthenticatedError)
# Listings and local folders report some errors only as text. The error numbers mean: not permitted, denied, exists, not
# a folder, read-only.
_FINAL_WORDS = re.compile(r"status code: 404|err(or|no) (1|13|17|20|30)\b", re.IGNORECASE)
_REFUSED_WORDS = re.compile(r"status code: 40[13]|\((ExpiredToken|InvalidToken|AuthorizationHeaderMalformed)\)")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist")
_UNFINISHED = re.compile(r".#\d+$")  # a name of obstore's for a file that is being written
_METADATA = "169.254.169.254"  # the clouds' metadata service, queried if the environment has no credentials
_CREDENTIALS = {
    "AWS": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "GOOGLE": "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_MOST_CAUSE = 400

T = TypeVar("T")


class _Conflict(Unavailable):
    """The store reports that the object already exists, or that another write was faster."""


class Refused(InputError):
    """The store refuses access, or the bucket does not exist, so nothing is known about the objects."""


@contextmanager
def noted(damage: list[str]) -> Iterator[None]:
    """Append the error of a damaged object to a list. `Refused` propagates: it says nothing about the objects."""
    try:
        yield
    except Refused:
        raise
    except InputError as error:
        damage.append(str(error))


class Objects:
    """The objects below `<uri>/<prefix>/`; keys are relative to it.

    Args:
        uri: a folder, file://, s3://, gs://, az:// or memory:///. A missing folder reads as empty and is created by the
            first write. Credentials come from the environment, as for the clouds' own tools.
        prefix: one path segment.

    Raises:
        Refused: from every method, if the store refuses access.
        InputError: from every method, if the URI or its settings are wrong, and from reading a missing object.
        Unavailable: from every method, if the store doesn't answer or fails in any other way.
    """

    def __init__(self, uri: str, prefix: str) -> None:
        self.name = f"{uri.rstrip('/')}/{prefix}"
        self._uri = uri
        self._prefix = prefix
        self._opened = _open(uri)

    def at(self, key: str) -> str:
        """Return the full location of a key, for messages."""
        return f"{self.name}/{key}"

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object atomically, replacing an existing one."""
        with _reaching(self.at(key)):
            obstore.put(self._store(make=True), f"{self._prefix}/{key}", content)

    def create(self, key: str, content: bytes) -> bool:
        """Write an object atomically if it does not exist, and return whether it was written.

        Raises:
            Unavailable: the store refused the write as a conflict, although the object does not exist.
        """
        try:
            with _reaching(self.at(key)):
                obstore.put(self._store(make=True), f"{self._prefix}/{key}", content, mode="create")
        except _Conflict:
            if not self.exists(key):
                raise
            return False
        return True

    def create_document(self, key: str, document: Any) -> bool:
        """Write a document if the object does not exist; see `create`.

        Raises:
            InputError: a value is not of the declared type.
        """
        content = documents.dump(document)
        documents.parse(type(document), content, self.at(key))
        return self.create(key, content)

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes in chunks.

        Raises:
            InputError: a local store has a pipe or a device there, which might never end.
        """
        store = self._store()
        with _reaching(self.at(key)):
            if isinstance(store, LocalStore):
                path = Path(str(store.prefix)) / self._prefix / key
                if path.exists() and not path.is_file():
                    raise InputError(f"{self.at(key)}: not a plain file; restore it: see `din registry verify`")
            for chunk in obstore.get(store, f"{self._prefix}/{key}"):
                yield bytes(chunk)

    def read(self, key: str, most: int = documents.MOST_BYTES) -> bytes:
        """Return an object's bytes, fetching little more than `most` of them.

        Raises:
            InputError: the object is larger.
        """
        content = bytearray()
        for chunk in self.stream(key):
            content += chunk
            if len(content) > most:
                raise InputError(f"{self.at(key)}: larger than {most:,} bytes, the limit; see `din registry verify`")
        return bytes(content)

    def read_document(self, expected: type[T], key: str) -> tuple[T, Digest]:
        """Return a document, and the sha256 of its bytes.

        Raises:
            InputError: the document is not of the expected type.
        """
        content = self.read(key)
        return documents.parse(expected, content, self.at(key)), Digest(hashlib.sha256(content).hexdigest())

    def sha256(self, key: str) -> str:
        """Return the hex sha256 of an object's bytes, read in chunks."""
        digest = hashlib.sha256()
        for chunk in self.stream(key):
            digest.update(chunk)
        return digest.hexdigest()

    def exists(self, key: str) -> bool:
        """Return whether the object exists."""
        with _reaching(self.at(key)):
            try:
                obstore.head(self._store(), f"{self._prefix}/{key}")
            except FileNotFoundError:
                return False
        return True

    def keys(self, below: str, after: str = "") -> dict[str, datetime]:
        """Return the keys below a key, with the time of each one's last write. Unfinished writes are left out.

        Args:
            below: the key.
            after: only keys that sort after this one.

        Raises:
            InputError: a key has a form that can't be listed, e.g. an empty segment, which S3 allows.
        """
        with _reaching(self.at(below)):
            offset = f"{self._prefix}/{after}" if after else None
            objects = obstore.list(self._store(), f"{self._prefix}/{below}/", offset=offset).collect()
        return {o["path"].removeprefix(f"{self._prefix}/"): o["last_modified"] for o in objects}

    def delete(self, key: str) -> None:
        """Remove an object if it exists."""
        with _reaching(self.at(key)):
            try:
                obstore.delete(self._store(), f"{self._prefix}/{key}")
            except FileNotFoundError as error:  # another process was faster, or the first attempt of a retry succeeded
                if _NO_BUCKET.search(_cause(error)):
                    raise

    def leftovers(self) -> dict[Path, datetime]:
        """Return the temporary files `<name>#1` of killed writes, with the time of each one's last write.

        Only local stores have them; listings hide them. A write that ends in the meantime has none.
        """
        store = self._store()
        leftovers = {}
        if isinstance(store, LocalStore):
            for path in sorted((Path(str(store.prefix)) / self._prefix).rglob("*#*")):
                with suppress(FileNotFoundError):
                    if _UNFINISHED.search(path.name) and path.is_file():
                        leftovers[path] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return leftovers

    def _store(self, make: bool = False) -> ObjectStore:
        """Return the open store. A missing local folder reads as an empty store, unless `make` creates it."""
        self._opened = self._opened or _open(self._uri, make)
        assert self._opened or not make
        return self._opened or MemoryStore()


def prefixes(uri: str) -> list[str]:
    """Return the first path segments below a URI, sorted."""
    with _reaching(uri):
        return sorted(obstore.list_with_delimiter(_open(uri) or MemoryStore())["common_prefixes"])


def _open(uri: str, make: bool = False) -> ObjectStore | None:
    """Open the store. Return None for a missing local folder, unless `make` is set."""
    scheme, separator, path = uri.partition("://")
    with _reaching(uri):
        if separator and scheme != "file":
            try:
                return from_url(uri, **_options(scheme))
            except BaseError as error:  # no request was made yet, so the URI or the environment is wrong
                raise InputError(f"{uri}: {_cause(error)}; expected a folder, s3://, gs:// or az://") from None
        folder = Path(path if separator else uri).expanduser().resolve()
        try:
            folder.stat()
        except FileNotFoundError:
            if not make:
                return None
        return LocalStore(folder, automatic_cleanup=True, mkdir=True)  # removes a folder with its last object


def _options(scheme: str) -> dict[str, Any]:
    """Return timeouts and retries for stores that are reached by HTTP.

    The environment takes precedence, e.g. AWS_READ_TIMEOUT=2m. Its settings are passed on here, because obstore ignores
    the environment's client options if any are passed in code.
    """
    if scheme not in _ENVIRONMENT:
        return {}
    names = {key: f"{_ENVIRONMENT[scheme]}_{key.upper()}" for key in _CLIENT_KEYS}
    settings = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    return {"client_options": TIMEOUTS | settings, "retry_config": RETRY}


@contextmanager
def _reaching(at: str) -> Iterator[None]:
    """Turn the errors of a store into one-line errors that name the location `at`."""
    try:
        yield
    except (BaseError, OSError) as error:
        cause = _cause(error)
        if reason := _refusal(at, cause, error):
            raise Refused(f"{at}: {reason}") from None
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{at}: not found in the object store; `din registry show` lists its records") from None
        if isinstance(error, AlreadyExistsError | PreconditionError):
            raise _Conflict(f"{at}: {cause}; run it again once the object store answers") from None
        if "invalid path" in cause:
            cause = shown(cause, quotes=False)
            raise InputError(f"{at}: not a valid key: {cause}; remove or rename it") from None
        if isinstance(error, _FINAL) or _FINAL_WORDS.search(cause):
            raise InputError(f"{at}: {cause}; check the registry's URI, credentials and permissions") from None
        raise Unavailable(f"{at}: {cause}; run it again once the object store answers") from None


def _refusal(at: str, cause: str, error: Exception) -> str | None:
    """Return what is wrong with the settings, or None if the error does not come from them."""
    prefix = _ENVIRONMENT.get(at.split(":")[0], "")
    if _NO_BUCKET.search(cause):
        bucket = at.split("/")[2]
        return f"there is no bucket {bucket!r}; create it, or correct the registry's URI (promote.registry, --registry)"
    if "builder error" in cause and "http://" in cause:
        return f"the endpoint is plain http; use https, or set {prefix}_ALLOW_HTTP=true to permit it"
    if _METADATA in cause and not re.search(r"status code: 5\d\d", cause):
        return f"no credentials: this machine has no role; set {_CREDENTIALS.get(prefix, 'those of the store')}"
    if isinstance(error, _REFUSED) or _REFUSED_WORDS.search(cause):
        return f"the store refused the credentials: {cause}; check their region, and what they permit on this bucket"
    return None


def _cause(error: Exception) -> str:
    """Return the first line of an error, with the error code of S3 instead of its XML."""
    text = str(error)[: 10 * _MOST_CAUSE]
    code = re.search(r"<Code>(\w+)</Code>", text)
    line = re.split(r"\n|: <\?xml|: <Error", text, maxsplit=1)[0]
    cause = f"{line} ({code[1]})" if code else line
    return cause if len(cause) <= _MOST_CAUSE else cause[: _MOST_CAUSE - 1] + "…"
