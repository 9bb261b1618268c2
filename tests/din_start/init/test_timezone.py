"""The hour at which a log's days begin."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from din.base.workspace import Workspace
from din_start.init.guess import guess
from tests.din_start.init.made_up_logs import HEADER, looks, write

Guessed = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("name", "form", "hours"), [("day", "%Y%m%d", 8), ("date", "%d.%m.%Y", -5), ("date", "%Y-%m-%d", 0)]
)
def test_days_in_a_column_tell_the_time_zone(
    name: str, form: str, hours: int, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """A day beside the time cuts the log where its publisher cut it, even under a name that the raw log uses itself."""
    rows = [
        f"{e['user']},{e['item']},{e['time'] - hours * 3600},{e['click']},2024-05-{6 + e['item'] % 12:02},"
        f"{datetime.fromtimestamp(e['time'], UTC):{form}}"
        for e in log
    ]
    found = guessed(write(tmp_path, f"{HEADER},released,{name}", rows))
    assert found.get("fetch.table.utc_offset_hours", 0) == hours
    assert (found["featurize.test_days"], found["featurize.valid_days"]) == (2, 1)
    assert found["featurize.fields"].keys() == {"user"}


@pytest.mark.parametrize(("start", "ahead"), [(0, 8), (16, -8), (7, None), (10, None)])
def test_a_quiet_noon_is_asked_about(start: int, ahead: int | None, tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """If nobody clicks at noon in UTC, days are likely to begin at another hour; quiet nights are usual."""
    day = 86_400
    times = [e["time"] // day * day + start * 3600 + e["time"] % day * 2 // 3 for e in log]  # sixteen hours awake
    rows = [f"{e['user']},{e['item']},{time},{e['click']}" for e, time in zip(log, times, strict=True)]
    write(tmp_path, HEADER, rows)
    zone = guess(Workspace(tmp_path), looks(tmp_path, events="log.csv"), {}).get("fetch.table.utc_offset_hours")
    assert (zone.value, f"set {ahead}." in zone.reason) == (0, True) if zone else ahead is None
