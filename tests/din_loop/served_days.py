"""A simulated log as a service makes it: the requests of a client that keeps histories, a server's log, and clicks."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from din.params.fetch import Daily, Simulate
from din_logs.daily_simulation import World

HISTORY = "history.parquet"
ITEMS = "items.parquet"


@dataclass(frozen=True)
class Impression:
    """One item that was shown, with its time in seconds since 1970, and whether it was clicked."""

    user: int
    item: int
    at: float
    click: bool


class Days:
    """The impressions of some simulated days, in the order of time, and what the users did before."""

    def __init__(self, days: int, impressions: int, users: int = 40) -> None:
        world = World(Simulate(users=users, items=60, categories=12, daily=Daily(impressions=impressions)))
        self.impressions: list[Impression] = []
        for day in range(days):
            drawn = world.impressions(day)
            columns = [column.tolist() for column in (drawn.user, drawn.item, drawn.time, drawn.label)]
            rows = zip(*columns, strict=True)
            self.impressions += [Impression(user, item, time / 1e6, click) for user, item, time, click in rows]
        self.history = pa.table(world.history())
        self.items = pa.table(world.items(days - 1))

    def requests(self) -> Iterator[tuple[Impression, dict[str, Any]]]:
        """Yield the request of a sound client for each impression."""
        past: dict[int, list[dict[str, Any]]] = {}
        prior = self.history.sort_by([("user_id", "ascending"), ("timestamp", "ascending"), ("sequence", "ascending")])
        times = prior["timestamp"].cast(pa.int64()).to_pylist()
        for user, item, time in zip(prior["user_id"].to_pylist(), prior["item_id"].to_pylist(), times, strict=True):
            past.setdefault(user, []).append({"item_id": item, "timestamp": time / 1e6})
        for shown in self.impressions:
            history = past.setdefault(shown.user, [])
            user = {"user_id": shown.user}
            yield shown, {"user": user, "history": [*history], "candidates": [shown.item], "time": shown.at}
            if shown.click:
                history.append({"item_id": shown.item, "timestamp": shown.at})

    def write_tables(self, folder: Path) -> None:
        """Write items, history, the clicks half a minute after their impressions, and the log as one table."""
        pq.write_table(self.items, folder / ITEMS)
        pq.write_table(self.history, folder / HISTORY)
        clicks = [(shown.user, shown.item, f"{shown.at + 30:.6f}") for shown in self.impressions if shown.click]
        write_csv(folder / "clicks.csv", ("user_id", "item_id", "timestamp"), clicks)
        events = [(shown.user, shown.item, f"{shown.at:.6f}", int(shown.click)) for shown in self.impressions]
        write_csv(folder / "events.csv", ("user_id", "item_id", "timestamp", "label"), events)


def write_csv(path: Path, names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
