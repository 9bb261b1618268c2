"""The choice between references and native forms. The code that starts a computation makes it, for the whole process.

    with backend.using("native"):
        fit(features, params)

Without a choice, operations run their references. The results of the two differ in the last bits, and so do the
results of native forms on different processors. `identity` tells them apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from din.errors import InputError

if TYPE_CHECKING:
    from din.ops.native.library import Library

Backend = Literal["auto", "reference", "native"]

_library: "Library | None" = None


def library() -> "Library | None":
    """Return the library that native forms call, or None where this process uses the references.

    Only `din.ops` may call this.
    """
    return _library


def identity() -> str | None:
    """Return the identity of the native library, which differs if its bits may. None where references are used."""
    return _library.identity if _library else None


@contextmanager
def using(backend: Backend) -> Iterator[None]:
    """Choose the backend of this process, for all its threads, and restore the earlier one at the end.

    Args:
        backend: `auto` is `native` where a C compiler works. Where none does, a printed line says so.

    Raises:
        InputError: `native` is asked for, but the library can't be built here.
    """
    global _library
    earlier = _library
    _library = None if backend == "reference" else _load(backend)
    try:
        yield
    finally:
        _library = earlier


def _load(backend: Backend) -> "Library | None":
    from din.ops.native.library import Unusable, load  # imported here: cffi comes with the extra `train`

    try:
        return load()
    except Unusable as error:
        if backend == "native":
            raise InputError(
                f"train.compute.backend: native, but {error}; install a C compiler or use `auto`"
            ) from None
        print(f"training without native operations, which would save half the time ({error}); install a C compiler")
        return None
