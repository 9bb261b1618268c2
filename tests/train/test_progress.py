"""Progress of long work. Alone: `pytest tests/train/test_progress.py`."""

import io

import pytest

from din.train import progress


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, lines count from the point where the work resumed, and every element comes once."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    assert [*progress.track("ab", total=5, description="epoch 2", done=3)] == ["a", "b"]
    assert capsys.readouterr().out == "epoch 2: 4 of 5 batches\nepoch 2: 5 of 5 batches\n"


def test_short_work_stays_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Work that takes less time than the interval between lines prints nothing."""
    assert [*progress.track("ab", total=2, description="epoch 1")] == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar names the work, and is written to standard error alone."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert [*progress.track("ab", total=2, description="epoch 1")] == ["a", "b"]
    assert "epoch 1" in terminal.getvalue()
