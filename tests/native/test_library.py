"""Compiling, keeping and doing without the kernels. Alone: `pytest tests/native/test_library.py`."""

import copy
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compiler import needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st

from din.errors import InputError
from din.eventlog.packing import Deduplicator, Packer
from din.eventlog.reader import Features
from din.model.embedding import to_tensors
from din.native.library import SOURCES, Unusable, kernels
from din.params import Params
from din.serve.fold import fold
from din.train.fit import fit
from din.train.native import native

ROOT = Path(__file__).parent.parent.parent


def python(program: str, **environment: str) -> str:
    """What a process of its own prints."""
    variables = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_compiler
def test_a_copy_is_the_library_itself(features_once: Features, params: Params) -> None:
    """A model that trained through kernels is copied to be exported; `fold` gives one that computes the same."""
    assert copy.deepcopy(kernels()) is kernels()
    train = replace(params.train, epochs=1, batch_size=32, hidden=(8,), attention_hidden=(8,), threads=1)
    (model, table), _ = fit(features_once, train, kernels=kernels())
    folded, shard = fold(model), features_once.shard(0, "valid")
    batch = to_tensors(Packer(features_once).pack(shard, np.arange(len(shard.impressions))))
    with torch.no_grad():
        torch.testing.assert_close(folded(table, batch), model.eval()(table, batch), atol=1e-4, rtol=1e-4)


@needs_compiler
@pytest.mark.parametrize("value", [np.int64(3), np.float32(3), np.zeros((4, 4))[:, :2], [3]], ids=repr)
def test_what_has_no_memory_of_its_own_is_refused(value: object) -> None:
    """A numpy scalar would go as the address of a copy, part of an array with its neighbours."""
    with pytest.raises(AssertionError):
        kernels()("behaviours", value)


@needs_compiler
def test_the_library_is_compiled_once_and_without_torch(tmp_path: Path) -> None:
    """A second process takes the same file from the cache, where nothing else is left."""
    program = "import sys; from din.native.library import kernels; print(kernels().identity, 'torch' in sys.modules)"
    first, again = (python(program, XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert first == again == f"{kernels().identity} False"
    assert [path.name for path in (tmp_path / "din-ctr").iterdir()] == [f"{kernels().identity}.so"]


@needs_compiler
def test_other_options_of_the_compiler_give_another_library(tmp_path: Path) -> None:
    """A cached one that was built otherwise is not taken: its bits may differ, and its instructions be unknown here."""
    program = "from din.native.library import kernels; print(kernels().identity)"
    plain, other = (
        python(program, XDG_CACHE_HOME=str(tmp_path), CC=f"cc{flag}") for flag in ("", " -ffp-contract=off")
    )
    assert plain != other


@pytest.mark.slow
@needs_compiler
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="other processors have one form of the kernels"
)
@pytest.mark.parametrize("flag", ["-mno-avx512f", "-mno-avx"])
def test_kernels_of_lesser_processors(flag: str, tmp_path: Path) -> None:
    """The forms of `vector.h` that this machine would not take pass the same tests."""
    files = [str(ROOT / f"tests/native/test_{of}_kernels.py") for of in ("model", "training")]
    variables = {**os.environ, "CC": f"cc {flag}", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", *files], cwd=ROOT, env=variables, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()
    assert len(list((tmp_path / "din-ctr").glob("*.so"))) == 1


@pytest.mark.parametrize("setting", ["auto", "always"])
def test_without_a_compiler(setting: str, params: Params, monkeypatch, capsys) -> None:
    """`auto` says so in one line and trains through torch, `always` ends as bad input."""
    monkeypatch.setenv("CC", "/nowhere/cc")
    kernels.cache_clear()
    train = replace(params.train, kernels=setting, device="cpu")
    try:
        with pytest.raises(Unusable, match="/nowhere/cc"):
            kernels()
        if setting == "auto":
            assert native(train) is None
            assert capsys.readouterr().out.startswith("training without native kernels")
        else:
            with pytest.raises(InputError, match="install a C compiler"):
                native(train)
    finally:
        kernels.cache_clear()


@pytest.mark.parametrize(
    "changes", [{"kernels": "never"}, {"precision": "bfloat16"}, {"compile": "always"}], ids=lambda x: str(x)
)
def test_runs_that_kernels_do_not_fit(changes: dict, params: Params) -> None:
    """`never`, another precision and a wish for torch.compile train through torch; `always` says what it needs."""
    train = replace(params.train, device="cpu", kernels="auto")
    assert native(replace(train, **changes)) is None
    if "kernels" not in changes:
        with pytest.raises(InputError, match=r"train\.kernels: always needs"):
            native(replace(train, **changes | {"kernels": "always"}))


def test_the_sources_are_in_the_package() -> None:
    """Every C file of the folder is named by the package data of pyproject.toml."""
    assert {path.suffix for path in SOURCES.iterdir()} - {".py", ""} == {".c", ".h"}
    assert '"din.native" = ["*.c", "*.h"]' in (ROOT / "pyproject.toml").read_text()


@needs_compiler
@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 19), max_size=40), min_size=1, max_size=4), st.sampled_from(["int32", "int64"]))
def test_distinct_ids_are_numpy_s_bits(batches: list[list[int]], dtype: str) -> None:
    """Order, positions and types of the kernel equal those of the numpy version, whatever was seen before."""
    ours, theirs = Deduplicator(20, kernels()), Deduplicator(20)
    for batch in batches:
        for found, expected in zip(ours(np.array(batch, dtype)), theirs(np.array(batch, dtype)), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


@needs_compiler
@settings(max_examples=40, deadline=None)
@given(
    shard=st.integers(0, 1),
    rows=st.lists(st.integers(0, 30), max_size=9),
    rate=st.sampled_from([0.0, 0.3, 1.0]),
    dropping=st.booleans(),
)
def test_packed_batches_are_numpy_s_bits(
    shard: int, rows: list[int], rate: float, dropping: bool, features_once: Features
) -> None:
    """Every array and its type, whatever the kinds of fields, with and without dropped values; repeated impressions and
    none."""
    read, own = features_once.shard(shard, "train"), np.array(rows, np.int64)
    ours, theirs = (
        Packer(features_once, rate, k).pack(read, own, np.random.default_rng(1) if dropping else None)
        for k in (kernels(), None)
    )
    pairs = [(getattr(ours, n), getattr(theirs, n)) for n in ("candidate", "behaviour", "segment", "labels")]
    for a, b in zip(ours.lookups(), theirs.lookups(), strict=True):
        pairs += [(a.ids, b.ids), (a.owners, b.owners), (a.weights, b.weights)]
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)
        assert found is expected is None or found.dtype == expected.dtype
