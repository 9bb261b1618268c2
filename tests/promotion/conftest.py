"""Fixtures of the promotion tests: a finished run in a directory of its own, and its registry."""

from dataclasses import replace
from pathlib import Path

import pytest
from miniature import Workspace

from din.params import Params
from din.registry import Registry


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: Params) -> Workspace:
    """A finished run in an empty directory, which becomes the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    return Workspace(quick)


@pytest.fixture
def quick(params: Params) -> Params:
    """The shipped parameters; fewer resamples, a margin and slices for a small log, nothing that takes onnxruntime."""
    small = {"resamples": 200, "margin": 0.01, "min_slice_rows": 100, "max_latency_ms": None, "max_gain": 0.5}
    return replace(params, gate=replace(params.gate, **small))


@pytest.fixture
def registry(workspace: Workspace, quick: Params) -> Registry:
    """The registry that `quick` names, empty."""
    return Registry(quick.promote.registry, quick.model_name)
