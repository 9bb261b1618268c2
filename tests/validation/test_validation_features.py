"""The features suite: each leak, overlap or damage closes its gate."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planting import FEATURES, edit, failed, judge, names, put, seal
from shard_edits import columns, every, replace_column, row_where, shard, shift

from din.params import Params
from validation.features import PHASES

Enter = Callable[..., Params]


def value(path: Path, column: str, row: int, bad: Any) -> Callable[[], None]:
    """Set one bad value."""
    return lambda: put(path, column, row, bad)


def same_time() -> None:
    """Give an impression the time of its newest behaviour."""
    row = row_where("train", length=(1, 7))
    last = columns(shard("train"))["history_end"][row] - 1
    put(shard("train"), "timestamp", row, int(columns(shard("behaviours"))["timestamp"][last]))


def future_training_row() -> None:
    """Add a training impression of the last day, with the history that it would have had."""
    rows, past = columns(shard("train")), columns(shard("behaviours"))
    own_end = np.searchsorted(past["user"], rows["user"], side="right")
    row = int(np.flatnonzero(rows["history_end"] == own_end)[0])
    put(shard("train"), "timestamp", row, int(columns(shard("test"))["timestamp"].max()))


def user_elsewhere() -> None:
    """Give a row without history to a user of another shard."""
    row = row_where("train", length=(0, 0))
    put(shard("train"), "user", row, int(columns(shard("train", 1))["user"][0]))


def vocabulary(field: str) -> Path:
    """Return the path of a field's vocabulary."""
    return FEATURES / "vocab" / f"{field}.parquet"


def retype() -> None:
    """Store labels as another integer type."""
    edit(shard("valid"), lambda t: t.set_column(t.column_names.index("label"), "label", t["label"].cast(pa.int32())))


def truncate() -> None:
    """Cut a table in half."""
    path = FEATURES / "items.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# the planted defect, and the expectations that must fail; all others must hold
DEFECTS: dict[str, tuple[Callable[[], None], set[str]]] = {
    "truncated table": (truncate, {"files_readable", "row_counts"}),
    "context column lost": (lambda: edit(shard("test"), lambda t: t.drop_columns("tab")), {"columns"}),
    "label of another type": (retype, {"columns"}),
    "vocabulary skips an id": (value(vocabulary("category"), "id", 3, 9), {"vocab_category_ids"}),
    "id known on another day": (
        value(vocabulary("tab"), "known_since", 1, date(2024, 1, 1)),
        {"vocab_tab_days"},
    ),
    "vocabulary counts rise": (value(vocabulary("category"), "count", 3, 10**9), {"vocab_category_counts"}),
    "one value has two ids": (
        lambda: put(vocabulary("tab"), "value", 2, pq.read_table(vocabulary("tab"))["value"][1].as_py()),
        {"vocab_tab_values"},
    ),
    "item beyond its table": (value(shard("train"), "item", 0, 10**6), {"item_in_range"}),
    "user beyond its table": (
        lambda: put(shard("train"), "user", row_where("train", length=(0, 0)), 10**6),
        {"user_in_range"},
    ),
    "label 2": (value(shard("train"), "label", 0, 2), {"label_0_or_1"}),
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
    "user in two shards": (user_elsewhere, {"user_in_one_shard"}),
    "training row of a test day": (future_training_row, {"splits_apart"}),
    "context id beyond its table": (value(shard("test"), "tab", 0, 99), {"tab_in_range"}),
    "context infinite": (value(shard("train"), "hour", 0, float("inf")), {"hour_in_range"}),
    "one of several values beyond": (value(FEATURES / "items.parquet", "tags", 5, [1, 99]), {"tags_in_range"}),
    "vector known in part": (value(shard("train"), "place", 0, [1.0, float("nan"), 0.0, 0.0]), {"place_in_range"}),
    "profile beyond its table": (value(FEATURES / "users.parquet", "age", 5, -2), {"age_in_range"}),
    "validation without clicks": (every("valid", "label", 0), {"valid_classes"}),
    "no item known": (
        lambda: replace_column(
            FEATURES / "items.parquet", "item_id", [0] * pq.read_metadata(FEATURES / "items.parquet").num_rows
        ),
        {"unknown_items_rate"},
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_closes_exactly_its_expectation(defect: str, workspace: Enter) -> None:
    """The named expectations fail, all others hold, and each failure shows an example."""
    params = workspace("temporal")
    plant, expected = DEFECTS[defect]
    plant()
    seal(FEATURES)
    found = failed(judge("features", params))
    assert found.keys() == expected
    assert all(entry["sample"] for entry in found.values())


def test_neighbouring_large_ids_are_different_values(workspace: Enter) -> None:
    """Ids beyond 2⁵³, whose neighbours would be equal as floats, keep their vocabulary open."""
    params = workspace("temporal")
    rows = pq.read_metadata(vocabulary("tab")).num_rows
    replace_column(vocabulary("tab"), "value", [None, *(2**62 + number for number in range(1, rows))])
    seal(FEATURES)
    assert not failed(judge("features", params))


def test_every_expectation_has_a_defect(workspace: Enter) -> None:
    """Every expectation needs a planted defect, here or in test_validation_meaning.py."""
    own = {"files_match_manifest", "built_from_this_raw_log", "behaviours_sorted", "negatives_not_own"}
    own |= {
        f"{split}_{what}" for split in ("train", "valid", "test") for what in ("rows", "classes", "mean_history_length")
    }
    params = workspace("temporal")
    own |= names(PHASES, params, "meaning")
    told = own.union(*(expected for _, expected in DEFECTS.values()))
    kinds = ("_in_range", "_ids", "_days", "_counts", "_values")  # one for each field, judged by the same code
    found = {entry["name"] for entry in judge("features", params)["expectations"]}
    assert {name for name in found if not name.endswith(kinds)} <= told
    assert all(any(name.endswith(kind) for name in told) for kind in kinds)
