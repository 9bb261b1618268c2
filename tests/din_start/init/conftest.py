"""Fixtures of the tests of `din init`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from din.base.workspace import Workspace
from din_start.init.guess import guess
from din_start.init.look import look
from tests.din_start.init.made_up_logs import HEADER, events, write


@pytest.fixture(scope="session")
def log() -> list[dict[str, Any]]:
    """Return the events that every shape holds."""
    return events()


@pytest.fixture
def guessed(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that gives the guessed parameters of a log by dotted key."""

    def of(events: str, items: str = "", users: str = "", history: str = "", **given: str) -> dict[str, Any]:
        named = {"events": events, "items": items, "users": users, "history": history}
        here = Workspace(tmp_path)
        tables = {table: look(here, paths, f"--{table}") for table, paths in named.items() if paths}
        return {key: one.value for key, one in guess(here, tables, given).items()}

    return of


@pytest.fixture
def plain(tmp_path: Path, log: list[dict[str, Any]]) -> list[str]:
    """Write log.csv with nothing but user, item, time and click, and return its rows."""
    rows = [f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log]
    write(tmp_path, HEADER, rows)
    return rows
