"""Changes to the feature shards of a sound workspace: values, columns, histories, further rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from planting import FEATURES, edit, put, seal

from din.artifacts import MANIFEST, read_json

SHARDS = 3


def shard(name: str, number: int = 0) -> Path:
    """Return the path of a shard's file."""
    return FEATURES / "shards" / f"{number:05d}" / f"{name}.parquet"


def columns(path: Path) -> dict[str, np.ndarray]:
    """Return a file's own columns."""
    table = pq.read_table(path)
    fields = ("tab", "hour", "watched", "place")
    return {name: table[name].to_numpy() for name in table.column_names if name not in fields}


def replace_column(path: Path, name: str, values: Any) -> None:
    """Replace a column."""

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        kind = table.schema.field(at).type
        return table.set_column(at, name, values if isinstance(values, pa.ChunkedArray) else pa.array(values, kind))

    edit(path, change)


def row_where(
    split: str, *, length: tuple[int, int] = (0, 99), oldest: bool | None = None, next_own: bool = False
) -> int:
    """Return the first row of shard 0 whose history has this length.

    `oldest`: the history begins, or does not, at its user's first behaviour. `next_own`: another behaviour of the user
    follows the history.
    """
    rows, past = columns(shard(split)), columns(shard("behaviours"))
    start, end, user = rows["history_start"], rows["history_end"], rows["user"]
    fits = (end - start >= length[0]) & (end - start <= length[1])
    if oldest is not None:
        fits &= (start == np.searchsorted(past["user"], user)) == oldest
    if next_own:
        fits &= np.append(past["user"], -1)[end] == user
    return int(np.flatnonzero(fits)[0])


def shift(column: str, by: int, **where: Any) -> Callable[[], None]:
    """Move a history's start or end."""

    def plant() -> None:
        row = row_where("train", **where)
        put(shard("train"), column, row, int(columns(shard("train"))[column][row]) + by)

    return plant


def add_rows(split: str, rows: pa.Table) -> None:
    """Add rows to a split and to the manifest's counts."""
    edit(shard(split), lambda table: pa.concat_tables([table, rows]))
    counts = read_json(FEATURES / MANIFEST)["rows"]
    seal(FEATURES, rows=counts | {split: counts[split] + len(rows)})


def swapped_behaviours() -> None:
    """Swap two behaviours of one user."""
    past = columns(shard("behaviours"))
    at = int(np.flatnonzero((past["user"][1:] == past["user"][:-1]) & (np.diff(past["timestamp"]) > 0))[0])
    first, second = (int(past["timestamp"][at + n]) for n in (0, 1))
    put(shard("behaviours"), "timestamp", at, second)
    put(shard("behaviours"), "timestamp", at + 1, first)


def leaking(column: str, values: Callable[[np.ndarray], Any], *splits: str) -> Callable[[], None]:
    """Add a context that follows from the label, in the named splits."""

    def plant() -> None:
        for split in splits or ("train",):
            for number in range(SHARDS):
                path = shard(split, number)
                replace_column(path, column, values(columns(path)["label"]))

    return plant


def every(split: str, column: str, value: Any) -> Callable[[], None]:
    """Set one value in all rows of a split."""

    def plant() -> None:
        for number in range(SHARDS):
            path = shard(split, number)
            replace_column(path, column, [value] * pq.read_metadata(path).num_rows)

    return plant
