"""`make quality`: its configuration, and what it has to show on the simulated log."""

import re
from pathlib import Path

import pytest

from benchmarks.features import featurized
from benchmarks.quality import read, text, trained
from din.base.workspace import Workspace
from din.data.fetch import source_of


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_attention_pays_on_the_simulated_log(tmp_path: Path) -> None:
    """With the defaults, DIN reaches at least 95 % of the oracle's lift, and BaseModel at most 80 %."""
    logs, every = read(tmp_path)
    rows = [row for row in every if row.log == "simulate, 6000 users, history 50" and row.name in ("BaseModel", "DIN")]
    features = featurized({rows[0].log: logs[rows[0].log]}, tmp_path)
    runs = trained(rows, features, 1, 2, tmp_path)
    base, din = (
        float(lift) for lift in re.findall(r"\| ([\d.]+) % \| [\d.]+ \| 1 \|$", text(rows, runs), re.MULTILINE)
    )
    assert din >= 95
    assert base <= 80


def test_every_row_has_a_name_of_its_own_and_a_base(tmp_path: Path) -> None:
    """Every row is valid and names a log and a base; each source takes its parameters, with files below the folder."""
    logs, rows = read(tmp_path)
    names = {(row.log, row.name) for row in rows}
    assert len(names) == len(rows)
    assert {row.log for row in rows} == set(logs)
    assert names >= {(row.log, row.base) for row in rows}
    for log in logs.values():
        source_of(Workspace(tmp_path), log)
    given = [log.fetch.table.events for log in logs.values() if log.fetch.source == "table"]
    assert given and all(str(events).startswith(str(tmp_path)) for events in given)
