"""The kernels as one shared library, compiled by the system's C compiler at first use and kept in the user's cache.

Called through ctypes, which lets other threads run meanwhile. No headers but C's own, no build step: a second or two,
once for each version of the sources, the compiler with its options, and the processor.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")


class Unusable(Exception):
    """No kernels here; says why."""


class Kernels:
    """Functions of the library by name: tensors and arrays go as pointers to their memory, None as a null pointer.

    Attributes:
        identity: changes with the bits that kernels compute.
    """

    def __init__(self, path: Path) -> None:
        self.identity = path.stem
        self._library = ctypes.CDLL(str(path))
        for name in ("behaviours", "distinct", "row_width"):
            getattr(self._library, name).restype = ctypes.c_int64

    def __call__(self, name: str, *arguments: Any) -> int:
        """Call a function with tensors of contiguous rows, contiguous arrays, ints (int64_t) and floats (float).

        Checked: that each argument is one of these. Not: numbers' types, sizes, and ids among them that are too large.
        """
        return getattr(self._library, name)(*map(_argument, arguments))

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of a model, as `din.serve.fold` takes one, shares the library."""
        return kernels, ()


@cache
def kernels() -> Kernels:
    """Compile, or take from the cache, and load.

    Raises:
        Unusable: no C compiler, or one that can't build them.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    sources = sorted(SOURCES.glob("*.[ch]"))
    text = [path.read_text("utf-8") for path in sources]
    about = [*compiler, _output([*compiler, "--version"]), *FLAGS, _processor(), *text]
    name = hashlib.sha256("\0".join(about).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "din-ctr"
    path = folder / f"{name}.so"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            _compile(compiler, [str(source) for source in sources if source.suffix == ".c"], temporary)
            temporary.replace(path)
        _share_threads()
        return Kernels(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home
        raise Unusable(str(error)) from None


def _compile(compiler: Sequence[str], sources: Sequence[str], target: Path) -> None:
    command = [*compiler, *FLAGS, "-o", str(target), *sources]
    try:
        _output([*command, "-fopenmp"])
    except Unusable:  # some compilers come without OpenMP: the same bits, one part after the other
        _output(command)


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise Unusable(str(error)) from None
    except subprocess.CalledProcessError as error:
        raise Unusable(f"{command[0]}: {shorten(error.stderr or str(error), 200)}") from None


def _processor() -> str:
    """What `-march=native` depends on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().split("\n\n")[0].splitlines() if info.exists() else []
    return "\n".join([platform.machine(), *(line for line in lines if line.startswith(("model", "flags", "Features")))])


def _share_threads() -> None:
    """Use the threads of torch's own OpenMP: the waiting ones of two would take each other's cores."""
    torch = find_spec("torch")
    for place in torch.submodule_search_locations or () if torch else ():
        for path in (*Path(place).glob("lib/libgomp*.so*"), *Path(f"{place}.libs").glob("libgomp*.so*")):
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def _argument(value: Any) -> Any:
    if hasattr(value, "data_ptr"):  # first: more than half of them, and asking a tensor is dear
        assert value.stride(-1) == 1 or value.numel() < 2, "rows must be contiguous"
        return ctypes.c_void_p(value.data_ptr())
    if value is None or isinstance(value, int):
        return ctypes.c_int64(value or 0)
    if isinstance(value, float):
        return ctypes.c_float(value)
    assert isinstance(value, np.ndarray), f"no kernel takes a {type(value).__name__}"  # a scalar would be an address
    assert value.flags.c_contiguous, "arrays must be contiguous"
    return ctypes.c_void_p(value.__array_interface__["data"][0])
