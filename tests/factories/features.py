"""Small random feature directories with every field kind, written without the stage featurize.

Rows have no dates, unless `spread` gives some to a split, or `temporal` to all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from din.base.artifacts import read_json, write_json
from din.features.reader import Features
from din.schema import UNKNOWN_TIME, Field, Group, parse_fields
from tests.factories import documents_of

HOUR_US = 3_600_000_000

FIELDS = {
    "user": {"user_id": "id", "age": {"kind": "numeric", "buckets": 4}},
    "item": {"category": "categorical", "tags": "multi", "price": "numeric"},
    "context": {"tab": "categorical", "hour": "numeric"},
    "behaviour": {"rating": "categorical", "watched": "numeric"},
}
VECTORS = FIELDS | {
    "item": FIELDS["item"] | {"embedding": "vector"},
    "context": FIELDS["context"] | {"place": "vector"},
}
LENGTH = 3
PLAIN = {"user": {"user_id": "id"}, "item": {"category": "categorical"}, "context": {"tab": "categorical"}}
SPARSE_ROWS = {"item_id": 31, "category": 6, "tags": 8, "user_id": 21, "age": 5, "tab": 4, "rating": 6}


def with_lengths(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Give vector fields a length, which otherwise a log determines."""
    return tuple(replace(field, length=LENGTH) if field.kind == "vector" else field for field in fields)


def rows_of(field: Field, known: int) -> int:
    """Return the rows of a field's embedding table, given how many values or edges training knows."""
    if field.kind == "vector":
        return 1 + (field.length or 0)
    if not field.form.holds_ids:
        return 2
    return 1 + known + (field.buckets is not None)  # one bucket more than edges


def write_features(
    root: Path,
    seed: int = 0,
    users: int = 24,
    impressions: int = 12,
    shards: int = 2,
    declared: Mapping[str, Any] = FIELDS,
) -> Features:
    """Write a random feature directory as in din/features/FORMAT.md, with ragged histories, some of them empty.

    A label depends on whether the history holds the candidate's category, so that there is something to learn. The
    declared fields are some of `VECTORS`, with category and user_id.
    """
    random = np.random.default_rng(seed)
    fields = with_lengths(parse_fields(declared))
    rows = {field.name: SPARSE_ROWS.get(field.name, rows_of(field, 1)) for field in fields}
    items = rows["item_id"] + 4  # the last ones have no id of their own

    def column(name: str, n: int) -> pa.Array:
        field = next(field for field in fields if field.name == name)
        if field.kind == "vector":
            vectors = random.normal(size=(n, LENGTH)).astype(np.float32)
            vectors[random.random(n) < 0.2] = np.nan
            return pa.array(list(vectors))
        if not field.form.holds_ids:
            return pa.array(np.where(random.random(n) < 0.1, np.nan, random.normal(size=n)).astype(np.float32))
        if name == "tags":
            return pa.array(
                [random.integers(0, rows[name], random.integers(1, 4)).tolist() for _ in range(n)], pa.list_(pa.int32())
            )
        return pa.array(random.integers(0, rows[name], n).astype(np.int32))

    def columns(group: Group, n: int) -> dict[str, pa.Array]:
        names = [field.name for field in fields if field.group is group]
        return {name: column(name, n) for name in names if name not in ("item_id", "user_id")}

    def write(path: Path, columns: dict[str, pa.Array | np.ndarray]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)

    own = np.where(np.arange(items) < rows["item_id"], np.arange(items), 0).astype(np.int32)
    side = columns(Group.ITEM, items)
    write(root / "items.parquet", {"value": pa.array([None, *range(100, 99 + items)]), "item_id": own, **side})
    user_ids = np.minimum(np.arange(users + 1), rows["user_id"] - 1).astype(np.int32)
    profile = {"user_id": user_ids, **columns(Group.USER, users + 1)}
    write(root / "users.parquet", {"value": pa.array([None, *(f"u{i}" for i in range(users))]), **profile})
    for field in fields:
        n = rows[field.name]
        counts = np.sort(random.integers(1, 50, n))[::-1].astype(np.int64)
        vocabulary = {"value": pa.array([None, *range(1, n)]), "id": np.arange(n, dtype=np.int32)}
        figures = {"count": counts, "impressions": counts, "known_since": pa.nulls(n, pa.date32())}
        write(root / "vocab" / f"{field.name}.parquet", vocabulary | figures)

    total = dict.fromkeys(("train", "valid", "test"), 0)
    categories, behaviours = side["category"].to_numpy(), 0
    for shard in range(shards):
        own_users = np.arange(1 + shard, users + 1, shards)
        lengths = random.integers(0, 9, len(own_users))
        ends = np.cumsum(lengths)
        history = random.integers(0, items, ends[-1]).astype(np.int32)
        folder = root / "shards" / f"{shard:05d}"
        feedback = columns(Group.BEHAVIOUR, len(history))
        write(
            folder / "behaviours.parquet",
            {
                "user": np.repeat(own_users, lengths).astype(np.int32),
                "item": history,
                "timestamp": np.where(history % 7, np.arange(-len(history), 0) * HOUR_US, UNKNOWN_TIME),
                **feedback,
            },
        )
        behaviours += len(history)
        for split, count in (("train", impressions), ("valid", 4), ("test", 4)):
            who = np.repeat(np.arange(len(own_users)), count)
            n = len(who)
            stop = random.integers(ends[who] - lengths[who], ends[who], endpoint=True)
            start = random.integers(ends[who] - lengths[who], stop, endpoint=True)
            candidate = random.integers(0, items, n).astype(np.int32)
            met = [categories[c] in categories[history[a:b]] for c, a, b in zip(candidate, start, stop, strict=True)]
            label = random.random(n) < np.where(met, 0.85, 0.15)
            write(
                folder / f"{split}.parquet",
                {
                    "user": own_users[who].astype(np.int32),
                    "item": candidate,
                    "label": label.astype(np.int8),
                    "history_start": start.astype(np.int32),
                    "history_end": stop.astype(np.int32),
                    "timestamp": np.arange(n, dtype=np.int64),
                    "sequence": np.arange(n, dtype=np.int64) + shard * 10_000,
                    "sampled": np.zeros(n, np.int8),
                    **columns(Group.CONTEXT, n),
                },
            )
            total[split] += n
    records = [documents_of.field_record(field, rows[field.name]) for field in fields]
    counts = {"items": items, "users": users + 1, "behaviours": behaviours, "impressions": total["train"]}
    manifest = documents_of.features_manifest(fields=records, shards=shards, rows=total, **counts)
    write_json(root / "manifest.json", manifest)
    return Features(root)


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
        pq.write_table(with_times(rows, times), path)
    return Features(features.root)


def rewrite(features: Features, split: str, change: Callable[[pa.Table], pa.Table]) -> Features:
    for number in range(features.manifest.shards):
        path = features.root / "shards" / f"{number:05d}" / f"{split}.parquet"
        pq.write_table(change(pq.read_table(path)), path)
    return Features(features.root)


def labelled(rows: pa.Table, label: ArrayLike) -> pa.Table:
    """Give rows other labels, or all the same one."""
    labels = np.broadcast_to(label, len(rows)).astype(np.int8)
    return rows.set_column(rows.schema.get_field_index("label"), "label", pa.array(labels))


def flip_labels(features: Features, split: str, first_day: int) -> None:
    def flipped(rows: pa.Table) -> pa.Table:
        label = rows["label"].to_numpy()
        return labelled(rows, np.where(rows["timestamp"].to_numpy() // DAY_US >= first_day, 1 - label, label))

    rewrite(features, split, flipped)


def temporal(root: Path, users: int = 40) -> Features:
    """Write random features that are split by time, with the days above."""
    features = write_features(root, users=users)
    random = np.random.default_rng(7)
    for split, days in (("train", TRAIN_DAYS), ("valid", VALID_DAYS), ("test", TEST_DAYS)):
        for number in range(features.manifest.shards):
            path = features.root / "shards" / f"{number:05d}" / f"{split}.parquet"
            rows = pq.read_table(path)
            times = random.choice(days, len(rows)) * DAY_US + random.integers(0, DAY_US, len(rows))
            pq.write_table(with_times(rows, times), path)
    last = max(int(features.timestamps(number, "train").max()) for number in range(2))
    manifest = read_json(root / "manifest.json")
    manifest |= {"protocol": "temporal", "train_until": moment(last).isoformat()}
    write_json(root / "manifest.json", manifest)
    return Features(root)


def moment(time: int) -> datetime:
    """Return a time in µs as a datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)


def day_of(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)


def with_times(rows: pa.Table, times: np.ndarray) -> pa.Table:
    """Give rows other times in µs."""
    place = rows.schema.get_field_index("timestamp")
    return rows.set_column(place, "timestamp", pa.array(times, pa.int64()))
