"""Commands in forks of one process: what they print, how they end, and that they share nothing but imports."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dags.forks import Forks
from din.base.errors import Unavailable


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Forks]:
    forks = Forks(tmp_path)
    yield forks
    forks.close()


def test_a_command_ends_as_it_would_alone(forks: Forks, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The caller gets the exit code and every line, and the next command runs as usual."""
    code, printed = forks.run(["din", "featurize"])
    assert code == 2 and "params.yaml: not found" in printed
    assert printed in capsys.readouterr().out
    code, printed = forks.run(["din", "promote", "--reason", "two words"])
    assert code == 2 and "params.yaml: not found" in printed
    code, printed = forks.run(["din", "--version"])
    assert code == 0 and len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_killed_process_is_worth_another_try(forks: Forks) -> None:
    """A command whose process was killed has no exit code of its own; without the process that forks, none can run."""
    forks.run(["din", "--version"])
    assert forks.process is not None
    os.kill(forks.process.pid, signal.SIGKILL)
    forks.process.wait()
    with pytest.raises(Unavailable, match="run it again"):
        forks.run(["din", "--version"])
