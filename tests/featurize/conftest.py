"""One fixture: featurize a log in a workspace of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from featurize_files import Built, Log, block

from din.featurize.build import featurize


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Built]:
    """Featurize a log in a workspace of its own: build(log, **featurize keys) -> Built."""
    runs = 0

    def run(log: Log, **changes: Any) -> Built:
        nonlocal runs
        runs += 1
        root = tmp_path / str(runs)
        root.mkdir()
        monkeypatch.chdir(root)
        log.write(root / "data/raw")
        featurize(block(**changes))
        return Built(root / "data/features")

    return run
