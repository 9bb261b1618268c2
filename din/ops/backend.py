"""Choose between references and native forms, for the whole process. The code that starts a computation chooses.

    with backend.using("native"):
        fit(features, params)

By default, operations run their references. The results of the two differ in the last bits, and so do the results of
native forms on different processors. `identity` distinguishes them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from din.base.errors import InputError

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
    """Return the id of the native library, which changes whenever its bits may. None if references are used."""
    return _library.identity if _library else None


def scores() -> bool:
    """Return whether native forms score requests here. onnxruntime scores them where the library can't be built."""
    from din.ops.native.library import Unusable, load

    try:
        load()
    except Unusable:
        return False
    return True


@contextmanager
def using(backend: Backend) -> Iterator[None]:
    """Choose the backend for all threads of this process, and restore the earlier one at the end of the block.

    Args:
        backend: `auto` means `native` if a C compiler works. Otherwise it prints a line and uses the references.

    Raises:
        InputError: `backend` is `native`, but the library can't be built here.
    """
    global _library
    earlier = _library
    _library = None if backend == "reference" else _load(backend)
    try:
        yield
    finally:
        _library = earlier


def _load(backend: Backend) -> "Library | None":
    from din.ops.native.library import Unusable, load  # imported here: cffi comes with the extra `serve`

    try:
        return load()
    except Unusable as error:
        if backend == "native":
            raise InputError(
                f"train.compute.backend: native, but {error}; install a C compiler or use `auto`"
            ) from None
        print(f"training without native operations, which would save half the time ({error}); install a C compiler")
        return None
