"""The features suite: each leak, overlap and damage closes its gate. Alone: `pytest tests/validation -k features`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planting
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planting import FEATURES, edit, failed, judge, limits, put, seal

from din.artifacts import MANIFEST, hash_tree, read_json
from din.featurize.build import featurize
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


def test_the_sample_shows_the_row(workspace: Enter) -> None:
    """File, row number and values, so that the row can be looked at."""
    params = workspace("temporal")
    row = row_where("train", length=(0, 7), oldest=True, next_own=True)
    shift("history_end", 1, length=(0, 7), oldest=True, next_own=True)()
    seal(FEATURES)
    (sample,) = failed(judge("features", params))["history_before_impression"]["sample"]
    rows = {name: int(values[row]) for name, values in columns(shard("train")).items()}
    assert sample == {"file": str(shard("train")), "row": row} | rows


def test_behaviours_out_of_order(workspace: Enter) -> None:
    """What else relies on their order may fail as well."""
    params = workspace("temporal")
    swapped_behaviours()
    seal(FEATURES)
    assert "behaviours_sorted" in failed(judge("features", params))


def test_a_user_in_two_splits(workspace: Enter) -> None:
    """by_user: a test row of a training user."""
    params = workspace("by_user")
    add_rows("test", pq.read_table(shard("train")).slice(0, 1))
    found = failed(judge("features", params))
    assert found.keys() == {"splits_apart"}
    assert found["splits_apart"]["observed"] == 1


def test_a_training_row_after_the_test_row(workspace: Enter) -> None:
    """leave_last_out: the test row itself among the training rows, of a user who trains."""
    params = workspace("leave_last_out")
    train, test = columns(shard("train")), columns(shard("test"))
    row = int(np.flatnonzero(np.isin(test["user"], train["user"]) & (test["sampled"] == 0))[0])
    add_rows("train", pq.read_table(shard("test")).slice(row, 1))
    found = failed(judge("features", params))
    assert found.keys() == {"splits_apart"}
    assert found["splits_apart"]["sample"][0]["sequence"] == test["sequence"][row]


def test_a_validating_user_who_trains(workspace: Enter) -> None:
    """leave_last_out: validation users are held out of training."""
    params = workspace("leave_last_out")
    add_rows("valid", pq.read_table(shard("train")).slice(0, 1))
    assert failed(judge("features", params)).keys() == {"splits_apart"}


def test_a_negative_that_the_user_owns(workspace: Enter) -> None:
    """leave_last_out: a sampled negative never is one of the user's behaviours."""
    params = workspace("leave_last_out")
    train, past = columns(shard("train")), columns(shard("behaviours"))
    row = int(np.flatnonzero(train["sampled"] == 1)[0])
    own = past["item"][past["user"] == train["user"][row]]
    put(shard("train"), "item", row, int(own[0]))
    seal(FEATURES)
    found = failed(judge("features", params))
    assert found.keys() == {"negatives_not_own"}
    assert found["negatives_not_own"]["sample"][0]["item"] == own[0]


def test_equal_times_are_in_order_under_sequence(workspace: Enter) -> None:
    """leave_last_out: all events at one time are fine, one history that reaches its own row is not."""
    params = workspace("leave_last_out")
    assert read_json(FEATURES / MANIFEST)["order"] == "sequence"
    rows, past = columns(shard("train")), columns(shard("behaviours"))
    after = np.append(past["sequence"], -1)[rows["history_end"]] == rows["sequence"]
    row = int(np.flatnonzero(after & (rows["history_end"] - rows["history_start"] < 8))[0])
    put(shard("train"), "history_end", row, int(rows["history_end"][row]) + 1)
    seal(FEATURES)
    assert failed(judge("features", params)).keys() == {"history_before_impression"}


def test_prior_history_precedes_events_of_its_time(workspace: Enter) -> None:
    """Prior history at the time of a user's events, with larger sequence numbers, is no leak under `sequence`."""
    params = workspace("leave_last_out")
    first = {user: time for path in map(planting.day, range(5, -1, -1)) for user, time in last_to_first(path)}

    def at_first_event(table: pa.Table) -> pa.Table:
        times = [first[user] for user in table["user_id"].to_pylist()]
        table = table.set_column(2, "timestamp", pa.array(times, pa.timestamp("us")))
        return table.set_column(3, "sequence", pa.array(range(10**6, 10**6 + len(table)), pa.int64()))

    edit(planting.RAW / "history.parquet", at_first_event)
    seal(planting.RAW)
    featurize(params)
    report = judge("features", params)
    assert not failed(report)
    path = planting.RAW / "history.parquet"
    edit(path, lambda table: table.slice(0, 0))  # without it, the same rows are events of the future
    seal(planting.RAW)
    seal(FEATURES, raw=hash_tree(planting.RAW))
    assert {"behaviours_sorted", "history_before_impression"} & failed(judge("features", params)).keys()


def last_to_first(path: Path) -> list[tuple[int, Any]]:
    """(user, time) of a day's events, newest first."""
    table = pq.read_table(path)
    return list(zip(table["user_id"].to_pylist(), table["timestamp"].to_pylist(), strict=True))[::-1]


def test_features_of_another_raw_log(workspace: Enter) -> None:
    """The raw log changed after featurize."""
    params = workspace("temporal")
    put(planting.day(0), "label", 0, 0)
    put(planting.day(0), "label", 1, 1)
    assert failed(judge("features", params)).keys() == {"built_from_this_raw_log"}


def test_counts_of_the_manifest(workspace: Enter) -> None:
    """A split that lost rows is found even where the hashes were made to fit."""
    params = workspace("temporal")
    edit(shard("test"), lambda table: table.slice(1))
    seal(FEATURES)
    found = failed(judge("features", params))
    assert found.keys() == {"row_counts"}
    assert found["row_counts"]["sample"][0]["of"] == "shards/*/test.parquet"


def test_a_field_may_have_the_name_of_a_file(workspace: Enter) -> None:
    """The vocabulary of a field `valid` or `items` is not counted as the split or the table."""
    params = workspace("temporal")
    names = {"tab": "valid", "hour": "items"}
    for path in planting.RAW.glob("events/*/*.parquet"):
        edit(path, lambda table: table.rename_columns([names.get(name, name) for name in table.column_names]))
    seal(planting.RAW)
    fields = {**(params.featurize.fields or {}), "context": {"valid": "categorical", "items": "numeric"}}
    params = replace(params, featurize=replace(params.featurize, fields=fields))
    featurize(params)
    assert judge("features", params)["verdict"] == "open"


def test_an_edited_file(workspace: Enter) -> None:
    """Hashes are compared with the manifest's."""
    params = workspace("temporal")
    put(shard("train"), "label", 0, 1 - int(columns(shard("train"))["label"][0]))
    assert failed(judge("features", params)).keys() == {"files_match_manifest"}


def test_limits_are_those_of_params(workspace: Enter) -> None:
    """More rows, or known users, may be asked for."""
    params = workspace("by_user")
    asked = limits(params, "validate_features", min_rows=10**6, max_unknown_users=0.5)
    found = failed(judge("features", asked))
    assert found.keys() == {"train_rows", "valid_rows", "test_rows", "unknown_users_rate"}
    assert found["unknown_users_rate"]["observed"] == 1


def test_no_histories_is_a_warning(workspace: Enter) -> None:
    """A log without behaviours can be learned from, but not by interest."""
    params = workspace("temporal")
    for number in range(3):
        edit(shard("behaviours", number), lambda table: table.slice(0, 0))
        for split in ("train", "valid", "test"):
            for column in ("history_start", "history_end"):
                replace_column(shard(split, number), column, [0] * pq.read_metadata(shard(split, number)).num_rows)
    seal(FEATURES, behaviours=0)
    report = judge("features", params)
    assert not failed(report)
    assert failed(report, "warning").keys() == {f"{split}_mean_history_length" for split in ("train", "valid", "test")}


def test_too_few_rows_prove_no_leak(workspace: Enter) -> None:
    """With a handful of clicks chance tells the label too, so a leak isn't judged."""
    params = limits(workspace("temporal"), "validate_features", min_rows=1)
    leaking("tab", lambda label: (1 + label).astype(np.int32))()
    few = 12
    counts = read_json(FEATURES / MANIFEST)["rows"]
    for number in range(3):
        edit(shard("train", number), lambda table: table.slice(0, few))
    seal(FEATURES, rows=counts | {"train": 3 * few})
    report = judge("features", params)
    assert not failed(report)
    assert "label_leak" not in {entry["name"] for entry in report["expectations"]}
