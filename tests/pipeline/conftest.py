"""A finished pipeline that all test files of this folder share."""

from pathlib import Path

import pytest

from tests.helpers.made_once import made_once
from tests.pipeline.workspace import Workspace


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a champion, made by `dvc repro` and `din promote`."""

    def make(root: Path) -> None:
        workspace = Workspace(root)
        done = workspace.run("dvc", "repro")
        assert done.returncode == 0, done.stdout + done.stderr
        done = workspace.run("din", "promote")
        assert done.returncode == 0, done.stderr
        assert f"promoted: {workspace.version()} (record 1)" in done.stdout

    return Workspace.at(made_once(tmp_path_factory, "promoted", make))
