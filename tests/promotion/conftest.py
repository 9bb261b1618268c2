"""Fixtures of the promotion tests: a finished run in a directory of its own, and its registry."""

from dataclasses import replace
from pathlib import Path

import pytest
from miniature import Run

from din.params import Params
from din.registry.registry import Registry
from din.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace of its own for each test."""
    return Workspace(tmp_path)


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, quick: Params) -> Run:
    """A finished run in it."""
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    return Run(workspace, quick)


@pytest.fixture
def quick(params: Params) -> Params:
    """The shipped parameters; fewer resamples, a margin and slices for a small log, nothing that takes onnxruntime."""
    small = {"resamples": 200, "margin": 0.01, "min_slice_rows": 100, "max_latency_ms": None, "max_gain": 0.5}
    return replace(params, gate=replace(params.gate, **small))


@pytest.fixture
def registry(run: Run, quick: Params) -> Registry:
    """The registry that `quick` names, empty."""
    return Registry.of(run.here, quick)
