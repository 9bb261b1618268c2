"""The library of native operations: building, caching, choice, and its typed boundary.

Alone: `pytest tests/din/ops/test_library.py`; with the slow ones, `-m ""`.
"""

import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from din.base.errors import InputError
from din.base.workspace import user_cache
from din.ops import backend
from din.ops.native import compiling
from din.ops.native.compiling import LEVELS, SOURCES, Unusable, build_levels
from din.ops.native.library import HEADER, load
from tests.helpers.backends import needs_compiler

ROOT = Path(__file__).parents[3]
OPERATIONS = [
    str(ROOT / f"tests/din/ops/test_{name}.py")
    for name in ("batches", "operations", "scoring", "updates", "whole_step")
]


def run_operations(folder: Path, **environment: str) -> None:
    """Run the tests of operations with a library built into a new cache."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    variables = {**inherited, "XDG_CACHE_HOME": str(folder), **environment}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-s", *OPERATIONS]  # -s: sanitizers print
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    assert "skipped" not in done.stdout, done.stdout
    assert len(list((folder / "din-ctr").glob("*.so"))) == 1


IDS, FLOATS = np.zeros(3, np.int64), np.zeros(3, np.float32)
WRONG_CALLS = {
    "one argument too few": ("din_segment_offsets", (3, IDS, 2)),
    "floats for ids": ("din_segment_offsets", (3, FLOATS, 2, IDS)),
    "an array for a number": ("din_segment_offsets", (IDS, IDS, 2, IDS)),
    "doubles in a tensor": ("din_pool_forward", (1, None, torch.zeros(16).double(), torch.zeros(3))),
    "a tensor for a struct": ("din_pool_forward", (1, torch.zeros(3), torch.zeros(3), torch.zeros(3))),
}


@needs_compiler
@pytest.mark.parametrize(("name", "arguments"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_call_that_does_not_fit_its_prototype_raises(name: str, arguments: tuple) -> None:
    """A wrong call raises, rather than reading or writing at some address."""
    with pytest.raises(TypeError):
        getattr(load(), name)(*arguments)


@needs_compiler
@pytest.mark.parametrize("value", [np.zeros((4, 4), np.int64)[:, :2], torch.zeros(4, 4)[:, :2]], ids=type)
def test_memory_with_gaps_is_refused(value: object) -> None:
    """C would read the memory between the parts of a slice as its values."""
    with pytest.raises(ValueError, match="contiguous"):
        load().din_segment_offsets(3, value, 2, IDS)


def test_every_exported_function_is_declared_in_the_header() -> None:
    """All functions of the C sources that are not static are declared in the header, except gemm."""
    declared = set(re.findall(r"^(?:void|int64_t) (\w+)\(", HEADER.read_text(), re.MULTILINE))
    sources = "\n".join(path.read_text() for path in SOURCES.glob("*.c"))
    defined = set(re.findall(r"^(?:void|int64_t) (\w+)\(", sources, re.MULTILINE))
    assert all(name.startswith("din_") for name in declared)
    assert defined - {"gemm"} == declared


@needs_compiler
def test_another_process_uses_the_same_file_and_needs_no_torch() -> None:
    """A second process loads the library from the cache instead of compiling it again."""
    file = user_cache() / f"{load().identity}.so"
    before = file.stat()
    program = "import sys; from din.ops.native.library import load; print(load().identity, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{load().identity} False"
    assert file.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have one form of vector.h")
@pytest.mark.parametrize("flag", ["-mno-avx512f", "-mno-avx"])
def test_native_operations_without_avx(flag: str, tmp_path: Path) -> None:
    """The forms in `vector.h` that this machine would not use pass the same tests."""
    run_operations(tmp_path, CC=f"cc {flag}")


def sanitizers() -> str:
    """Return the path of the compiler's address sanitizer, or an empty string if it has none."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        found = subprocess.run([*compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    path = found.stdout.strip()
    return path if Path(path).is_absolute() else ""


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(not sanitizers(), reason="the compiler has no address sanitizer")
@pytest.mark.timeout(1800)
def test_native_operations_under_sanitizers(tmp_path: Path) -> None:
    """The tests of operations access nothing beyond an array, and have no undefined behaviour."""
    flags = "-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    options = {"ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": sanitizers()}
    run_operations(tmp_path, CC=f"cc {flags}", **options)


@pytest.mark.parametrize("wanted", ["auto", "native"])
def test_without_a_compiler(wanted: backend.Backend, monkeypatch, capsys) -> None:
    """`auto` prints one line and uses the references; `native` is bad input."""
    monkeypatch.setenv("CC", "/nowhere/cc")
    load.cache_clear()
    try:
        with pytest.raises(Unusable, match="/nowhere/cc"):
            load()
        if wanted == "auto":
            with backend.using(wanted):
                assert backend.identity() is None
            assert capsys.readouterr().out.startswith("training without native operations")
        else:
            with pytest.raises(InputError, match="install a C compiler"), backend.using(wanted):
                pass
    finally:
        load.cache_clear()


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_levels(folder)
    return folder


@pytest.mark.slow
@needs_compiler
def test_without_a_compiler_the_wheel_has_the_kernels(levels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best level that the processor can run is loaded, and computes."""
    best = next(level for level, flags in LEVELS[platform.machine()].items() if flags <= shown())
    monkeypatch.setattr(compiling, "BUILT", levels)
    monkeypatch.setenv("CC", "/nowhere/cc")
    load.cache_clear()
    try:
        assert load().identity.startswith(f"{best}-")
        offsets = np.zeros(3, np.int64)
        load().din_segment_offsets(3, np.array([0, 1, 1]), 2, offsets)
        assert offsets.tolist() == [0, 1, 3]
    finally:
        load.cache_clear()


def shown() -> set[str]:
    return set(compiling.processor().split())


@pytest.mark.parametrize(
    ("flags", "level"), [("avx2 fma bmi2 f16c movbe", "x86-64-v3"), ("avx2 fma", None), ("sse4_2", None)]
)
def test_no_library_is_loaded_that_the_processor_can_not_run(
    flags: str, level: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instruction that it lacks would end the process."""
    for name in LEVELS["x86_64"]:
        (tmp_path / f"{name}-0.so").touch()
    monkeypatch.setattr(compiling, "BUILT", tmp_path)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(compiling, "processor", lambda: flags)
    assert compiling.built() == (level and tmp_path / f"{level}-0.so")


@needs_compiler
def test_the_choice_ends_with_its_block() -> None:
    """Without a choice, references are used. A nested choice restores the outer one, even after an error."""
    assert backend.identity() is None
    with backend.using("native"):
        chosen = backend.identity()
        with pytest.raises(ZeroDivisionError), backend.using("reference"):
            assert backend.identity() is None
            raise ZeroDivisionError
        assert backend.identity() == chosen == load().identity
    assert backend.identity() is None
