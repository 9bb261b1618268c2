"""Load the C sources as one shared library, and call it by the prototypes of `din_ops.h`.

`compiling` builds it at first use. This takes two seconds, once for each version of the sources, compiler, options and
processor, and the library is kept in the user's cache. Where there is no compiler, a wheel may hold libraries for the
levels of its machine. A call costs a few microseconds, and other Python threads can run during it.

cffi reads the header, so a wrong number of arguments, or an array of a type that a prototype does not declare, raises
an exception. Shapes and ids are not checked.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from cffi import FFI

from din.base.workspace import user_cache
from din.ops.native.compiling import SOURCES, Unusable, build_native, built

HEADER = SOURCES / "din_ops.h"


class Struct:
    """A C struct, and the arrays that its pointers point to, which must live as long as it does."""

    __slots__ = ("memory", "pointer")

    def __init__(self, pointer: Any, memory: tuple[Any, ...]) -> None:
        self.pointer = pointer
        self.memory = memory


class Library:
    """The functions of `din_ops.h`, as attributes.

    Arguments are tensors and arrays (contiguous, on the CPU), numbers, structs, and None for NULL.

    Raises:
        TypeError: the number or the types of the arguments do not fit the prototype.
        ValueError: a tensor or array is not contiguous, or not on the CPU.

    Attributes:
        identity: differs between libraries whose results may differ in their bits.
    """

    def __init__(self, path: Path) -> None:
        self.identity = path.stem
        self._ffi = FFI()
        self._ffi.cdef("\n".join(line for line in HEADER.read_text("utf-8").splitlines() if line[:1] != "#"))
        self._library = self._ffi.dlopen(str(path))
        self._pointers: dict[Any, Any] = {}  # dtype of numpy or torch -> pointer type of C

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        function = getattr(self._library, name)
        argument = self._argument

        def call(*arguments: Any) -> Any:
            return function(*[argument(value) for value in arguments])

        setattr(self, name, call)
        return call

    def struct(self, name: str, **fields: Any) -> Struct:
        """Return a new struct of a type that the header declares, with these fields."""
        values = {field: self._argument(value) for field, value in fields.items()}
        return Struct(self._ffi.new(f"{name} *", values), tuple(fields.values()))

    def _argument(self, value: Any) -> Any:
        """Convert an argument for cffi.

        Arrays become pointers to their own type, which cffi compares with the prototype.
        """
        kind = type(value)
        if kind is int or kind is float:
            return value
        if kind is Struct:
            return value.pointer
        if value is None:
            return self._ffi.NULL
        if hasattr(value, "data_ptr"):  # a tensor; torch is not imported here
            contiguous = value.is_contiguous() and value.is_cpu
            address = value.data_ptr()
        elif isinstance(value, np.ndarray):
            contiguous = value.flags.c_contiguous
            address = value.__array_interface__["data"][0]
        else:
            return value
        if not contiguous:
            raise ValueError(f"expected contiguous memory on the CPU, got {kind.__name__} {tuple(value.shape)}")
        return self._ffi.cast(self._pointers.get(value.dtype) or self._pointer(value.dtype), address)

    def _pointer(self, dtype: Any) -> Any:
        name = str(dtype).removeprefix("torch.")
        names = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t"}
        if name not in names:
            raise TypeError(f"no operation takes an array of {name}")
        self._pointers[dtype] = self._ffi.typeof(f"{names[name]} *")
        return self._pointers[dtype]


@cache
def load() -> Library:
    """Load the library that the compiler builds for this processor, or else one that the wheel holds.

    Raises:
        Unusable: there is no C compiler that can build the library, and no wheel with one for this processor.
    """
    _share_threads()
    try:
        return Library(build_native(user_cache()))
    except (OSError, RuntimeError, Unusable) as error:  # RuntimeError: no home directory
        path = built()
        if path is None:
            raise Unusable(str(error)) from None
        return Library(path)


def _share_threads() -> None:
    """Load the OpenMP library that torch ships, so that ours uses it too.

    With two OpenMP libraries, the waiting threads of one would take cores from the other.
    """
    torch = find_spec("torch")
    if torch is None:
        return
    for place in torch.submodule_search_locations or ():
        for path in (*Path(place).glob("lib/libgomp*.so*"), *Path(f"{place}.libs").glob("libgomp*.so*")):
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
