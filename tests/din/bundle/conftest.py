"""A copy of the finished run, for tests that damage its bundle."""

import shutil
from pathlib import Path

import pytest

from din.base.workspace import Workspace
from tests.factories.bundles import Finished


@pytest.fixture
def own(finished: Finished, tmp_path: Path) -> Finished:
    copy = shutil.copytree(finished.here.root, tmp_path / "copy")
    return Finished(Workspace(copy), finished.params)
