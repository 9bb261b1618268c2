"""Fixtures of the serving tests: one exported bundle for all, and a copy for those that damage it."""

import shutil
from pathlib import Path

import pytest
from serve_workspace import Workspace, build

from din.params import Params
from din.serve import Scorer


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Workspace:
    """A finished export, read-only."""
    return build(tmp_path_factory.mktemp("served"), params)


@pytest.fixture
def own_workspace(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of it to change, as the current directory."""
    copy = Workspace(shutil.copytree(workspace.root, tmp_path / "copy"), workspace.params)
    monkeypatch.chdir(copy.root)
    return copy


@pytest.fixture(scope="session")
def scorer(workspace: Workspace) -> Scorer:
    """The bundle, opened."""
    return Scorer.open(workspace.bundle)
