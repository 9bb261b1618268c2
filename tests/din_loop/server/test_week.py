"""A simulated week of the loop: serve, log, click, fetch what was served, retrain, gate, promote, and swap."""

import os
import time
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.in_process import STEPS, run
from din.base.artifacts import read_json
from din.base.workspace import Workspace
from din.params.reading import Params
from din.release.registry.registry import Registry
from din_logs.daily_simulation import FIRST_DAY
from din_loop import served_log
from tests.din_loop.served_days import HISTORY, ITEMS, Days
from tests.din_loop.served_world import running
from tests.factories.run import set_gate
from tests.helpers.settings import changed

BEFORE = 4
"""The days before the server, whose log teaches the first champion. Days are counted from 0."""
RETRAINED = (BEFORE + 4, BEFORE + 7)
"""The days at three o'clock of which the pipeline runs, and learns what was served on the days before."""
PROGRAM = """
import os, sys
from din.cli import main
from din_loop.server.answer_log import AnswerLog
clock = sys.argv.pop(1)
share, key, _, whose = AnswerLog.__init__.__defaults__
AnswerLog.__init__.__defaults__ = (share, key, lambda: os.stat(clock).st_mtime_ns / 1e9, whose)
main()
"""
"""`din` whose log of answers takes the time of a file for the present."""
FIELDS = {"user": {"user_id": "id"}, "item": {"category": "categorical"}}


def moment(day: int, hour: int = 0) -> float:
    """Return a time in seconds since 1970."""
    return (datetime(*FIRST_DAY.timetuple()[:3], tzinfo=UTC) + timedelta(days=day, hours=hour)).timestamp()


def part(days: Days, start: float, end: float) -> Days:
    """Return the impressions from `start` until `end`; clicks before them are part of the prior histories."""
    clicks = [row for row in days.impressions if row.at < start and row.click]
    times = pa.array([round(row.at * 1e6) for row in clicks], pa.int64()).cast(pa.timestamp("us"))
    columns = [[row.user for row in clicks], [row.item for row in clicks], times, range(len(clicks))]
    later = pa.table(dict(zip(("user_id", "item_id", "timestamp", "sequence"), columns, strict=True)))
    result = copy(days)
    result.impressions = [row for row in days.impressions if start <= row.at < end]
    result.history = pa.concat_tables([days.history, later.select(days.history.column_names).cast(days.history.schema)])
    return result


class Week:
    """The server's week in a folder: what the pipeline reads, the registry, and the time."""

    def __init__(self, params: Params, folder: Path) -> None:
        wide = {"margin": 0.2, "max_gain": 0.5, "calibration": (0.5, 2.0), "min_slice_rows": 10**6}
        small = set_gate(params, **wide, max_latency_ms=None)
        self.params = replace(
            small,
            validate_predictions=replace(params.validate_predictions, max_log_loss_over_constant=1.2),
            featurize=replace(params.featurize, fields=FIELDS, test_days=1),
            train=changed(params.train, epochs=4),
            promote=replace(params.promote, registry=str(folder / "registry"), model_name="log"),
        )
        self.folder = folder
        self.registry = Registry(str(folder / "registry"), "log")
        self.clock = folder / "clock"
        self.clock.touch()

    def run(self, names: tuple[str, ...], name: str, until: int, source: str, days: Days) -> Workspace:
        """Run steps of the pipeline on the days until one, which is included, in a workspace; return it."""
        workspace = Workspace(self.folder / name)
        workspace.root.mkdir(exist_ok=True)
        days.write_tables(workspace.root)
        table: dict[str, Any] = {"items": ITEMS, "history": HISTORY}
        fetch = replace(
            self.params.fetch, source="table", table=replace(self.params.fetch.table, events="events.csv", **table)
        )
        if source == "served":
            logged = {"path": str(self.folder / "served"), "clicks": "clicks.csv", "window_hours": 1}
            options = logged | {"int_ids": ("user_id", "item_id"), "table": table}
            fetch = replace(self.params.fetch, source="served", options=options)
        data = replace(self.params.data, until=FIRST_DAY + timedelta(days=until))
        run(names, workspace, replace(self.params, fetch=fetch, data=data), self.folder / "output.txt")
        return workspace

    def set(self, at: float) -> None:
        """Set the server's clock."""
        nanoseconds = round(at * 1e6) * 1000
        os.utime(self.clock, ns=(nanoseconds, nanoseconds))

    def wait_for_champion(self, client: httpx.Client) -> None:
        """Wait until the newest champion answers."""
        champion = self.registry.required_champion().version
        end = time.monotonic() + 60
        while (ready := client.get("/v2/health/ready").json())["version"] != champion:
            assert time.monotonic() < end and ready["refused"] is None, ready
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_week(params: Params, tmp_path: Path) -> None:
    """The server follows two new champions by itself, and its log gives the AUC of the same log read as a table."""
    every = tuple(STEPS)
    week = Week(params, tmp_path)
    days = Days(days=BEFORE + 8, impressions=700, users=200)
    week.run(every, "first", BEFORE - 1, "table", part(days, 0, moment(BEFORE)))
    log = tmp_path / "served"
    options = ("--log", str(log), "--refresh", "0.1")
    start = end = moment(BEFORE)
    with running(week.registry, tmp_path, *options, program=("-c", PROGRAM, str(week.clock))) as (client, _):
        for day in RETRAINED:
            end = moment(day, hour=3)
            answered = set()
            for shown, request in part(days, start, end).requests():
                week.set(shown.at)
                answered.add(client.post("/v1/score", json=request).raise_for_status().json()["version"])
            assert answered == {week.registry.required_champion().version}
            week.set(end)
            asked = len(part(days, moment(BEFORE), end).impressions)
            while sum(pq.read_metadata(path).num_rows for path in served_log.files(log)) < asked:
                time.sleep(0.1)
            week.run(every, "week", day - 1, "served", part(days, moment(BEFORE), end))
            week.wait_for_champion(client)
            start = end
    assert len({record.version for record in week.registry.history()}) == 1 + len(RETRAINED)
    steps = every[: every.index("evaluate") + 1]
    week.run(steps, "truth", RETRAINED[-1] - 1, "table", part(days, moment(BEFORE), end))
    auc, expected_auc = (read_json(Workspace(tmp_path / name).evaluation)["test"]["auc"] for name in ("week", "truth"))
    assert expected_auc > 0.6 and abs(auc - expected_auc) < 1e-6
