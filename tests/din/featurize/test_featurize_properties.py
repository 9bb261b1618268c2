"""Properties of featurize for any log: no leak, nothing learned outside training, equal bytes for equal input."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from din.base import cores
from din.base.artifacts import hash_files
from din.features.packing import TableLayout
from din.features.reader import Features
from din.kinds import Column
from tests.din.featurize.featurize_files import Built
from tests.factories.events import DAY, START, Log, random_log

FEW: dict[str, dict[str, Any]] = {
    "user": {"user_id": "id"},
    "item": {"category": "categorical", "price": "numeric"},
    "context": {"position": "categorical", "hour": {"kind": "numeric", "buckets": 2}, "marks": "multi"},
    "behaviour": {"rating": "categorical", "watch": "numeric"},
}
"""Some of each kind that learns something. Each field takes a tenth of a second or more."""


@pytest.mark.parametrize("order", ["strict", "sequence", "daily"])
def test_nothing_at_or_after_an_impression_changes_its_history(build: Callable[..., Built], order: str) -> None:
    """Deleting, shuffling and changing the rows that a history must not see leaves the history as it was."""
    log = random_log(0, users=40)
    log.fields = {}
    before = {row["sequence"]: row["history"] for row in build(log, order=order).impressions()}
    behaved = {(row["user_id"], row["timestamp"]) for row in log.events if row["behaviour"]}
    later = sorted(log.events, key=lambda row: row["timestamp"])[len(log.events) // 2 :]
    days = [(row["user_id"], row["timestamp"] // DAY * DAY) for row in later]
    event = next(row for row, day in zip(later, days, strict=True) if day[1] < row["timestamp"] and day in behaved)

    def sees(row: dict[str, Any]) -> bool:
        if order == "strict":
            return (row["timestamp"] or 0) < event["timestamp"]
        if order == "daily":
            return (row["timestamp"] or 0) < event["timestamp"] // DAY * DAY
        keys = [((r["timestamp"] or 0), "label" in r, r["sequence"]) for r in (row, event)]
        return keys[0] < keys[1]

    changed = _shaken(log, sees, keep=event)
    after = {row["sequence"]: row["history"] for row in build(changed, order=order).impressions()}
    names = ("item", "timestamp", "sequence")
    compared = [row["sequence"] for row in log.events if sees(row) or row is event]
    assert any(before[number] for number in compared)
    for number in compared:
        seen = [[tuple(past[name] for name in names) for past in rows[number]] for rows in (before, after)]
        assert seen[0] == seen[1]


def test_ties_follow_prior_history_and_then_the_sequence(build: Callable[..., Built]) -> None:
    """At one moment, prior history precedes events although its numbers are higher, and both follow the sequence."""
    shared = {"item_id": 1, "timestamp": START}
    clicked = shared | {"label": 1, "behaviour": 1}
    events = [clicked | {"user_id": number // 3, "sequence": number} for number in reversed(range(30))]
    history = [shared | {"user_id": user, "sequence": number} for user in range(10) for number in (101, 100)]
    for row in build(Log(events, history), order="sequence").impressions():
        first = row["sequence"] // 3 * 3
        assert [past["sequence"] for past in row["history"]] == [100, 101, *range(first, row["sequence"])]


def _shaken(log: Log, keep_past: Callable[[dict[str, Any]], bool], keep: dict[str, Any]) -> Log:
    rng, log = random.Random(0), deepcopy(log)
    late = [row for row in log.events if not keep_past(row) and row["sequence"] != keep["sequence"]]
    items = [row["item_id"] for row in late]
    rng.shuffle(items)
    for row, item in zip(late, items, strict=True):
        row |= {"item_id": item, "label": 1 - row["label"], "behaviour": 1 - row["behaviour"], "rating": 2.5}
    gone = {row["sequence"] for row in late if rng.random() < 0.3}
    log.events = [row for row in log.events if row["sequence"] not in gone]
    log.history = [row for row in log.history if keep_past(row)]
    return log


def _seen_by_training(built: Built) -> str:
    """Write down everything that a reader of training sees, with raw ids for the numbers of users and items."""
    features = Features(built.root)
    items, users = features.raw_items().to_pylist(), features.raw_users().to_pylist()

    def fields(columns: dict[str, Column], owner: int) -> dict[str, Any]:
        return {name: column.take(np.array([owner])).values.tolist() for name, column in columns.items()}

    seen: list[Any] = [TableLayout.of(features.fields, features.rows), features.records]
    seen += [features.vocabulary(field.name).to_pylist() for field in features.fields]
    for shard in features.shards("train"):
        own = shard.impressions
        for row in range(len(own)):
            figures = (own.label[row], own.timestamp[row], own.sequence[row], fields(own.contexts, row))
            user = (users[own.user[row]], fields(features.users, own.user[row]))
            candidate = (items[own.item[row]], fields(features.items, own.item[row]))
            past = range(own.history_start[row], own.history_end[row])
            history = [
                (items[item], fields(features.items, item), fields(shard.behaviours.fields, at))
                for at in past
                for item in [shard.behaviours.item[at]]
            ]
            seen.append((figures, user, candidate, history))
    return repr(seen)


Change = Callable[[dict[str, Any]], list[dict[str, Any]]]


def _other_rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    turned = {"label": 1 - row["label"], "behaviour": 1 - row["behaviour"], "item_id": 999 - row["sequence"] % 3}
    return [row | turned | {"position": 77, "hour": 23, "marks": ["new"], "rating": 9.0, "watch": 1e6}]


def _other_rows_but_none_of_a_day(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [] if row["timestamp"] // DAY == START // DAY + 4 else _other_rows(row)


def _only_the_last_day(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [row] if row["timestamp"] // DAY == START // DAY + 5 else []


@pytest.mark.parametrize(
    ("protocol", "changes"),
    [("temporal", [_other_rows_but_none_of_a_day, _only_the_last_day]), ("by_user", [_other_rows])],
)
def test_held_out_rows_change_nothing_that_training_sees(
    protocol: str, changes: list[Change], build: Callable[..., Built]
) -> None:
    """Other labels, items, contexts and feedback in held-out rows, and days without rows, change no byte of training.

    So no vocabulary, edge or mean is learned from them.
    """
    log = random_log(8, protocol, users=40, items=40)
    log.fields = FEW
    log.until = "2022-01-13"
    given = log.events
    before = build(log, min_count=2, shards=2)
    late = [after for after in before.manifest["held_out"] if after["rows"]["item_id"] > before.rows["item_id"]]
    assert bool(late) == (protocol == "temporal")
    held_out = {row["sequence"] for row in before.impressions() if row["split"] != "train"}
    for change in changes:
        log.events = [new for row in given for new in (change(row) if row["sequence"] in held_out else [row])]
        after = build(log, min_count=2, shards=2)
        assert after.manifest["rows"]["train"] == before.manifest["rows"]["train"] > 0
        assert _seen_by_training(after) == _seen_by_training(before), change


def test_the_same_log_gives_the_same_bytes(build: Callable[..., Built], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw rows in another order, and one thread instead of many, give the same bytes in every file."""
    log = random_log(4, "leave_last_out", users=60)
    log.fields = FEW
    first = build(log, shards=2)
    random.Random(1).shuffle(log.events)
    monkeypatch.setattr(cores, "available", lambda: 1)
    second = build(log, shards=2)
    assert second.manifest["files"] == first.manifest["files"]
    assert hash_files(second.root) | {"manifest.json": ""} == hash_files(first.root) | {"manifest.json": ""}


def test_a_shard_without_users_has_empty_files(build: Callable[..., Built]) -> None:
    """If there are more shards than users, the empty files are readable and have every column."""
    log = random_log(6, users=4)
    log.fields = FEW
    built = build(log, shards=4, valid_fraction=0.0, test_fraction=0.5)
    features = Features(built.root)
    empty = [n for n in range(4) if not len(features.shard(n, "test").behaviours.item)]
    shard = features.shard(empty[0], "test")
    assert all(set(row) >= {"user", "item", "sampled"} for row in built.impressions())
    assert set(shard.impressions.contexts) == set(FEW["context"])


def test_fractions_stay_beside_whole_numbers(build: Callable[..., Built]) -> None:
    """If the events hold whole numbers and the history fractions, each is a value of its own."""
    own = {"item_id": 1, "label": 1, "behaviour": 1}
    events = [
        own | {"user_id": n % 9, "timestamp": START + n * DAY // 9, "sequence": n, "rating": 4, "ratings": [4]}
        for n in range(90)
    ]
    history = [
        {"user_id": n, "item_id": 1, "timestamp": START - DAY, "sequence": n, "rating": 4.5, "ratings": [4.5]}
        for n in range(9)
    ]
    log = Log(events, history, fields={"behaviour": {"rating": "categorical", "ratings": "multi"}})
    built = build(log, min_count=1)
    for field in ("rating", "ratings"):
        assert {row["value"] for row in built.vocabulary(field)} == {None, 4.0, 4.5}
