"""A simulated log that arrives as one folder per day, without the true click probabilities.

    source/events/date=2024-01-14/part-0.parquet    the day's impressions
    source/items.parquet                            the items that appeared up to the newest day
    source/history.parquet                          behaviours before the first day

A day's files are written before the run of that day. If a defect is planted, the run finds the defective files, and the
next day's run finds corrected ones, as if an operator had requested a new delivery.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.defects.delivery import DAY, Delivery, Frame
from benchmarks.defects.plants import Plant
from benchmarks.logs import MONTH, read_log
from din.base.artifacts import atomic_path
from din.params.reading import Params
from din.schema import ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din_logs.daily_simulation import FIRST_DAY, World

_SECOND_US = 1_000_000


@dataclass(frozen=True)
class SimulatedSource:
    """The log of a simulated world in a folder. Days are numbered from 0; see `World`."""

    folder: Path
    world: World

    def deliver(self, day: int, plant: Plant | None = None) -> None:
        """Write all files that have arrived by a day.

        Args:
            day: the newest day.
            plant: changes the rows of that day and the day before, and the items. Earlier days are sound. Rows dated on
                any other day arrive with the newest one.
        """
        for earlier in range(day - 1):
            # The day before yesterday may have had a defect at the last delivery, so write it again.
            if earlier == day - 2 or not self._events(earlier).exists():
                self.write(earlier)
        before, events, items = self.events(day - 1), self.events(day), pa.table(self.world.items(day))
        if plant:
            rows = pa.concat_tables([before, events]).to_pandas()
            planted = plant(Delivery(events=rows, items=items.to_pandas(), users=None, history=None))
            late = planted.events[TIMESTAMP] // DAY != before[TIMESTAMP][0].as_py() // DAY
            before, events = (_table(planted.events[rows], events.schema) for rows in (~late, late))
            items = _table(planted.items, items.schema)
        _write(before, self._events(day - 1))
        if events.num_rows:
            _write(events, self._events(day))
        else:
            self._events(day).unlink(missing_ok=True)
        _write(items, self.folder / "items.parquet")
        if not (self.folder / "history.parquet").exists():
            history = self.world.history()
            del history[SEQUENCE]
            seconds = history[TIMESTAMP].cast(pa.int64()).to_numpy() // _SECOND_US
            _write(pa.table(history | {TIMESTAMP: seconds}), self.folder / "history.parquet")

    def write(self, day: int) -> None:
        """Write the impressions of a day, without a defect."""
        _write(self.events(day), self._events(day))

    def events(self, day: int) -> pa.Table:
        """Draw the impressions of a day."""
        drawn = self.world.impressions(day)
        return pa.table(
            {
                USER_ID: drawn.user,
                ITEM_ID: drawn.item,
                TIMESTAMP: drawn.time // _SECOND_US,
                LABEL: drawn.label.astype(np.int8),
            }
        )

    @property
    def tables(self) -> dict[str, str]:
        """The paths of the files, as values for `fetch.table`."""
        return {
            "events": str(self.folder / "events/date={date}/part-*.parquet"),
            "items": str(self.folder / "items.parquet"),
            "history": str(self.folder / "history.parquet"),
        }

    def _events(self, day: int) -> Path:
        return self.folder / f"events/date={date_of(day)}/part-0.parquet"


def simulated_log(
    folder: Path, users: int, impressions: int, seed: int = 0, **world: int
) -> tuple[SimulatedSource, Params]:
    """Return the source of the simulated log of `docs/examples/month.yaml`, and the parameters that read its files.

    Args:
        impressions: the impressions of a usual day.
        seed: the offset of the seeds of the log and of training.
        world: other values for `fetch.simulate`, e.g. for `items`.
    """
    params = read_log(MONTH)
    simulate = params.fetch.simulate
    assert simulate.daily is not None
    daily = replace(simulate.daily, impressions=impressions)
    source = SimulatedSource(
        folder, World(replace(simulate, users=users, seed=simulate.seed + seed, daily=daily, **world))
    )
    table = replace(params.fetch.table, **source.tables, timestamp_unit="s", daily=True)
    fields = {"item": {"category": "categorical"}}
    learning = replace(params.train.learning, seed=params.train.learning.seed + seed)
    read = replace(
        params,
        fetch=replace(params.fetch, source="table", table=table),
        featurize=replace(params.featurize, fields=fields, protocol="temporal", test_days=1),
        train=replace(params.train, learning=learning),
    )
    return source, read


def date_of(day: int) -> date:
    """Return the date of a day of the log."""
    return FIRST_DAY + timedelta(days=day)


def _table(rows: Frame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(rows, schema, preserve_index=False).replace_schema_metadata()


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
