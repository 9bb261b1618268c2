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
    resumed, first, second = capsys.readouterr().out.splitlines()
    assert resumed.startswith("epoch 2:  60% 3/5 ")
    assert re.fullmatch(r"epoch 2:  80% 4/5 \[00:00<00:00, [\d.]+batch/s\]", first)
    assert second.startswith("epoch 2: 100% 5/5 ")


def test_a_log_gets_ever_fewer_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A day of work leaves fewer than a hundred lines, the first after ten seconds."""
    now = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    with progress.progress(86_400, "epoch 1", "batch") as bar:
        for second in range(1, 86_401):
            now = float(second)
            bar.update()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "epoch 1:   0% 10/86400 [00:10<23:59:50,  1.00batch/s]"
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
    with progress.progress(total, "downloading", "file", initial=1) as bar:
        assert bar.n == 1
    assert ("downloading:  50%" if total else "downloading: 1file") in terminal.getvalue()
    assert terminal.getvalue().endswith(" \r")
