"""Fixtures shared by all test folders."""

from pathlib import Path

import pytest
from random_features import write_features

from din.eventlog.reader import Features
from din.params import Params, load

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def params() -> Params:
    """The parameters that the repository ships."""
    return load(ROOT / "params.yaml")


@pytest.fixture
def features(tmp_path: Path) -> Features:
    """A small random feature directory."""
    return write_features(tmp_path / "data" / "features")


@pytest.fixture(scope="session")
def features_once(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """The same, read-only, made once."""
    return write_features(tmp_path_factory.mktemp("once") / "data" / "features")
