"""Days that were delivered badly, in a log that fetch reads by day, close the gate of the raw suite."""

from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import planting
import pytest

from din.artifacts import read_json
from din.errors import GateClosed
from din.params import Params
from din.sources.fetch import fetch
from din.workspace import Workspace
from validation.raw import PHASES
from validation.run import Phases, validate

FIRST = date(2024, 5, 1)
MIDNIGHT = 1_714_521_600  # of the first day


@pytest.fixture
def log(params: Params) -> Params:
    """Return the shipped params with a source that promises a file for every day."""
    table = replace(params.fetch.table, events="logs/{date}*.csv", daily=True)
    return replace(params, fetch=replace(params.fetch, source="table", table=table))


def deliver(root: Path, number: int, name: str = "", first_row: int = 0) -> None:
    """Write a file with rows of a day; `name` follows the date in its name."""
    path = root / "logs" / f"{FIRST + timedelta(number)}{name}.csv"
    path.parent.mkdir(exist_ok=True)
    times = range(MIDNIGHT + 86_400 * number + 60 * first_row, MIDNIGHT + 86_400 * (number + 1), 60 * 144)
    lines = [f"{time % 7},{time % 11},{time},{row % 2}" for row, time in enumerate(times)]
    path.write_text("\n".join(["user_id,item_id,timestamp,label", *lines]) + "\n")


def failed(root: Path, params: Params) -> dict[str, dict[str, Any]]:
    """Fetch the log and return the critical expectations on its rows and days that fail, by name."""
    workspace = Workspace(root)
    fetch(workspace, params)
    small = replace(params, validate_raw=replace(params.validate_raw, min_rows=1))
    phases = {name: PHASES.detectors[name] for name in ("rows", "tables")}
    with suppress(GateClosed):
        validate(workspace, "raw", Phases(PHASES.data, phases), small)
    return planting.failed(read_json(workspace.validation("raw")))


def test_a_gap_in_the_days(tmp_path: Path, log: Params) -> None:
    """With the shipped params a day without a file closes the gate if the source promises every day, and is named."""
    for number in (0, 1, 3):
        deliver(tmp_path, number)
    found = failed(tmp_path, log)
    assert found.keys() == {"missing_days"}
    assert found["missing_days"]["sample"] == [{"date": "2024-05-03"}]


def test_a_gap_that_nobody_ruled_out(tmp_path: Path, log: Params) -> None:
    """With the shipped params a gap closes nothing if the source does not promise every day."""
    log = replace(log, fetch=replace(log.fetch, table=replace(log.fetch.table, daily=False)))
    for number in (0, 1, 3):
        deliver(tmp_path, number)
    assert failed(tmp_path, log).keys() == set()


def test_a_day_that_arrives_twice(tmp_path: Path, log: Params) -> None:
    """A day's rows under a second name are duplicates, which close the gate; other rows of the day do not."""
    for number in range(3):
        deliver(tmp_path, number)
    deliver(tmp_path, 1, "-late", first_row=1)
    assert failed(tmp_path, log).keys() == set()
    deliver(tmp_path, 1, "-again")
    assert failed(tmp_path, log).keys() == {"duplicate_rate"}
