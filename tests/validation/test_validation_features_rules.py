"""The features suite: orders, overlaps, files and limits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planting
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planting import FEATURES, HERE, edit, failed, judge, limits, put, seal
from shard_edits import (
    add_rows,
    columns,
    leaking,
    row_where,
    shard,
    shift,
    swapped_behaviours,
)

from din.artifacts import MANIFEST, hash_tree, read_json
from din.featurize.build import featurize
from din.params import Params

Enter = Callable[..., Params]


def test_the_sample_shows_the_row(workspace: Enter) -> None:
    """The sample shows file, row number and values, so that the row can be found."""
    params = workspace("temporal")
    row = row_where("train", length=(0, 7), oldest=True, next_own=True)
    shift("history_end", 1, length=(0, 7), oldest=True, next_own=True)()
    seal(FEATURES)
    (sample,) = failed(judge("features", params))["history_before_impression"]["sample"]
    rows = {name: int(values[row]) for name, values in columns(shard("train")).items()}
    assert sample == {"file": str(shard("train")), "row": row} | rows


def own_negative() -> None:
    """Let a sampled negative be one of its user's behaviours."""
    train, past = columns(shard("train")), columns(shard("behaviours"))
    row = int(np.flatnonzero(train["sampled"] == 1)[0])
    put(shard("train"), "item", row, int(past["item"][past["user"] == train["user"][row]][0]))


def judged_row_in_training() -> None:
    """Train on the test row of a user who has training rows."""
    train, test = columns(shard("train")), columns(shard("test"))
    row = int(np.flatnonzero(np.isin(test["user"], train["user"]) & (test["sampled"] == 0))[0])
    add_rows("train", pq.read_table(shard("test")).slice(row, 1))


def own_row_in_history() -> None:
    """Let a history reach the row of its impression."""
    rows, past = columns(shard("train")), columns(shard("behaviours"))
    after = np.append(past["sequence"], -1)[rows["history_end"]] == rows["sequence"]
    row = int(np.flatnonzero(after & (rows["history_end"] - rows["history_start"] < 8))[0])
    put(shard("train"), "history_end", row, int(rows["history_end"][row]) + 1)


def another_log() -> None:
    """Change the raw log after featurize."""
    put(planting.day(0), "label", 0, 0)
    put(planting.day(0), "label", 1, 1)


def training_row_again(split: str) -> Callable[[], None]:
    """Add a training row to another split."""
    return lambda: add_rows(split, pq.read_table(shard("train")).slice(0, 1))


# the protocol, the planted defect, and the expectations that must fail; all others must hold
DEFECTS: dict[str, tuple[str, Callable[[], None], set[str]]] = {
    "a user in two splits": ("by_user", training_row_again("test"), {"splits_apart"}),
    "a training row after the test row": ("leave_last_out", judged_row_in_training, {"splits_apart"}),
    "a validating user who trains": ("leave_last_out", training_row_again("valid"), {"splits_apart"}),
    "a negative that the user owns": ("leave_last_out", own_negative, {"negatives_not_own"}),
    "a history reaches its own row": ("leave_last_out", own_row_in_history, {"history_before_impression"}),
    "features of another raw log": ("temporal", another_log, {"built_from_this_raw_log"}),
    "a split that lost a row": (
        "temporal",
        lambda: edit(shard("test"), lambda table: table.slice(1)),
        {"row_counts"},
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_closes_exactly_its_expectation(defect: str, workspace: Enter) -> None:
    """The named expectations fail, all others hold, and each failure shows an example."""
    protocol, plant, expected = DEFECTS[defect]
    params = workspace(protocol)
    plant()
    seal(FEATURES)
    found = failed(judge("features", params))
    assert found.keys() == expected
    assert all(entry["sample"] for entry in found.values())


def test_behaviours_out_of_order(workspace: Enter) -> None:
    """Behaviours out of order are found, although rules that rely on their order may fail as well."""
    params = workspace("temporal")
    swapped_behaviours()
    seal(FEATURES)
    assert "behaviours_sorted" in failed(judge("features", params))


def test_prior_history_precedes_events_of_its_time(workspace: Enter) -> None:
    """Under `sequence`, prior history may have the time of a user's events and larger sequence numbers."""
    params = workspace("leave_last_out")
    first = {user: time for path in map(planting.day, range(5, -1, -1)) for user, time in last_to_first(path)}

    def at_first_event(table: pa.Table) -> pa.Table:
        times = [first[user] for user in table["user_id"].to_pylist()]
        table = table.set_column(2, "timestamp", pa.array(times, pa.timestamp("us")))
        return table.set_column(3, "sequence", pa.array(range(10**6, 10**6 + len(table)), pa.int64()))

    edit(planting.RAW / "history.parquet", at_first_event)
    seal(planting.RAW)
    featurize(HERE, params)
    report = judge("features", params)
    assert not failed(report)
    path = planting.RAW / "history.parquet"
    edit(path, lambda table: table.slice(0, 0))  # without prior history, the same rows are events of the future
    seal(planting.RAW)
    seal(FEATURES, raw=hash_tree(planting.RAW))
    assert {"behaviours_sorted", "history_before_impression"} & failed(judge("features", params)).keys()


def last_to_first(path: Path) -> list[tuple[int, Any]]:
    """Return (user, time) of a day's events, newest first."""
    table = pq.read_table(path)
    return list(zip(table["user_id"].to_pylist(), table["timestamp"].to_pylist(), strict=True))[::-1]


def test_a_field_may_have_the_name_of_a_file(workspace: Enter) -> None:
    """The vocabulary of a field `valid` or `items` is not counted as the split or the table."""
    params = workspace("temporal")
    names = {"tab": "valid", "hour": "items"}
    for path in planting.RAW.glob("events/*/*.parquet"):
        edit(path, lambda table: table.rename_columns([names.get(name, name) for name in table.column_names]))
    seal(planting.RAW)
    fields = {**(params.featurize.fields or {}), "context": {"valid": "categorical", "items": "numeric"}}
    params = replace(params, featurize=replace(params.featurize, fields=fields))
    featurize(HERE, params)
    assert judge("features", params)["verdict"] == "open"


def test_an_edited_file(workspace: Enter) -> None:
    """A file that differs from the manifest's hash is found."""
    params = workspace("temporal")
    put(shard("train"), "label", 0, 1 - int(columns(shard("train"))["label"][0]))
    assert failed(judge("features", params)).keys() == {"files_match_manifest"}


def test_too_few_rows_prove_no_leak(workspace: Enter) -> None:
    """With few clicks, fields tell the label by chance, so leaks are not judged."""
    params = limits(workspace("temporal"), "validate_features", min_rows=1)
    leaking("tab", lambda label: (1 + label).astype(np.int32))()
    few = 12
    counts = read_json(FEATURES / MANIFEST)["rows"]
    for number in range(3):
        edit(shard("train", number), lambda table: table.slice(0, few))
    seal(FEATURES, rows=counts | {"train": 3 * few})
    report = judge("features", params)
    assert not failed(report)
    (entry,) = (entry for entry in report["expectations"] if entry["name"] == "label_leak")
    assert entry["observed"] == 0 and entry["column"] is None
