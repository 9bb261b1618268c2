"""Fixtures of the registry tests: a store that speaks S3 and fails on demand, and a miniature run."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from s3 import FaultyStore, allow, store

from din.registry import objects
from tests.factories.run import quick, registry, run, workspace

__all__ = ["quick", "registry", "run", "workspace"]


@pytest.fixture(scope="module")
def started() -> Iterator[FaultyStore]:
    """Start a store with one bucket."""
    with store() as faulty:
        yield faulty


@pytest.fixture
def faulty(started: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """Return the store without a fault, with the environment of a permitted user and short pauses."""
    allow(monkeypatch, started.url)
    backoff = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 1, "backoff": backoff, "retry_timeout": timedelta(seconds=2)})
    started.inject(None)
    yield started
    started.inject(None)
