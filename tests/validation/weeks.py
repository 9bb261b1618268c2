"""A sound daily log of 16 days, small enough to write fast, and large enough for each day to be judged.

Users and items differ in CTR, hours have a profile, weekends are busier, and the log grows. Three field kinds are read,
and `session` is only kept. Tests change the frames and write them as `fetch` would.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from documents_of import raw_manifest
from planting import RAW, seal

from din.artifacts import MANIFEST, write_json

DAYS = 16
FIRST = np.datetime64("2024-03-04", "s")  # a Monday
DAY = np.timedelta64(1, "D")
LAST = str((FIRST + (DAYS - 1) * DAY).astype("datetime64[D]"))
USERS, ITEMS, ROWS = 400, 150, 900
FIELDS = {
    "user": {"age": "numeric"},
    "item": {"category": "categorical"},
    "context": {"tab": "categorical", "price": "numeric"},
}


@dataclass
class Weeks:
    """The tables of a log, to be changed and written."""

    events: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    history: pd.DataFrame
    protocol: str = "temporal"
    daily: bool = True

    @property
    def last(self) -> pd.Series:
        """Mark the events of the last day."""
        return self.events["timestamp"] >= FIRST + (DAYS - 1) * DAY

    def day(self, number: int) -> pd.DataFrame:
        """Mark the events of one day."""
        since = FIRST + number * DAY
        return self.events[(self.events["timestamp"] >= since) & (self.events["timestamp"] < since + DAY)].copy()

    def add(self, rows: pd.DataFrame) -> None:
        """Append events under new sequence numbers."""
        self.events = pd.concat([self.events, rows], ignore_index=True)
        self.events["sequence"] = np.arange(len(self.events))

    def map_ids(self, column: str, change: str) -> None:
        """Turn one column of ids into text in every table; `change` is a format, e.g. `{}` or `item_{}`."""
        for name in ("events", "items", "users", "history"):
            frame = getattr(self, name)
            if column in frame:
                frame[column] = frame[column].map(change.format)

    def write(self) -> None:
        """Write `data/raw` below the current directory."""
        days = self.events["timestamp"].astype("datetime64[s]").dt.strftime("%Y-%m-%d")
        for day, rows in self.events.groupby(days):
            _write(rows, RAW / "events" / f"date={day}" / "part-0.parquet")
        for name in ("items", "users", "history"):
            _write(getattr(self, name), RAW / f"{name}.parquet")
        found = {"protocol": self.protocol, "fields": FIELDS, "daily": self.daily, "days": sorted(set(days))}
        write_json(RAW / MANIFEST, raw_manifest(rows=len(self.events), **found))
        seal(RAW)


def sound(seed: int = 0, rows: int = ROWS) -> Weeks:
    """Draw the log."""
    random = np.random.default_rng(seed)
    hours = np.array([4, 2, 1, 1, 1, 2, 4, 7, 9, 9, 8, 9, 11, 9, 8, 8, 9, 11, 14, 17, 19, 18, 13, 8])
    activity = random.lognormal(0, 0.7, USERS)
    taste, appeal = random.normal(0, 0.8, USERS), random.normal(0, 0.8, ITEMS)
    days = []
    for number in range(DAYS):
        weekend = 1.4 if number % 7 >= 5 else 1.0
        count = random.poisson(rows * weekend * 1.02**number)
        user, item = random.choice(USERS, count, p=activity / activity.sum()), random.integers(0, ITEMS, count)
        seconds = 3600 * random.choice(24, count, p=hours / hours.sum()) + random.integers(0, 3600, count)
        probability = 1 / (1 + np.exp(1.0 - taste[user] - appeal[item]))
        days.append(
            pd.DataFrame(
                {
                    "user_id": user + 1,
                    "item_id": item + 1,
                    "timestamp": FIRST + number * DAY + np.sort(seconds).astype("timedelta64[s]"),
                    "label": random.random(count) < probability,
                    "tab": random.choice(["home", "search", "feed"], count, p=[0.5, 0.3, 0.2]),
                    "price": random.lognormal(3, 1, count),
                    "session": random.integers(0, 2**40, count),
                }
            )
        )
    events = pd.concat(days, ignore_index=True)
    events["label"] = events["label"].astype("int8")
    events["behaviour"] = events["label"]
    events["sequence"] = np.arange(len(events))
    size = 5 * USERS
    before = (random.integers(1, 30 * 86_400, size)).astype("timedelta64[s]")
    return Weeks(
        events=events,
        items=pd.DataFrame({"item_id": np.arange(ITEMS) + 1, "category": random.integers(0, 9, ITEMS).astype(str)}),
        users=pd.DataFrame({"user_id": np.arange(USERS) + 1, "age": random.integers(18, 80, USERS)}),
        history=pd.DataFrame(
            {
                "user_id": np.repeat(np.arange(USERS) + 1, 5),
                "item_id": random.integers(0, ITEMS, size) + 1,
                "timestamp": FIRST - before,
                "sequence": np.tile(np.arange(5), USERS),
            }
        ),
    )


def _write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    at = {name: pa.timestamp("us") for name in table.column_names if name == "timestamp"}
    at |= {name: pa.int8() for name in table.column_names if name in ("label", "behaviour")}
    at |= {name: pa.int64() for name in table.column_names if name == "sequence"}
    schema = pa.schema([(name, at.get(name, _plain(table.schema.field(name).type))) for name in table.column_names])
    pq.write_table(table.cast(schema), path)


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.string() if kind == pa.large_string() else kind
