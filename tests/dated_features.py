"""Random features whose rows have times: some days of a split, or a whole temporal split."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from random_features import write_features

from din.artifacts import read_json, write_json
from din.features.reader import Features

DAY_US = 86_400_000_000
DAYS = (19_000, 19_001, 19_004)
"""Days since 1970 of most rows: two days in a row, and one after a gap."""
LONELY = 19_006
"""A day with a single row."""


TRAIN_DAYS = (18_990, 18_991, 18_992)
VALID_DAYS = (18_993,)
TEST_DAYS = (18_994, 18_995)


def spread(features: Features, split: str, days: Sequence[int] = DAYS, lonely: int | None = LONELY) -> Features:
    """Give the rows of a split times on some days. One shard has no row on the last of `days`."""
    random = np.random.default_rng(5)
    for number in range(features.manifest.shards):
        path = features.root / "shards" / f"{number:05d}" / f"{split}.parquet"
        rows = pq.read_table(path)
        own_days = days if number == 0 else days[:-1]
        times = random.choice(own_days, len(rows)) * DAY_US + random.integers(0, 1000, len(rows))  # with some ties
        if number == 0 and lonely:
            times[3] = lonely * DAY_US
        pq.write_table(_with_times(rows, times), path)
    return Features(features.root)


def flip_labels(features: Features, split: str, first_day: int) -> None:
    """Exchange clicks and their absence in all rows from a day on."""
    for number in range(features.manifest.shards):
        path = features.root / "shards" / f"{number:05d}" / f"{split}.parquet"
        rows = pq.read_table(path)
        late = rows["timestamp"].to_numpy() // DAY_US >= first_day
        labels = np.where(late, 1 - rows["label"].to_numpy(), rows["label"].to_numpy()).astype(np.int8)
        pq.write_table(rows.set_column(rows.schema.get_field_index("label"), "label", pa.array(labels)), path)


def temporal(root: Path, users: int = 40) -> Features:
    """Write random features that are split by time, with the days above."""
    features = write_features(root, users=users)
    random = np.random.default_rng(7)
    for split, days in (("train", TRAIN_DAYS), ("valid", VALID_DAYS), ("test", TEST_DAYS)):
        for number in range(features.manifest.shards):
            path = features.root / "shards" / f"{number:05d}" / f"{split}.parquet"
            rows = pq.read_table(path)
            times = random.choice(days, len(rows)) * DAY_US + random.integers(0, DAY_US, len(rows))
            pq.write_table(_with_times(rows, times), path)
    last = max(int(features.timestamps(number, "train").max()) for number in range(2))
    manifest = read_json(root / "manifest.json")
    manifest |= {"protocol": "temporal", "train_until": moment(last).isoformat()}
    write_json(root / "manifest.json", manifest)
    return Features(root)


def moment(time: int) -> datetime:
    """Return a time in µs as a datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)


def day_of(number: int) -> date:
    """Return the day with a number counted from 1970."""
    return date(1970, 1, 1) + timedelta(days=number)


def _with_times(rows: pa.Table, times: np.ndarray) -> pa.Table:
    place = rows.schema.get_field_index("timestamp")
    return rows.set_column(place, "timestamp", pa.array(times, pa.int64()))
