"""The features suite on files, rows, histories, splits and weights: each defect closes its gate."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import MANIFEST, hash_tree, read_json
from din.featurize.build import featurize
from din.params.reading import Params
from din.schema import DAY_US
from tests.validation.planting import (
    FEATURES,
    HERE,
    ITEMS,
    RAW,
    USERS,
    Plant,
    columns,
    edit,
    events,
    failed,
    fill,
    judge,
    leaking,
    limits,
    names,
    put,
    seal,
    shard,
    shards,
)
from validation.features import PHASES

Enter = Callable[..., Params]
TRAIN, TEST, BEHAVIOURS = shard("train"), shard("test"), shard("behaviours")
CATEGORY, TAB = FEATURES / "vocab" / "category.parquet", FEATURES / "vocab" / "tab.parquet"
COUNTING: dict[str, Any] = {"weight": "worth", "keep_negatives": 0.5}
COUNTED = {"weights_of_the_log", "negatives_kept", "held_out_rows_whole", "negatives_told"}


def value(path: Path, column: str, row: int, bad: Any) -> Plant:
    return lambda: put(path, column, row, bad)


def row_where(*, length: tuple[int, int] = (0, 99), oldest: bool | None = None, next_own: bool = False) -> int:
    """Return the first training row of shard 0 whose history has this length.

    `oldest`: the history begins, or does not, at its user's first behaviour. `next_own`: another behaviour of the user
    follows the history.
    """
    rows, past = columns(TRAIN), columns(BEHAVIOURS)
    start, end, user = rows["history_start"], rows["history_end"], rows["user"]
    fits = (end - start >= length[0]) & (end - start <= length[1])
    if oldest is not None:
        fits &= (start == np.searchsorted(past["user"], user)) == oldest
    if next_own:
        fits &= np.append(past["user"], -1)[end] == user
    return int(np.flatnonzero(fits)[0])


def shift(column: str, by: int, **where: Any) -> Plant:
    """Move a history's start or end."""

    def plant() -> None:
        row = row_where(**where)
        put(TRAIN, column, row, int(columns(TRAIN)[column][row]) + by)

    return plant


def same_time() -> None:
    """Give an impression the time of its newest behaviour."""
    row = row_where(length=(1, 7))
    last = columns(TRAIN)["history_end"][row] - 1
    put(TRAIN, "timestamp", row, int(columns(BEHAVIOURS)["timestamp"][last]))


def future_training_row() -> None:
    """Add a training impression of the last day, with the history that it would have had."""
    rows, past = columns(TRAIN), columns(BEHAVIOURS)
    own_end = np.searchsorted(past["user"], rows["user"], side="right")
    row = int(np.flatnonzero(rows["history_end"] == own_end)[0])
    put(TRAIN, "timestamp", row, int(columns(TEST)["timestamp"].max()))


def truncate() -> None:
    ITEMS.write_bytes(ITEMS.read_bytes()[: ITEMS.stat().st_size // 2])


def without_clicks() -> None:
    for path in shards("valid"):
        fill(path, "label", 0)


def add_rows(split: str, rows: pa.Table) -> None:
    """Add rows to a split and to the manifest's counts."""
    edit(shard(split), lambda table: pa.concat_tables([table, rows]))
    counts = read_json(FEATURES / MANIFEST)["rows"]
    seal(FEATURES, rows=counts | {split: counts[split] + len(rows)})


def training_row_again(split: str) -> Plant:
    return lambda: add_rows(split, pq.read_table(TRAIN).slice(0, 1))


def own_negative() -> None:
    """Let a sampled negative be one of its user's behaviours."""
    train, past = columns(TRAIN), columns(BEHAVIOURS)
    row = int(np.flatnonzero(train["sampled"] == 1)[0])
    put(TRAIN, "item", row, int(past["item"][past["user"] == train["user"][row]][0]))


def judged_row_in_training() -> None:
    """Train on the test row of a user who has training rows."""
    test = columns(TEST)
    row = int(np.flatnonzero(np.isin(test["user"], columns(TRAIN)["user"]) & (test["sampled"] == 0))[0])
    add_rows("train", pq.read_table(TEST).slice(row, 1))


def own_row_in_history() -> None:
    """Let a history reach the row of its impression."""
    rows, past = columns(TRAIN), columns(BEHAVIOURS)
    after = np.append(past["sequence"], -1)[rows["history_end"]] == rows["sequence"]
    row = int(np.flatnonzero(after & (rows["history_end"] - rows["history_start"] < 8))[0])
    put(TRAIN, "history_end", row, int(rows["history_end"][row]) + 1)


def own_day_in_history() -> None:
    """Let a history reach a behaviour that is earlier than its impression, but of the same day."""
    rows, past = columns(TRAIN), columns(BEHAVIOURS)
    end, time = rows["history_end"], rows["timestamp"]
    next_time, next_user = (np.append(past[name], -1)[end] for name in ("timestamp", "user"))
    earlier = (next_user == rows["user"]) & (next_time >= time // DAY_US * DAY_US) & (next_time < time)
    row = int(np.flatnonzero(earlier & (end - rows["history_start"] < 8))[0])
    put(TRAIN, "history_end", row, int(end[row]) + 1)


def without(split: str, label: int) -> Plant:
    """Take the first row with a label out of a split of shard 0, and out of the manifest's counts."""

    def plant() -> None:
        row = int(np.flatnonzero(columns(shard(split))["label"] == label)[0])
        edit(shard(split), lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]))
        counts = read_json(FEATURES / MANIFEST)["rows"]
        fewer = counts | {split: counts[split] - 1}
        seal(FEATURES, rows=fewer, impressions=fewer["train"])

    return plant


# for each workspace: the planted defect, and the expectations that must fail; all others must hold
DEFECTS: dict[str, dict[str, tuple[Plant, set[str]]]] = {
    "temporal": {
        "truncated table": (truncate, {"files_readable", "row_counts"}),
        "context column lost": (lambda: edit(TEST, lambda t: t.drop_columns("tab")), {"columns"}),
        "label of another type": (
            lambda: fill(TEST, "label", pq.read_table(TEST)["label"].cast(pa.int32())),
            {"columns"},
        ),
        "the raw log changed": (lambda: (RAW / "more.txt").write_text("x"), {"built_from_this_raw_log"}),
        "item beyond its table": (value(TRAIN, "item", 0, 10**6), {"item_in_range"}),
        "a split that lost a row": (lambda: edit(TEST, lambda table: table.slice(1)), {"row_counts"}),
        "vocabulary skips an id": (value(CATEGORY, "id", 3, 9), {"vocabulary_ids"}),
        "id known on another day": (value(TAB, "known_since", 1, date(2024, 1, 1)), {"vocabulary_days"}),
        "vocabulary counts rise": (value(CATEGORY, "count", 3, 10**9), {"vocabulary_counts"}),
        "one value has two ids": (
            lambda: put(TAB, "value", 2, pq.read_table(TAB)["value"][1].as_py()),
            {"vocabulary_values"},
        ),
        "user beyond its table": (
            lambda: put(TRAIN, "user", row_where(length=(0, 0)), 10**6),
            {"user_in_range"},
        ),
        "impression without a time": (value(TRAIN, "timestamp", 0, None), {"integers_not_null"}),
        "impression without its mark": (value(TEST, "sampled", 3, None), {"integers_not_null"}),
        "behaviour without a number": (value(BEHAVIOURS, "sequence", 0, None), {"integers_not_null"}),
        "label 2": (value(TRAIN, "label", 0, 2), {"label_0_or_1"}),
        "history before its start": (shift("history_start", 1, length=(0, 0)), {"history_within_behaviours"}),
        "history beyond behaviours": (
            value(TRAIN, "history_end", 0, 10**6),
            {"history_within_behaviours", "history_length"},
        ),
        "history too long": (shift("history_start", -1, length=(8, 8), oldest=False), {"history_length"}),
        "history of another user": (shift("history_start", -1, length=(1, 7), oldest=True), {"history_of_own_user"}),
        "history sees its own time": (same_time, {"history_before_impression"}),
        "history lacks the newest": (shift("history_end", -1, length=(2, 7), oldest=True), {"history_complete"}),
        "user in two shards": (
            lambda: put(TRAIN, "user", row_where(length=(0, 0)), int(columns(shard("train", 1))["user"][0])),
            {"user_in_one_shard"},
        ),
        "training row of a test day": (future_training_row, {"splits_apart"}),
        "context id beyond its table": (value(TEST, "tab", 0, 99), {"fields_in_range"}),
        "context infinite": (value(TRAIN, "hour", 0, float("inf")), {"fields_in_range"}),
        "one of several values beyond": (value(ITEMS, "tags", 5, [1, 99]), {"fields_in_range"}),
        "vector known in part": (value(TRAIN, "place", 0, [1.0, float("nan"), 0.0, 0.0]), {"fields_in_range"}),
        "profile beyond its table": (value(USERS, "age", 5, -2), {"fields_in_range"}),
        "validation without clicks": (without_clicks, {"split_classes"}),
        "no item known": (lambda: fill(ITEMS, "item_id", 0), {"unknown_items_rate"}),
    },
    "by_user": {"a user in two splits": (training_row_again("test"), {"splits_apart"})},
    "leave_last_out": {
        "a training row after the test row": (judged_row_in_training, {"splits_apart"}),
        "a validating user who trains": (training_row_again("valid"), {"splits_apart"}),
        "a negative that the user owns": (own_negative, {"negatives_not_own"}),
        "a history reaches its own row": (own_row_in_history, {"history_before_impression"}),
    },
    "temporal with weights": {
        "weights of the rows before": (
            lambda: fill(TRAIN, "weight", np.roll(columns(TRAIN)["weight"], 1)),
            {"weights_of_the_log"},
        ),
        "a manifest without negatives": (lambda: seal(FEATURES, negatives=None), {"negatives_told"}),
        "weights lost": (lambda: edit(shard("valid"), lambda table: table.drop_columns("weight")), {"columns"}),
        "a click less in training": (without("train", 1), {"negatives_kept"}),
        "a negative less in training": (without("train", 0), {"negatives_kept"}),
        "a negative less in test": (without("test", 0), {"held_out_rows_whole"}),
    },
    "temporal with daily": {"a behaviour of the same day": (own_day_in_history, {"history_before_impression"})},
    "by_user with weights": {"a negative less of a held-out user": (without("test", 0), {"held_out_rows_whole"})},
}


def entered(workspace: Enter, kind: str) -> Params:
    protocol, _, more = kind.partition(" with ")
    return workspace(protocol, **{"": {}, "weights": COUNTING, "daily": {"order": "daily"}}[more])


@pytest.mark.parametrize(("kind", "defect"), [(kind, defect) for kind, own in DEFECTS.items() for defect in own])
def test_each_defect_closes_exactly_its_expectation(kind: str, defect: str, workspace: Enter) -> None:
    """The named expectations fail, all others hold, and each failure shows an example."""
    params = entered(workspace, kind)
    plant, expected = DEFECTS[kind][defect]
    plant()
    seal(FEATURES)
    found = failed(judge("features", params))
    assert found.keys() == expected
    assert all(entry["sample"] for entry in found.values())


def test_every_expectation_has_a_defect(workspace: Enter) -> None:
    """Every expectation needs a planted defect, here, in test_validation_meaning.py or test_validation_raw.py."""
    failing = {"behaviours_sorted", "files_match_manifest", "split_rows"}
    params = workspace()
    failing |= names(PHASES, params, "meaning")
    failing |= {name for own in DEFECTS.values() for _, expected in own.values() for name in expected}
    assert {entry["name"] for entry in judge("features", params)["expectations"]} <= failing


@pytest.mark.parametrize("kind", ["temporal with daily", "temporal with weights", "by_user with weights"])
def test_the_log_is_recounted_only_if_rows_count_differently(kind: str, workspace: Enter) -> None:
    """With weights or missing negatives, four more expectations are judged, and hold."""
    report = judge("features", entered(workspace, kind))
    assert not failed(report)
    judged = {entry["name"] for entry in report["expectations"]} & COUNTED
    assert judged == (COUNTED if "weights" in kind else set())


def test_the_sample_shows_the_row(workspace: Enter) -> None:
    """The sample shows file, row number and values, with the log's own ids, so that the row can be found."""
    params = workspace()
    row = row_where(length=(0, 7), oldest=True, next_own=True)
    shift("history_end", 1, length=(0, 7), oldest=True, next_own=True)()
    seal(FEATURES)
    ((name, entry),) = failed(judge("features", params)).items()
    (sample,) = entry["sample"]
    assert name == "history_before_impression"
    expected = {name: int(own[row]) for name, own in columns(TRAIN).items()}
    for name in ("user", "item"):
        ids = pq.read_table(FEATURES / f"{name}s.parquet")["value"]
        expected[f"{name}_id"] = ids[expected.pop(name)].as_py()
    time = str(np.datetime64(expected.pop("timestamp"), "us")).replace("T", " ")
    assert sample == {"file": str(TRAIN), "row": row, "time": time} | expected


def test_neighbouring_large_ids_are_different_values(workspace: Enter) -> None:
    """Ids beyond 2⁵³, whose neighbours would be equal as floats, keep their vocabulary open."""
    params = workspace()
    fill(TAB, "value", [None, *(2**62 + number for number in range(1, pq.read_metadata(TAB).num_rows))])
    seal(FEATURES)
    assert not failed(judge("features", params))


def test_behaviours_out_of_order(workspace: Enter) -> None:
    """Behaviours out of order are found, although rules that rely on their order may fail as well."""
    params = workspace()
    past = columns(BEHAVIOURS)
    times = past["timestamp"].copy()
    at = int(np.flatnonzero((past["user"][1:] == past["user"][:-1]) & (np.diff(times) > 0))[0])
    times[[at, at + 1]] = times[[at + 1, at]]
    fill(BEHAVIOURS, "timestamp", times)
    seal(FEATURES)
    assert "behaviours_sorted" in failed(judge("features", params))


def test_prior_history_precedes_events_of_its_time(workspace: Enter) -> None:
    """Under `sequence`, prior history may have the time of its user's events, or time and number of another's event."""
    params = workspace("leave_last_out")
    shown = pa.concat_tables(map(pq.read_table, events())).sort_by([("timestamp", "descending")])
    first = dict(zip(shown["user_id"].to_pylist(), shown["timestamp"].to_pylist(), strict=True))
    history = RAW / "history.parquet"
    users = pq.read_table(history)["user_id"].to_pylist()
    fill(history, "timestamp", [first[user] for user in users])
    fill(history, "sequence", range(10**6, 10**6 + len(users)))
    newest = shown.filter(pc.equal(shown["label"], 1)).slice(0, 1).to_pylist()[0]
    row = next(row for row, user in enumerate(users) if user != newest["user_id"])
    for column in ("timestamp", "sequence"):
        put(history, column, row, newest[column])
    seal(RAW)
    featurize(HERE, params)
    assert not failed(judge("features", params))
    edit(history, lambda table: table.slice(0, 0))  # without prior history, the same rows are events of the future
    seal(RAW)
    seal(FEATURES, raw=hash_tree(RAW))
    assert {"behaviours_sorted", "history_before_impression"} & failed(judge("features", params)).keys()


def test_too_few_rows_prove_no_leak(workspace: Enter) -> None:
    """With few clicks, fields tell the label by chance, so leaks are not judged."""
    params = limits(workspace(), "validate_features", min_rows=1)
    leaking("tab", lambda label: (1 + label).astype(np.int32))()
    few = 12
    for path in shards("train"):
        edit(path, lambda table: table.slice(0, few))
    seal(FEATURES, rows=read_json(FEATURES / MANIFEST)["rows"] | {"train": few * len(shards("train"))})
    report = judge("features", params)
    assert not failed(report)
    (entry,) = (entry for entry in report["expectations"] if entry["name"] == "label_leak")
    assert entry["observed"] == 0 and entry["column"] is None
