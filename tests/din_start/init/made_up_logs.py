"""Logs of four shapes, with users who click what they are interested in: the same events in each."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din.base.workspace import Workspace
from din_start.init.look import Look, look

HEADER = "user,item,ts,click"
MONDAY = 1_714_953_600  # 2024-05-06 00:00 UTC
DAY = 86_400


def events(rows: int = 6000, users: int = 200, days: int = 12, ctr: float = 0.3, seed: int = 7) -> list[dict[str, Any]]:
    """Return impressions in the order of time; a user clicks more often in two of ten categories."""
    draw = np.random.default_rng(seed)
    user = draw.integers(users, size=rows)
    item = draw.integers(150, size=rows)
    time = MONDAY + np.sort(draw.integers(days * DAY, size=rows))
    likes = draw.integers(10, size=(users, 2))
    fits = (likes[user] == (item % 10)[:, None]).any(axis=1)
    place = draw.integers(3, size=rows)
    quality = draw.normal(scale=0.4, size=150)
    odds = np.log(ctr / (1 - ctr)) - 0.5 + 1.6 * fits + quality[item] + 0.7 * (place - 1)
    click = draw.random(rows) < 1 / (1 + np.exp(-odds))
    price = 1 + item * 7.35 % 90
    return [
        {
            "user": int(user[row]),
            "item": int(item[row]),
            "time": int(time[row]),
            "category": int(item[row] % 10),
            "price": round(float(price[row]), 2),
            "place": int(place[row]),
            "dwell": int(click[row]) * int(draw.integers(5, 90)),
            "click": int(click[row]),
        }
        for row in range(rows)
    ]


def german_shop(folder: Path, log: Iterable[dict[str, Any]]) -> str:
    """Write semicolons, German headers, dates and numbers, and umlauts of Windows."""
    header = ["Kundennr", "Artikelnummer", "Zeitpunkt", "Warengruppe", "Preis", "Gerät", "Verweildauer", "Gekauft"]
    groups = ["Möbel", "Bücher", "Töpfe", "Hüte", "Äpfel", "Öl", "Uhren", "Schuhe", "Spiele", "Käse"]
    rows = [
        [
            f"K{row['user']:05}", f"A-{row['item']}", f"{_utc(row):%d.%m.%Y %H:%M:%S}", groups[row["category"]],
            f"{row['price']:.2f}".replace(".", ","), ["Rechner", "Tablet", "Telefon"][row["place"]], row["dwell"],
            "ja" if row["click"] else "nein",
        ]
        for row in log
    ]  # fmt: skip
    return _csv(folder / "bestellungen.csv", [header, *rows], ";", "cp1252")


def reviews(folder: Path, log: Iterable[dict[str, Any]]) -> str:
    """Write JSON-lines of ratings with text, in which there are no impressions."""
    lines = [
        {
            "reviewerID": f"U{row['user']}",
            "asin": f"B{row['item']:06}",
            "overall": 5.0 if row["click"] else 1.0 + row["place"],
            "reviewText": f"text {at} of a review",
            "unixReviewTime": row["time"],
            "categories": [f"c{row['category']}", "all"],
        }
        for at, row in enumerate(log)
    ]
    (folder / "reviews.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "reviews.jsonl"


def ratings(folder: Path, log: Iterable[dict[str, Any]]) -> str:
    """Write tabs without a header: user, item, rating, seconds."""
    rows = [[row["user"], row["item"], 5 if row["click"] else 1 + row["place"], row["time"]] for row in log]
    return _csv(folder / "u.txt", rows, "\t", "utf-8")


def videos(folder: Path, log: Iterable[dict[str, Any]]) -> str:
    """Write Parquet with times of a time type, several answers and a column of the day."""
    log = list(log)
    times = pa.array([row["time"] for row in log], pa.timestamp("s", "UTC"))
    columns = {
        "visitorId": [row["user"] for row in log],
        "videoId": [row["item"] for row in log],
        "event_time": times,
        "day": [f"{_utc(row):%Y%m%d}" for row in log],
        "is_click": [row["click"] for row in log],
        "is_like": [int(row["dwell"] > 60) for row in log],
        "play_time_ms": [row["dwell"] * 1000 for row in log],
        "tab": [row["place"] for row in log],
        "author_id": [row["category"] for row in log],
    }
    pq.write_table(pa.table(columns), folder / "videos.parquet")
    return "videos.parquet"


SHAPES: dict[str, Callable[[Path, Iterable[dict[str, Any]]], str]] = {
    shape.__name__: shape for shape in (german_shop, reviews, ratings, videos)
}


def _csv(path: Path, rows: Sequence[Sequence[Any]], delimiter: str, encoding: str) -> str:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path.name


def _utc(row: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(row["time"], UTC)


if __name__ == "__main__":
    german_shop(Path(), events(rows=20_000, users=500, seed=1))  # seed 7's last days teach nothing: a borderline gate


def looks(folder: Path, **tables: str) -> dict[str, Look]:
    """Return the first rows of tables by their names."""
    return {table: look(Workspace(folder), paths, f"--{table}") for table, paths in tables.items()}


def write(folder: Path, header: str, rows: Iterable[str], name: str = "log.csv") -> str:
    """Write a CSV, and return its name."""
    (folder / name).write_text("\n".join([header, *rows]))
    return name
