"""Fixtures of the serving tests: one exported bundle for all, and a copy for those that damage it."""

import shutil
from pathlib import Path

import pytest
from serve_workspace import Finished, build

from din.params import Params
from din.serve import Scorer
from din.workspace import Workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Finished:
    """A finished export, read-only."""
    return build(tmp_path_factory.mktemp("served"), params)


@pytest.fixture
def own(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of it to change."""
    copy = shutil.copytree(finished.here.root, tmp_path / "copy")
    return Finished(Workspace(copy), finished.params)


@pytest.fixture(scope="session")
def scorer(finished: Finished) -> Scorer:
    """The bundle, opened."""
    return Scorer.open(finished.bundle)
