"""A fixture that featurizes a log in a workspace of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from din.base.workspace import Workspace
from din.featurize.build import featurize
from tests.din.featurize.featurize_files import Built, block
from tests.factories.events import Log


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Built]:
    """Return a function that featurizes a log, with keys of `featurize` changed, in a new workspace."""
    runs = 0

    def run(log: Log, **changes: Any) -> Built:
        nonlocal runs
        runs += 1
        workspace = Workspace(tmp_path / str(runs))
        log.write(workspace.raw)
        featurize(workspace, block(**changes))
        return Built(workspace)

    return run
