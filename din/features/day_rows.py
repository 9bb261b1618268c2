"""The days of a split: which rows of each shard belong to a day (UTC), in the order of their times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from din.features.reader import Features
from din.schema import DAY_US, EPOCH, SplitName


def microseconds(time: datetime) -> int:
    """Return a time in µs since 1970, the unit of all time columns."""
    return (time - EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class DayRows:
    """The rows of one day.

    Attributes:
        split: the split that holds them.
        positions: for each shard, the positions of its rows by time, int64. Equal times keep the order of the file.
        last: the time of the last row.
    """

    split: SplitName
    day: date
    positions: list[NDArray[np.int64]]
    last: datetime

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.positions)

    def where(self, kept: Sequence[NDArray[np.bool_]]) -> Self:
        """Return the rows that are kept. `last` remains the time of the day's last row.

        Args:
            kept: for each shard, whether to keep each row of the split, [rows of the file].
        """
        positions = [rows[mask[rows]] for rows, mask in zip(self.positions, kept, strict=True)]
        return replace(self, positions=positions)


def days_of(features: Features, split: SplitName, after: datetime | None = None) -> list[DayRows]:
    """Return the days on which a split has rows, in order. This reads the times of all its rows.

    Args:
        after: leave out the rows until this time, inclusive.
    """
    seen = microseconds(after) if after else np.iinfo(np.int64).min
    times = [features.timestamps(number, split) for number in range(features.manifest.shards)]
    later = [np.flatnonzero(shard_times > seen) for shard_times in times]
    orders = [
        rows[np.argsort(shard_times[rows], kind="stable")] for shard_times, rows in zip(times, later, strict=True)
    ]
    days = [shard_times[order] // DAY_US for shard_times, order in zip(times, orders, strict=True)]
    day_rows = []
    for day in np.unique(np.concatenate(days)):
        positions = [
            order[np.searchsorted(shard_days, day, "left") : np.searchsorted(shard_days, day, "right")]
            for order, shard_days in zip(orders, days, strict=True)
        ]
        last = max(int(shard_times[rows[-1]]) for shard_times, rows in zip(times, positions, strict=True) if len(rows))
        moment = EPOCH + timedelta(microseconds=last)
        day_rows.append(DayRows(split, moment.date(), positions, moment))
    return day_rows


def in_order_of_files(days: Sequence[DayRows]) -> list[NDArray[np.int64]]:
    """Return the positions of the rows of `days`, at least one day, for each shard in ascending order."""
    return [np.sort(np.concatenate(parts)) for parts in zip(*(day.positions for day in days), strict=True)]
