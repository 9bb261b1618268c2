"""The features suite: each leak, overlap and damage closes its gate. Alone: `pytest tests/validation -k features`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planting import FEATURES, edit, failed, judge, put, seal

from din.artifacts import MANIFEST, read_json
from din.params import Params

Enter = Callable[..., Params]


def shard(name: str, number: int = 0) -> Path:
    """A file of a shard."""
    return FEATURES / "shards" / f"{number:05d}" / f"{name}.parquet"


def columns(path: Path) -> dict[str, np.ndarray]:
    """A file's own columns."""
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names if name not in ("tab", "hour", "watched")}


def replace_column(path: Path, name: str, values: Any) -> None:
    """Another column in place of one."""

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        kind = table.schema.field(at).type
        return table.set_column(at, name, values if isinstance(values, pa.ChunkedArray) else pa.array(values, kind))

    edit(path, change)


def row_where(
    split: str, *, length: tuple[int, int] = (0, 99), oldest: bool | None = None, next_own: bool = False
) -> int:
    """The first row of shard 0 with a history of such a length.

    oldest: it begins (or not) at its user's first behaviour. next_own: another behaviour of its user follows it.
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
    """A history's start or end moved."""

    def plant() -> None:
        row = row_where("train", **where)
        put(shard("train"), column, row, int(columns(shard("train"))[column][row]) + by)

    return plant


def value(path: Path, column: str, row: int, bad: Any) -> Callable[[], None]:
    """One bad value."""
    return lambda: put(path, column, row, bad)


def add_rows(split: str, rows: pa.Table) -> None:
    """More rows of a split, told in the manifest."""
    edit(shard(split), lambda table: pa.concat_tables([table, rows]))
    counts = read_json(FEATURES / MANIFEST)["rows"]
    seal(FEATURES, rows=counts | {split: counts[split] + len(rows)})


def same_time() -> None:
    """An impression at the very time of its newest behaviour."""
    row = row_where("train", length=(1, 7))
    last = columns(shard("train"))["history_end"][row] - 1
    put(shard("train"), "timestamp", row, int(columns(shard("behaviours"))["timestamp"][last]))


def future_training_row() -> None:
    """A training impression of the last day, with the history it would have had."""
    rows, past = columns(shard("train")), columns(shard("behaviours"))
    own_end = np.searchsorted(past["user"], rows["user"], side="right")
    row = int(np.flatnonzero(rows["history_end"] == own_end)[0])
    put(shard("train"), "timestamp", row, int(columns(shard("test"))["timestamp"].max()))


def user_elsewhere() -> None:
    """A row without history given to a user of another shard."""
    row = row_where("train", length=(0, 0))
    put(shard("train"), "user", row, int(columns(shard("train", 1))["user"][0]))


def swapped_behaviours() -> None:
    """Two behaviours of one user in the wrong order."""
    past = columns(shard("behaviours"))
    at = int(np.flatnonzero((past["user"][1:] == past["user"][:-1]) & (np.diff(past["timestamp"]) > 0))[0])
    first, second = (int(past["timestamp"][at + n]) for n in (0, 1))
    put(shard("behaviours"), "timestamp", at, second)
    put(shard("behaviours"), "timestamp", at + 1, first)


def leaking(column: str, values: Callable[[np.ndarray], Any]) -> Callable[[], None]:
    """A context that follows from the label."""

    def plant() -> None:
        for number in range(3):
            path = shard("train", number)
            replace_column(path, column, values(columns(path)["label"]))

    return plant


def noise(label: np.ndarray) -> np.ndarray:
    """Far from 0 for clicks, on both sides, near 0 for others: no threshold tells, the value does."""
    side = np.where(np.arange(len(label)) % 2, 1, -1)
    return np.where(label == 1, side * 2.0, 0.1 * side).astype(np.float32)


def every(split: str, column: str, value: Any) -> Callable[[], None]:
    """One value in all rows of a split."""

    def plant() -> None:
        for number in range(3):
            path = shard(split, number)
            replace_column(path, column, [value] * pq.read_metadata(path).num_rows)

    return plant


def vocabulary(field: str) -> Path:
    """The path of a vocabulary."""
    return FEATURES / "vocab" / f"{field}.parquet"


def retype() -> None:
    """Labels of another integer type."""
    edit(shard("valid"), lambda t: t.set_column(t.column_names.index("label"), "label", t["label"].cast(pa.int32())))


def truncate() -> None:
    """Half of a table."""
    path = FEATURES / "items.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# what is planted, the expectations that must fail (all others must hold)
DEFECTS: dict[str, tuple[Callable[[], None], set[str]]] = {
    "truncated table": (truncate, {"files_readable", "row_counts"}),
    "context column lost": (lambda: edit(shard("test"), lambda t: t.drop_columns("tab")), {"columns"}),
    "label of another type": (retype, {"columns"}),
    "vocabulary skips an id": (value(vocabulary("category"), "id", 3, 9), {"vocab_category_ids"}),
    "vocabulary counts rise": (value(vocabulary("category"), "count", 3, 10**9), {"vocab_category_counts"}),
    "one value has two ids": (
        lambda: put(vocabulary("tab"), "value", 2, pq.read_table(vocabulary("tab"))["value"][1].as_py()),
        {"vocab_tab_values"},
    ),
    "item beyond its table": (value(shard("train"), "item", 0, 10**6), {"item_in_range"}),
    "item negative": (value(shard("behaviours"), "item", 0, -1), {"item_in_range"}),
    "user beyond its table": (
        lambda: put(shard("train"), "user", row_where("train", length=(0, 0)), 10**6),
        {"user_in_range"},
    ),
    "label 2": (value(shard("train"), "label", 0, 2), {"label_0_or_1"}),
    "label null": (value(shard("train"), "label", 0, None), {"label_0_or_1"}),
    "history before its start": (shift("history_start", 1, length=(0, 0)), {"history_within_behaviours"}),
    "history beyond behaviours": (
        lambda: put(shard("train"), "history_end", 0, 10**6),
        {"history_within_behaviours", "history_length"},
    ),
    "history too long": (shift("history_start", -1, length=(8, 8), oldest=False), {"history_length"}),
    "history of another user": (
        shift("history_start", -1, length=(1, 7), oldest=True),
        {"history_of_own_user"},
    ),
    "history sees the future": (
        shift("history_end", 1, length=(0, 7), oldest=True, next_own=True),
        {"history_before_impression"},
    ),
    "history sees its own time": (same_time, {"history_before_impression"}),
    "history lacks the newest": (shift("history_end", -1, length=(2, 7), oldest=True), {"history_complete"}),
    "history lacks the oldest": (shift("history_start", 1, length=(2, 7), oldest=True), {"history_complete"}),
    "history empty for no reason": (shift("history_end", -1, length=(1, 1), oldest=True), {"history_complete"}),
    "user in two shards": (user_elsewhere, {"user_in_one_shard"}),
    "training row of a test day": (future_training_row, {"splits_apart"}),
    "context id beyond its table": (value(shard("test"), "tab", 0, 99), {"tab_in_range"}),
    "context id null": (value(shard("test"), "tab", 0, None), {"tab_in_range"}),
    "context infinite": (value(shard("train"), "hour", 0, float("inf")), {"hour_in_range"}),
    "behaviour field infinite": (value(shard("behaviours"), "watched", 0, float("inf")), {"watched_in_range"}),
    "side field beyond its table": (value(FEATURES / "items.parquet", "category", 5, 99), {"category_in_range"}),
    "one of several values beyond": (value(FEATURES / "items.parquet", "tags", 5, [1, 99]), {"tags_in_range"}),
    "profile beyond its table": (value(FEATURES / "users.parquet", "age", 5, -2), {"age_in_range"}),
    "validation without clicks": (every("valid", "label", 0), {"valid_classes"}),
    "no item known": (
        lambda: replace_column(
            FEATURES / "items.parquet", "item_id", [0] * pq.read_metadata(FEATURES / "items.parquet").num_rows
        ),
        {"unknown_items_rate"},
    ),
    "context is the label": (leaking("tab", lambda label: (1 + label).astype(np.int32)), {"label_leak"}),
    "context betrays the label": (leaking("hour", noise), {"label_leak"}),
    "context is missing unless clicked": (
        leaking("hour", lambda label: np.where(label == 1, 0.5, np.nan).astype(np.float32)),
        {"label_leak"},
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_closes_exactly_its_expectation(defect: str, workspace: Enter) -> None:
    """The named expectations fail, all others hold, and each shows an example."""
    params = workspace("temporal")
    plant, expected = DEFECTS[defect]
    plant()
    seal(FEATURES)
    found = failed(judge("features", params))
    assert found.keys() == expected
    assert all(entry["sample"] for entry in found.values())


def test_every_expectation_has_a_defect(workspace: Enter) -> None:
    """A new expectation needs a planted fault, here or in a test of its own below."""
    own = {"files_match_manifest", "built_from_this_raw_log", "behaviours_sorted", "negatives_not_own"}
    own |= {
        f"{split}_{what}" for split in ("train", "valid", "test") for what in ("rows", "classes", "mean_history_length")
    }
    told = own.union(*(expected for _, expected in DEFECTS.values()))
    kinds = ("_in_range", "_ids", "_counts", "_values")  # one for each field, by the same code
    names = {entry["name"] for entry in judge("features", workspace("temporal"))["expectations"]}
    assert {name for name in names if not name.endswith(kinds)} <= told
    assert all(any(name.endswith(kind) for name in told) for kind in kinds)
