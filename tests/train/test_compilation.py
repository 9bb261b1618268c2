"""Compiled training: who gets it, and that it resumes bit for bit. Alone: `pytest tests/train/test_compilation.py`."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from din.errors import InputError
from din.features.reader import Features
from din.params import Params
from din.train import checkpoint
from din.train.compilation import WORTHWHILE, compiles
from din.train.fit import fit

LESS = WORTHWHILE // 3 - 1


@pytest.mark.parametrize(
    ("impressions", "changes"),
    [(10**9, {"compile": "never"}), (10**9, {"model": "lr"}), (LESS, {}), (WORTHWHILE - 1, {"epochs": 1})],
    ids=str,
)
def test_what_does_not_pay_is_not_compiled(impressions: int, changes: dict, params: Params) -> None:
    """`never`; models with little to fuse; fewer impressions than pay, over the epochs that are sure to run."""
    train = replace(params.train, compile="auto", patience=2, epochs=20)
    assert not compiles(replace(train, **changes), impressions)


def test_compiled_and_eager_runs_never_share_a_checkpoint(features: Features, params: Params) -> None:
    """What was decided identifies a checkpoint, not the setting that led to it."""
    runs = [
        checkpoint.directory(features.root, replace(params.train, compile=setting), compiled)
        for setting in ("auto", "always")
        for compiled in (False, True)
    ]
    assert runs[0] != runs[1]
    assert runs[:2] == runs[2:]


def test_several_processes_are_not_compiled(params: Params) -> None:
    """They exchange moments inside the graph; who insists is told so."""
    assert not compiles(params.train, 10**9, processes=2)
    with pytest.raises(InputError, match=r"train\.compile: always needs one process, not 2"):
        compiles(replace(params.train, compile="always"), 1, processes=2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_with_a_compiler_large_runs_are_compiled(params: Params) -> None:
    """The probe succeeds where compiling does."""
    assert compiles(replace(params.train, compile="auto"), 10**9)
    assert compiles(replace(params.train, compile="always"), 1)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_resumed_compiled_run_ends_with_the_same_bits(
    dropout: float, features: Features, params: Params, tmp_path: Path, fit_until_killed
) -> None:
    """Killed in its second epoch and started again: same weights; close to the eager run, but not it (which draws
    other units to drop)."""
    quick = replace(params.train, epochs=2, batch_size=32, threads=1, patience=9, checkpoint_minutes=1e-9)
    quick = replace(quick, dropout=dropout)
    whole, _ = fit(features, quick, None, compiled=True)
    fit_until_killed(13, features, quick, tmp_path / "state.safetensors", compiled=True)
    resumed, _ = fit(features, quick, tmp_path / "state.safetensors", compiled=True)
    assert torch.equal(whole.table, resumed.table)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))
    eager, _ = fit(features, quick)
    assert not torch.equal(whole.table, eager.table)
    if not dropout:
        torch.testing.assert_close(whole.table, eager.table, atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["auto", "always"])
def test_without_a_compiler(setting: str) -> None:
    """`auto` says so in one line and trains eagerly, `always` ends as bad input."""
    program = f"""
from dataclasses import replace
from pathlib import Path
from din.params import load
from din.train.compilation import compiles
print(compiles(replace(load(Path("params.yaml")).train, compile={setting!r}), 10**9))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "CXX": "/nowhere/c++"},
        capture_output=True,
        text=True,
    )
    if setting == "auto":
        said, answer = done.stdout.splitlines()
        assert said.startswith("training without torch.compile") and answer == "False"
    else:
        assert "InputError: train.compile: always, but torch.compile fails" in done.stderr
