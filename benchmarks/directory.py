"""Write synthetic rows as a feature directory (din/features/FORMAT.md), without a raw log and featurize.

Each impression has its own history. `train` and `test` have all rows in order, and `valid` has the first ones.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.workload import CATEGORIES, Workload, WorkloadRows
from din.base.artifacts import write_json
from din.base.workspace import FORMAT
from din.features.reader import Features
from din.schema import parse_fields

FIELDS = {"user": {"user_id": "id"}, "item": {"category": "categorical"}}
VALID = 256


def write_directory(root: Path, workload: Workload, rows: WorkloadRows, valid: int = VALID) -> Features:
    """Write the feature directory `root`, with `valid` validation rows, and open it."""
    items = workload.items + 1
    category = rows.category_of.astype(np.int32)
    _write(root / "items.parquet", value=_values(items), item_id=np.arange(items, dtype=np.int32), category=category)
    _write(root / "users.parquet", value=_values(rows.users + 1), user_id=np.arange(rows.users + 1, dtype=np.int32))

    impressions = np.arange(len(rows.item))
    end = np.cumsum(rows.length)
    owner = np.concatenate([impressions, np.repeat(impressions, rows.length)])
    touched = np.concatenate([rows.item, rows.history])
    sizes = {"item_id": items, "category": CATEGORIES + 1, "user_id": rows.users + 1}
    _vocabulary(root, "item_id", sizes, owner, touched)
    _vocabulary(root, "category", sizes, owner, rows.category_of[touched])
    _vocabulary(root, "user_id", sizes, impressions, rows.user)

    shard = root / "shards/00000"
    behaviours = len(rows.history)
    _write(
        shard / "behaviours.parquet",
        user=np.repeat(rows.user, rows.length).astype(np.int32),
        item=rows.history.astype(np.int32),
        timestamp=np.zeros(behaviours, np.int64),
        sequence=np.arange(behaviours),
    )
    columns = {
        "user": rows.user.astype(np.int32),
        "item": rows.item.astype(np.int32),
        "label": rows.label.astype(np.int8),
        "history_start": (end - rows.length).astype(np.int32),
        "history_end": end.astype(np.int32),
        "timestamp": impressions,
        "sequence": impressions,
        "sampled": np.zeros(len(impressions), np.int8),
    }
    counts = {"train": len(impressions), "valid": min(valid, len(impressions)), "test": len(impressions)}
    for split, count in counts.items():
        _write(shard / f"{split}.parquet", **{name: column[:count] for name, column in columns.items()})
    fields = [field.to_json() | {"rows": sizes[field.name]} for field in parse_fields(FIELDS)]
    sums = {"items": items, "users": rows.users + 1, "behaviours": behaviours, "impressions": counts["train"]}
    origin = {"raw": "0" * 64, "params": {}, "protocol": "temporal", "order": "strict", "until": None, "files": {}}
    header = {"format": FORMAT, "fields": fields, "shards": 1, "max_history": workload.max_history}
    header |= {"data": {"window_days": None, "history_days": None}, "first_day": "1970-01-01", "history_from": None}
    header |= {"held_out": [], "rows": counts, "train_until": "1970-01-01T00:00:00+00:00"}
    write_json(root / "manifest.json", origin | header | sums)
    return Features(root)


def _vocabulary(root: Path, name: str, sizes: dict[str, int], impression: np.ndarray, ids: np.ndarray) -> None:
    """Write a vocabulary: the occurrences of each id, and the number of impressions with it (n_j of Eq. 6)."""
    size = sizes[name]
    pairs = np.unique(impression * size + ids) % size
    counts = {"count": np.bincount(ids, minlength=size), "impressions": np.bincount(pairs, minlength=size)}
    since = pa.nulls(size, pa.date32())
    ids = np.arange(size, dtype=np.int32)
    _write(root / f"vocab/{name}.parquet", value=_values(size), id=ids, known_since=since, **counts)


def _values(size: int) -> pa.Array:
    values = np.arange(size)
    return pa.array(values, mask=values == 0)


def _write(path: Path, **columns: np.ndarray | pa.Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
