"""Fixtures shared by all test folders."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from din.bundle import Scorer
from din.features.reader import Features
from din.params.reading import Params
from tests.factories.bundles import Finished, built_once
from tests.factories.features import VECTORS, write_features
from tests.helpers.spark_processes import sail_server
from tests.shards import REST, SHARDS, shard_of

pytest_plugins = ["tests.factories.raw_logs"]

# A busy machine must not fail a test, so there are no deadlines. The same commit must not pass today and fail tomorrow,
# so `make test` draws the same examples each time. `make test-slow` draws new ones, and more of them.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("new", deadline=None, max_examples=1000)
settings.load_profile("same")

torch.set_num_threads(1)  # models of a few units: threads would only wait for each other


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shard", choices=(*SHARDS, REST), help="run only the tests of this shard (tests/shards.py)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the shard. Begin with the module that makes the whole pipeline, which others would wait for."""
    shard = config.getoption("shard")
    items[:] = [item for item in items if shard in (None, shard_of(item.path))]
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


@pytest.fixture(scope="session")
def params() -> Params:
    return Params()


@pytest.fixture
def features(tmp_path: Path) -> Features:
    return write_features(tmp_path / "data" / "features")


@pytest.fixture(scope="session")
def features_once(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Return a small random feature directory, made once and read-only."""
    return write_features(tmp_path_factory.mktemp("once") / "data" / "features")


@pytest.fixture(scope="session")
def vectors_once(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """A small random feature directory with a vector of each item and one of each impression."""
    return write_features(tmp_path_factory.mktemp("vectors") / "data" / "features", declared=VECTORS)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Finished:
    """Return a finished run with its bundle, made once and read-only."""
    return built_once(tmp_path_factory, params)


@pytest.fixture(scope="session")
def scorer(finished: Finished) -> Scorer:
    return Scorer.open(finished.bundle)


@pytest.fixture(scope="session")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of Spark Connect without Java."""
    with sail_server(tmp_path_factory.mktemp("sail")) as address:
        yield address
