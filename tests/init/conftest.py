"""Fixtures of the tests of `din init`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made_up_logs import events

from din.init.guess import guess
from din.init.render import PARAMS, parameters
from din.params import Params, load
from din.sources.fetch import fetch
from din.workspace import Workspace


@pytest.fixture(scope="session")
def log() -> list[dict[str, Any]]:
    """Return the events that every shape holds."""
    return events()


@pytest.fixture
def guessed(tmp_path: Path, params: Params) -> Callable[..., dict[str, Any]]:
    """Return a function that gives the guessed parameters of a log by dotted key."""

    def of(events: str, items: str = "", users: str = "", **given: str) -> dict[str, Any]:
        tables = {"events": events} | ({"items": items} if items else {}) | ({"users": users} if users else {})
        return {one.key: one.value for one in guess(Workspace(tmp_path), params, tables, given)}

    return of


@pytest.fixture
def fetched_clicks(tmp_path: Path, params: Params) -> Callable[..., int]:
    """Return a function that fetches a log with the guessed parameters, and gives the number of clicks in it."""

    def of(events: str, **given: str) -> int:
        (tmp_path / PARAMS).write_text(parameters(guess(Workspace(tmp_path), params, {"events": events}, given)))
        fetch(Workspace(tmp_path), load(tmp_path / PARAMS))
        files = (tmp_path / "data" / "raw" / "events").rglob("*.parquet")
        return sum(pc.sum(pq.read_table(file)["label"]).as_py() for file in files)

    return of
