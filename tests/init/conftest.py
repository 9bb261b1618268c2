"""Fixtures of the tests of `din init`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_logs import events

from din.init.choice import Choice
from din.init.guess import guess
from din.workspace import Workspace


@pytest.fixture(scope="session")
def log() -> list[dict[str, Any]]:
    """Return the events that every shape holds."""
    return events()


@pytest.fixture
def guessed(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that gives the guessed parameters of a log by dotted key."""

    def of(events: str, items: str = "", users: str = "", history: str = "", **given: str) -> dict[str, Any]:
        named = {"events": events, "items": items, "users": users, "history": history}
        tables = {table: Choice(paths, "named") for table, paths in named.items() if paths}
        return {key: one.value for key, one in guess(Workspace(tmp_path), tables, given).items()}

    return of
