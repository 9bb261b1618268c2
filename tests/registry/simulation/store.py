"""An object store in memory that takes the place of the module `obstore` below `din.registry.objects`.

Every call is one step of a history, and may meet a fault, which raises an exception of obstore with its text. A write
is atomic, and every later read and listing sees it at once: S3, GCS and Azure are strongly consistent, so no listing
lags here.

    fault       the call ...
    500, 429    fails, and nothing is written
    403         fails because a token has expired, and nothing is written
    409, 412    fails as a conflict, and nothing is written
    lost        lands, but its answer is lost
    late        gets no answer, and lands some steps later
    twice       lands, is sent again by the client, and lands again; a create then hears that the object exists
    half        breaks off in the middle of an answer
    flipped     returns one wrong byte of a bundle's file
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError, PreconditionError

if TYPE_CHECKING:
    from .history import World

_REFUSED = ("500", "429", "403")
_WRITE = (*_REFUSED, "409", "412", "lost", "lost", "late", "late", "twice", "twice")
FAULTS = {
    "put": _WRITE,
    "create": (*_WRITE, "twice", "twice"),
    "delete": _WRITE,
    "get": (*_REFUSED, "half"),
    "get file": (*_REFUSED, "half", *["flipped"] * 9),
    "head": _REFUSED,
    "list": (*_REFUSED, "half"),
}
"""The faults that each call may meet; `get file` reads a file of a bundle."""
_ANSWERS = {
    "500": "500 Internal Server Error: <Error><Code>InternalError</Code></Error>",
    "429": "429 Too Many Requests: <Error><Code>SlowDown</Code></Error>",
    "403": "403 Forbidden: <Error><Code>ExpiredToken</Code></Error>",
    "409": "409 Conflict: <Error><Code>ConditionalRequestConflict</Code></Error>",
    "412": "412 Precondition Failed: <Error><Code>PreconditionFailed</Code></Error>",
}


@dataclass(frozen=True)
class Stored:
    """An object's bytes, and when it was last written."""

    content: bytes
    modified: datetime


class SimulatedStore:
    """The functions of obstore that the registry calls.

    Args:
        world: the surroundings.
        strict: whether the removal of a missing object is an error, as on GCS, Azure and disks, but not on S3.
    """

    def __init__(self, world: "World", strict: bool) -> None:
        self._world = world
        self._strict = strict

    def put(self, store: object, path: str, file: bytes | Path, *, mode: str = "overwrite") -> None:
        """Write an object, or with mode `create` only if there is none."""
        content = file.read_bytes() if isinstance(file, Path) else bytes(file)
        only_new = mode == "create"
        verb = "create" if only_new else "put"

        def land() -> bool:
            return self._land(path, content, only_new)

        fault = self._world.step(verb, path)
        if fault == "twice":
            landed = land()
            self._world.postpone(land)
            if only_new or not landed:
                raise _conflict(path)
        elif fault:
            self._fail(fault, verb, path, land)
        elif not land():
            raise _conflict(path)

    def get(self, store: object, path: str) -> Iterator[bytes]:
        """Return an object in two chunks."""
        is_file = "/bundles/" in path
        fault = self._world.step("get file" if is_file else "get", path)
        if fault and fault not in ("half", "flipped"):
            raise failure(fault, "get", path)
        content = self._found("get", path).content
        if fault == "flipped":
            content = bytes([content[0] ^ 1]) + content[1:]
        return _chunks(content, failure("half", "get", path) if fault == "half" else None)

    def head(self, store: object, path: str) -> dict[str, Any]:
        """Describe an object."""
        if fault := self._world.step("head", path):
            raise failure(fault, "head", path)
        return {"path": path, "last_modified": self._found("head", path).modified}

    def list(self, store: object, prefix: str) -> "_Listing":
        """List the objects below a prefix."""
        fault = self._world.step("list", prefix)
        if fault:
            raise failure(fault, "list", prefix)
        objects = self._world.objects
        found = sorted([path for path in objects if path.startswith(prefix)])
        return _Listing([{"path": path, "last_modified": objects[path].modified} for path in found])

    def delete(self, store: object, path: str) -> None:
        """Remove an object."""

        def land() -> None:
            if self._world.objects.pop(path, None):
                self._world.deleted(path)

        fault = self._world.step("delete", path)
        if self._strict and not fault:
            self._found("delete", path)
        if fault == "twice":
            land()
            if self._strict:
                self._found("delete", path)
        elif fault:
            self._fail(fault, "delete", path, land)
        else:
            land()

    def _land(self, path: str, content: bytes, only_new: bool) -> bool:
        before = self._world.objects.get(path)
        if before and only_new:
            return False
        self._world.objects[path] = Stored(content, self._world.now.replace(microsecond=0))
        self._world.wrote(path, before)
        return True

    def _fail(self, fault: str, verb: str, path: str, land: Callable[[], object]) -> None:
        if fault == "lost":
            land()
        if fault == "late":
            self._world.postpone(land)
        raise failure(fault, verb, path)

    def _found(self, verb: str, path: str) -> Stored:
        if path not in self._world.objects:
            cause = f"Error performing {verb.upper()} https://store/{path} - status code: 404 Not Found"
            raise FileNotFoundError(f"Object at location {path} not found: {cause}")
        return self._world.objects[path]


class _Listing(list[dict[str, Any]]):
    def collect(self) -> list[dict[str, Any]]:
        return self


def failure(fault: str, verb: str, path: str) -> Exception:
    """Return the exception that obstore raises for a fault."""
    cause = f"Error performing {verb.upper()} https://store/{path} in 20ms"
    if fault not in _ANSWERS:
        return GenericError(f"Generic S3 error: {cause} - HTTP error: error sending request")
    cause = f"{cause} - Server returned non-2xx status code: {_ANSWERS[fault]}"
    if verb == "list" or fault in ("500", "429"):
        return GenericError(f"Generic S3 error: {cause}")
    if fault == "403":
        return PermissionDeniedError(f"The operation lacked the necessary privileges for path {path}: {cause}")
    if fault == "412" and verb != "create":
        return PreconditionError(f"Request precondition failure for path {path}: {cause}")
    return AlreadyExistsError(f"Object at location {path} already exists: {cause}")


def _conflict(path: str) -> Exception:
    return failure("412", "create", path)


def _chunks(content: bytes, broken: Exception | None) -> Iterator[bytes]:
    middle = len(content) // 2
    yield content[:middle]
    if broken:
        raise broken
    yield content[middle:]
