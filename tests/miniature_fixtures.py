"""Fixtures for tests on a finished miniature run: its workspace, its parameters and its registry."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from documents_of import PROTOCOL
from judging import crown
from miniature import Run

from din.params import Params
from din.registry.registry import Registry
from din.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace of its own for each test."""
    return Workspace(tmp_path)


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, quick: Params) -> Run:
    """Return a finished run in the workspace."""
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    return Run(workspace, quick)


@pytest.fixture
def quick(params: Params) -> Params:
    """Return the shipped parameters with a margin and slices for a small log."""
    small = {"margin": 0.03, "min_slice_rows": 100, "max_latency_ms": None, "max_gain": 0.5}
    return replace(params, gate=replace(params.gate, **small))


@pytest.fixture
def registry(run: Run, quick: Params) -> Registry:
    """Return the empty registry of `quick`."""
    return Registry.of(run.here, quick)


@pytest.fixture
def steps(run: Run, registry: Registry) -> Callable[..., list[str]]:
    """A namespace in which a champion was replaced by another one, both older than today's rows."""

    def play(noise: float, since: str = "2024-10-02", before: float = 0.2) -> list[str]:
        """Return the versions of two models with so much noise; the second has learned the log until noon of a day."""
        run.facts |= {"protocol": PROTOCOL | {"name": "temporal"}}
        versions = []
        for run.noise, seen in ((before, "2024-10-01"), (noise, since)):
            run.finish()
            versions.append(crown(registry, run, seen_until=f"{seen}T12:00:00+00:00"))
        run.facts |= {"seen_until": "2024-10-13T12:00:00+00:00"}
        run.become(0.1)
        return versions

    return play
