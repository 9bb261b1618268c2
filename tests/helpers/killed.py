"""A kill of training, in the test's own process."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from din.train import checkpoint


class Killed(Exception):
    """An exception in place of a kill."""


def run_until_killed(last: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> None:
    """Run a training, and die right after the n-th checkpoint."""
    saved, save = itertools.count(1), checkpoint.save

    def save_then_die(*state: Any) -> None:
        save(*state)
        if next(saved) == last:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(checkpoint, "save", save_then_die)
        run()
