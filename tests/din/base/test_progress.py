"""Progress of long work. Alone: `pytest tests/din/base/test_progress.py`."""

import pytest

from din.base import progress


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
