"""A click log for scheduled runs that grows by one CSV file per day, drawn by the simulator."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from din.data.rawlog import RawLog
from din.params.reading import load
from din_logs.simulate import draw
from tests.pipeline.workspace import SMALL, Workspace

FIRST = date(2024, 1, 1)


def table(folder: Path | str) -> dict[str, Any]:
    """Return the values of params.yaml that read the log of a folder."""
    return {
        "fetch.source": "table",
        **{f"fetch.table.{name}": f"{folder}/{name}.csv" for name in ("items", "history")},
        "fetch.table.events": f"{folder}/events-*.csv",
        "fetch.table.timestamp_unit": "us",
        "featurize.protocol": "by_user",
        "featurize.fields": {"item": {"category": "categorical"}},
    }


@cache
def drawn(days: int, users: int) -> RawLog:
    """Draw a log; every worker of a test sees the same one."""
    shipped = load(Path(__file__).parents[2] / "params.yaml").fetch.simulate
    return draw(replace(shipped, users=users, items=300, categories=20, days=days))


class DailyLog:
    """All days of a simulated log; `land` writes one as a file."""

    def __init__(self, folder: Path, days: int, users: int = 800) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        log = drawn(days, users)
        assert log.items and log.history
        self.events = log.events.table
        self._write("items", log.items.table)
        self._write("history", log.history.table)

    def land(self, day: date, copies: int = 1) -> None:
        """Write a day's file; with more than one copy of its rows, it is a defect."""
        of_day = self.events.filter(pc.equal(pc.cast(self.events["timestamp"], pa.date32()), pa.scalar(day)))
        self._write(f"events-{day}", pa.concat_tables([of_day] * copies))

    def _write(self, name: str, rows: pa.Table) -> None:
        at = rows.schema.get_field_index("timestamp")
        if at >= 0:
            rows = rows.set_column(at, "timestamp", pc.cast(rows["timestamp"], pa.int64()))
        kept = [column for column in rows.column_names if column not in ("sequence", "behaviour")]
        pyarrow.csv.write_csv(rows.select(kept), self.folder / f"{name}.csv")

    def repository(self, root: Path, params: Mapping[str, Any] | None = None) -> Workspace:
        """Make a repository of the tracked files, whose params.yaml reads this log and has these values too."""
        return Workspace(
            root,
            {
                **SMALL,
                **table(self.folder),
                "train.learning.epochs": 6,
                "train.learning.learning_rate": 0.003,
                "validate_predictions.calibration": [0.4, 1.4],  # little trained on little
                "gate.calibration": [0.4, 3.0],
                "gate.slice_calibration": [0.3, 4.0],
                "gate.margin": 0.2,  # any sound candidate replaces the champion
                "gate.slice_margin": 0.3,
                "gate.max_prediction_drift": 5.0,  # two models trained on so little data differ in calibration
                **(params or {}),
            },
        )


def days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=i) for i in range(count)]
