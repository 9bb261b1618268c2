"""Fixtures of the serving tests: one exported bundle for all, and a copy for tests that damage it."""

import shutil
from pathlib import Path

import pytest

from din.base.workspace import Workspace
from din.bundle import Scorer
from din.params.reading import Params
from tests.factories.bundles import Finished, built_once


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Finished:
    return built_once(tmp_path_factory, params)


@pytest.fixture
def own(finished: Finished, tmp_path: Path) -> Finished:
    copy = shutil.copytree(finished.here.root, tmp_path / "copy")
    return Finished(Workspace(copy), finished.params)


@pytest.fixture(scope="session")
def scorer(finished: Finished) -> Scorer:
    return Scorer.open(finished.bundle)
