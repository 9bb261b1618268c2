"""Compile the C sources: for this processor, or for every processor of a level, as wheels need it.

This module imports the standard library alone, since `setup.py` runs it before anything is installed.
"""

import hashlib
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

SOURCES = Path(__file__).parent
BUILT = SOURCES / "built"
"""The libraries that a wheel holds, one for each level."""
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
NATIVE = (*_FLAGS, "-march=native")
LEVELS: dict[str, dict[str, frozenset[str]]] = {
    "x86_64": {
        "x86-64-v4": frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"}),
        "x86-64-v3": frozenset({"avx2", "fma", "bmi2", "f16c", "movbe"}),
    },
    "aarch64": {"armv8-a": frozenset()},
}
"""The levels of each machine, best first, as compilers name them, with the flags that a processor of it shows."""


class Unusable(Exception):
    """The library can't be built or loaded here, for the reason in the message."""


def build_native(folder: Path) -> Path:
    """Return the library for this processor in a folder, compiled first if it is missing.

    Raises:
        Unusable: the compiler can't.
        OSError: the folder can't be written.
    """
    path = folder / f"{_digest([*NATIVE, processor()])}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            _compile([*NATIVE, "-fopenmp"], temporary)
        except Unusable:  # some compilers lack OpenMP; without it the parts run one after another, with the same bits
            _compile(NATIVE, temporary)
        temporary.replace(path)
    return path


def build_levels(folder: Path) -> None:
    """Compile for each level of this machine. They have one thread each: a wheel can't know where OpenMP lies.

    Raises:
        Unusable: the compiler can't.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for level in LEVELS.get(platform.machine(), {}):
        flags = [*_FLAGS, f"-march={level}"]
        _compile(flags, folder / f"{level}-{_digest(flags)}.so")


def built() -> Path | None:
    """Return the best library of the wheel that this processor can run, or None if there is none."""
    shown = set(processor().split())
    paths = (
        path
        for level, flags in LEVELS.get(platform.machine(), {}).items()
        if flags <= shown
        for path in BUILT.glob(f"{level}-*.so")
    )
    return next(paths, None)


def has_compiler() -> bool:
    """Return whether there is a C compiler."""
    try:
        _version()
    except Unusable:
        return False
    return True


def processor() -> str:
    """Return a description of the processor: everything that `-march=native` depends on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().split("\n\n")[0].splitlines() if info.exists() else []
    return "\n".join([platform.machine(), *(line for line in lines if line.startswith(("model", "flags", "Features")))])


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def _version() -> str:
    return _output([*_compiler(), "--version"])


def _digest(about: Sequence[str]) -> str:
    """Return a digest of the compiler, its options and the sources."""
    text = (path.read_text("utf-8") for path in sorted(SOURCES.glob("*.[ch]")))
    parts = [*_compiler(), _version(), *about, *text]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(flags: Sequence[str], target: Path) -> None:
    _output([*_compiler(), *flags, "-o", str(target), *map(str, sorted(SOURCES.glob("*.c")))])


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise Unusable(str(error)) from None
    except subprocess.CalledProcessError as error:
        raise Unusable(f"{command[0]}: {shorten(error.stderr or str(error), 200)}") from None
