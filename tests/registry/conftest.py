"""Fixtures of the registry tests: a store that speaks S3 behind a proxy that fails on demand, and a miniature run."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from faulty_proxy import FaultyProxy
from miniature_fixtures import quick, registry, run, workspace
from s3 import allow, store

from din.registry import objects

__all__ = ["quick", "registry", "run", "workspace"]


@pytest.fixture(scope="module")
def started() -> Iterator[FaultyProxy]:
    """Start a store with one bucket behind the proxy."""
    with store() as address, FaultyProxy(address.host, address.port).running() as proxy:
        yield proxy


@pytest.fixture
def proxy(started: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Return the proxy without a fault, with the environment of a permitted user and short pauses."""
    allow(monkeypatch, started.url)
    backoff = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 2, "backoff": backoff, "retry_timeout": timedelta(seconds=2)})
    started.inject(None)
    yield started
    started.inject(None)
