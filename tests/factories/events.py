"""Raw logs as plain dicts and lists, written as the contract's Parquet files, and random ragged ones.

Random logs have ties in time, users without history or with one event, string and integer ids, and missing values.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from din.base.artifacts import write_json
from tests.factories import documents_of

DAY = 86_400_000_000
START = 19_000 * DAY
FIELDS: dict[str, dict[str, Any]] = {
    "user": {"user_id": "id", "plan": "categorical", "age": {"kind": "numeric", "buckets": 3}},
    "item": {
        "category": "categorical",
        "tags": "multi",
        "price": "numeric",
        "year": {"kind": "numeric", "buckets": 4},
        "embedding": "vector",
    },
    "context": {
        "position": "categorical",
        "hour": {"kind": "numeric", "buckets": 2},
        "marks": "multi",
        "place": "vector",
    },
    "behaviour": {
        "rating": "categorical",
        "watch": "numeric",
        "moods": "multi",
        "rank": {"kind": "numeric", "buckets": 3},
        "feeling": "vector",
    },
}
TYPES = {
    **dict.fromkeys(("tags", "marks", "moods"), pa.list_(pa.string())),
    **dict.fromkeys(("price", "watch", "importance"), pa.float64()),
    **dict.fromkeys(("age", "year", "hour", "rank", "position"), pa.int64()),
    **dict.fromkeys(("plan", "category"), pa.string()),
    "rating": pa.float64(),
    "embedding": pa.list_(pa.float64()),
    "place": pa.list_(pa.float32()),
    "feeling": pa.list_(pa.float64()),
}
_TYPES = {"timestamp": pa.timestamp("us"), "sequence": pa.int64(), "label": pa.int8(), "behaviour": pa.int8()}


@dataclass
class Log:
    """A raw log; empty tables are not written.

    `events` have user_id, item_id, timestamp (µs), sequence, label, behaviour and further columns.
    """

    events: list[dict[str, Any]]
    history: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    users: list[dict[str, Any]] = field(default_factory=list)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    types: dict[str, pa.DataType] = field(default_factory=dict)
    protocol: str = "by_user"
    order: str | None = None
    until: str | None = None
    sampled: float = 1.0

    def write(self, root: Path) -> None:
        days: dict[str, list[dict[str, Any]]] = {}
        for event in self.events:
            day = datetime.fromtimestamp(event["timestamp"] / 1e6, UTC).date().isoformat()
            days.setdefault(day, []).append(event)
        for day, rows in days.items():
            self._table(rows, root / "events" / f"date={day}" / "part-0.parquet")
        for name in ("history", "items", "users"):
            if rows := getattr(self, name):
                self._table(rows, root / f"{name}.parquet")
        declared = {
            "days": sorted(days),
            "fields": self.fields,
            "protocol": self.protocol,
            "order": self.order,
            "until": self.until,
            "sampled": self.sampled,
        }
        write_json(root / "manifest.json", documents_of.raw_manifest(**declared))

    def _table(self, rows: list[dict[str, Any]], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        types = _TYPES | self.types
        columns = {name: pa.array([row[name] for row in rows], types.get(name)) for name in rows[0]}
        pq.write_table(pa.table(columns), path)


def random_log(seed: int, protocol: str = "by_user", users: int = 25, items: int = 12, text_ids: bool = False) -> Log:
    """A log of about five events a user over six days."""
    rng, own = random.Random(seed), random.Random(-1 - seed)
    weights = random.Random(1_000_000 + seed)

    def name(prefix: str, number: int) -> Any:
        return f"{prefix}{number}é" if text_ids else number * 7 - 20

    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.2 else value

    def some(prefix: str) -> Any:
        return maybe([maybe(f"{prefix}{rng.randrange(4)}") for _ in range(rng.randrange(4))])

    def vector(length: int) -> Any:
        numbers = [own.choice([0.0, own.gauss(0, 1), 1e30]) for _ in range(length)]
        odd = [float("nan"), float("inf"), 1e300 if length == 3 else None]
        return own.choice([None, [], *3 * [numbers], [*numbers[1:], own.choice(odd)]])

    def past() -> dict[str, Any]:
        watch = rng.choice([rng.random() * 9, float("nan")])
        return {
            "rating": maybe(rng.choice([1.0, 2.5, float("nan")])),
            "watch": maybe(watch),
            "moods": some("m"),
            "rank": maybe(rng.randrange(6)),
            "feeling": vector(1),
        }

    events: list[dict[str, Any]] = []
    numbers = iter(rng.sample(range(10_000), 10_000))
    for user in range(users):
        moments = [START + rng.randrange(6) * DAY + rng.randrange(4) * DAY // 5 for _ in range(4)]
        for _ in range(rng.choice([1, 1, 2, 3, 5, 9])):
            label = int(rng.random() < 0.6)
            event = {"user_id": name("u", user), "item_id": name("i", int(items * rng.random() ** 2))}
            event |= {"timestamp": rng.choice(moments), "sequence": next(numbers), "label": label}
            event |= {"behaviour": rng.choice([label, 1])}
            context = {"position": maybe(rng.randrange(3)), "hour": maybe(rng.randrange(24)), "marks": some("k")}
            context["place"] = vector(2)
            context["importance"] = weights.choice([0, 0.25, 1, 3.7])
            events.append(event | context | past())
    history = []
    for user in range(0, users + 2, 3):  # the last user may have no event
        for number in range(rng.randrange(4)):
            row = {"user_id": name("u", user), "item_id": name("i", rng.randrange(items + 2))}
            row |= {"timestamp": maybe(START + rng.randrange(3) * DAY // 5), "sequence": number}
            history.append({k: v for k, v in (row | past()).items() if k != "moods"})
    side = [
        {
            "item_id": name("i", item),
            "category": maybe(f"c{item % 4}"),
            "tags": some("t"),
            "price": rng.choice([None, float("nan"), 1e300, 1e6 + item, 1.5 * item]),
            "year": maybe(rng.choice([1990, 2000, 2001, item])),
            "embedding": vector(3),
        }
        for item in range(1, items + 3)
    ]
    profile = [
        {"user_id": name("u", u), "plan": maybe(f"p{u % 3}"), "age": maybe(u % 30)} for u in range(0, users + 1, 2)
    ]
    return Log(events, history, side, profile, FIELDS, TYPES, protocol)


def random_case(protocol: str, order: str, number: int) -> tuple[Log, dict[str, Any]]:
    rng = random.Random(f"{protocol} {order} {78 + number}")  # see `QUICK` in test_featurize_twin.py
    log = random_log(rng.randrange(10_000), protocol, users=rng.randint(20, 40), text_ids=rng.random() < 0.5)
    log.until = rng.choice([None, "2022-01-14"]) if protocol == "temporal" else None
    changes: dict[str, Any] = {
        "order": order,
        "max_history": rng.choice([1, 2, 3, 50]),
        "shards": rng.choice([None, 1, 3]),
        "seed": rng.randrange(10),
        "window_days": rng.choice([None, None, 4, 5]),
        "history_days": rng.choice([None, 0, 1]),
    }
    if protocol != "leave_last_out":
        changes |= {"weight": "importance", "keep_negatives": rng.choice([0.4, 1.0])}
    return log, changes
