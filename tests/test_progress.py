"""Progress of long work. Alone: `pytest tests/test_progress.py`."""

import io
import re

import pytest

from din import progress


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every step due for a line."""
    monkeypatch.setattr(progress, "SECONDS_TO_FIRST_LINE", -1e9)


@pytest.mark.usefixtures("impatient")
def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, lines count from the point where the work resumed, and every element comes once."""
    assert [*progress.track("ab", total=5, description="epoch 2", done=3)] == ["a", "b"]
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 2: 4 of 5 batches, [\d,]+/s, 0:00:00 left", first)
    assert second.startswith("epoch 2: 5 of 5 batches")


def test_a_log_gets_ever_fewer_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A day of work leaves fewer than a hundred lines, the first after ten seconds."""
    now = 0.0
    monkeypatch.setattr("din.progress.time.monotonic", lambda: now)
    with progress.progress(86_400, "epoch 1", "batches") as advance:
        for second in range(1, 86_401):
            now = float(second)
            advance(1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "epoch 1: 11 of 86,400 batches, 1/s, 23:59:49 left"
    assert 20 < len(lines) < 100


def test_short_work_stays_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Work that takes less time than the interval between lines prints nothing."""
    assert [*progress.track("ab", total=2, description="epoch 1")] == ["a", "b"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("total", [2, None])
def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch, total: int | None) -> None:
    """The bar names the work and counts it, and is written to standard error alone."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.progress(total, "downloading", "MB") as advance:
        advance(1)
    assert "downloading" in terminal.getvalue()
    assert ("of 2 MB" if total else "1 MB") in terminal.getvalue()


@pytest.mark.parametrize(
    ("done", "total", "per_second", "words"),
    [
        (1200, 9000, 130, "1,200 of 9,000 batches, 130/s, 0:01:00 left"),
        (3, 7, 0.25, "3 of 7 batches, 0.25/s, 0:00:16 left"),
        (3, 7, None, "3 of 7 batches"),
        (12, None, 2.5, "12 batches, 2.5/s"),
    ],
)
def test_progress_in_words(done: float, total: float | None, per_second: float | None, words: str) -> None:
    """The time left follows from the rate, and parts that are not known are left out."""
    assert progress.in_words(done, total, "batches", per_second) == words
