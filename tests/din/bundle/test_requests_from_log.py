"""Requests from raw data, compared with a loop over the log."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.bundle import Scorer
from din.bundle.requests_from_log import requests_for
from din.features.reader import Features
from din.featurize.build import featurize
from din.params.reading import Params
from din.release.gates.earlier_champion import score_champion
from din.schema import DAY_US, SPLITS, Field, Group, parse_fields
from tests.factories.bundles import FIELDS, Finished, random_log, write_raw

BEHAVIOUR_FIELDS = ("rating", "watched", "moods")


def all_rows(features: Features) -> pa.Table:
    """Return every impression of every split, as in reports/predictions/."""
    names = ("user", "item", "sequence", "timestamp", "sampled", "history_length")
    shards = [shard for split in SPLITS for shard in features.shards(split)]
    return pa.concat_tables(pa.table({n: getattr(shard.impressions, n) for n in names}) for shard in shards)


def behaviours_of(raw: Path) -> list[tuple[tuple[float, int, int], dict[str, Any]]]:
    """Return all behaviours of a log, each with its place in time. Prior history comes first at equal times."""
    prior = [((micros(event), 0, event["sequence"]), event) for event in read(raw / "history.parquet")]
    events = [event for path in sorted(raw.glob("events/*/*.parquet")) for event in read(path)]
    return prior + [((micros(event), 1, event["sequence"]), event) for event in events if event["behaviour"] == 1]


def read(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def twin(behaviours: list, order: str, most: int, row: dict[str, Any], user: Any, oldest: str | None) -> list[dict]:
    """Return the history of one impression, by looking at every behaviour."""
    now = (row["timestamp"], 1, row["sequence"])
    past = [(key, event) for key, event in behaviours if event["user_id"] == user]
    end = {"strict": now[:1], "sequence": now, "daily": (now[0] - now[0] % DAY_US,)}[order]
    past = [(key, event) for key, event in past if key < end]
    if oldest is not None:
        first = micros({"timestamp": datetime.fromisoformat(oldest)})
        past = [(key, event) for key, event in past if key[0] == -np.inf or key[0] >= first]
    past.sort(key=lambda entry: entry[0])
    names = ("item_id", *BEHAVIOUR_FIELDS)
    return [{name: event[name] for name in names} | {"timestamp": seconds(event)} for _, event in past[-most:]]


def micros(event: dict[str, Any]) -> float:
    """Return microseconds since 1970; a behaviour without a time is older than all others."""
    time = event["timestamp"]
    return -np.inf if time is None else (time - datetime(1970, 1, 1)) / timedelta(microseconds=1)


def seconds(event: dict[str, Any]) -> float | None:
    return None if event["timestamp"] is None else micros(event) / 1e6


@pytest.mark.parametrize(
    ("protocol", "order", "most", "asked", "history_days"),
    [
        ("by_user", "strict", 6, 9, None),
        ("leave_last_out", "sequence", 50, 4, None),
        ("by_user", "strict", 5, None, 1),
        ("by_user", "daily", 6, None, None),
    ],
)
def test_requests_equal_a_loop_over_the_log(
    protocol: Any, order: Any, most: int, asked: int | None, history_days: int | None, tmp_path: Path, params: Params
) -> None:
    """User, profile, history, candidate and context of every impression are equal, including sampled negatives.

    Histories are as long as asked, more or fewer than today's features keep.
    """
    workspace = Workspace(tmp_path)
    write_raw(random_log(3), workspace.raw)
    block = replace(params.featurize, protocol=protocol, order=order, max_history=most, shards=2, valid_fraction=0.2)
    block = replace(block, fields={})  # the requests' fields come from the log
    data = replace(params.data, window_days=history_days and 2, history_days=history_days)
    featurize(workspace, replace(params, data=data, featurize=block))
    raw = workspace.raw
    features = Features(workspace.features)
    oldest = features.manifest.history_from
    rows = all_rows(features)
    requests = requests_for(rows, raw, features.root, parse_fields(FIELDS), max_history=asked)
    behaviours = behaviours_of(raw)
    people = pq.read_table(features.root / "users.parquet")["value"].to_pylist()
    goods = features.raw_items().to_pylist()
    profiles = {row["user_id"]: row for row in read(raw / "users.parquet")}
    sides = {row["item_id"]: row for row in read(raw / "items.parquet")}
    events = {event["sequence"]: event for path in raw.glob("events/*/*.parquet") for event in read(path)}
    assert len(requests) == len(rows)
    some = np.random.default_rng(0).permutation(len(rows))[:40]
    for row, request in ((rows.slice(n, 1).to_pylist()[0], requests[n]) for n in map(int, some)):
        user = people[row["user"]]
        event = events[row["sequence"]]
        assert event["user_id"] == user
        assert request["user"] == profiles.get(user, {"user_id": user})
        item = goods[row["item"]]
        assert (item == event["item_id"]) != bool(row["sampled"])
        assert request["candidates"] == [sides.get(item, {"item_id": item})]
        assert request["context"] == {name: event[name] for name in request["context"]}
        assert set(request["context"]) == {"tab", "hour", "marks"}
        assert request["time"] == seconds(event)
        assert request["history"] == twin(behaviours, order, asked or most, row, user, oldest)
        assert asked or len(request["history"]) == row["history_length"]


def test_an_earlier_bundle_gets_the_fields_it_knows(finished: Finished) -> None:
    """Requests have the given fields, without fields that the log lacks."""
    fields = [
        Field("age", Group.USER, "numeric"),
        Field("gone", Group.CONTEXT, "categorical"),
        Field("lost", Group.BEHAVIOUR, "categorical"),
    ]
    rows = all_rows(finished.features).slice(0, 30)
    for request in requests_for(rows, finished.raw, finished.features.root, fields):
        assert set(request["user"]) <= {"user_id", "age"}
        assert request["context"] == {}
        assert all(set(entry) == {"item_id", "timestamp"} for entry in request["history"])
        assert all(set(entry) == {"item_id"} for entry in request["candidates"])


def test_items_that_a_scorer_does_not_know_are_described(finished: Finished) -> None:
    """Behaviours with an item that is newer than a bundle carry its side fields, and no others do."""
    rows = all_rows(finished.features)
    known = finished.features.raw_items().slice(0, 12)
    plain = requests_for(rows, finished.raw, finished.features.root)
    found = requests_for(rows, finished.raw, finished.features.root, known_items=known)
    described = 0
    items = {item["item_id"]: item for item in read(finished.raw / "items.parquet")}
    old = set(known.to_pylist())
    for one, other in zip(plain, found, strict=True):
        for bare, entry in zip(one["history"], other["history"], strict=True):
            item = bare["item_id"]
            new = item in items.keys() - old
            described += new
            assert entry == (bare | (items[item] if new else {}))
    assert described


def test_a_row_of_another_log_is_refused(finished: Finished) -> None:
    """A sequence number that no event has is refused."""
    rows = all_rows(finished.features).slice(0, 1)
    rows = rows.set_column(rows.column_names.index("sequence"), "sequence", pa.array([10**9]))
    with pytest.raises(InputError, match="no event has the sequence 1000000000"):
        requests_for(rows, finished.raw, finished.features.root)


def test_champion_gets_its_own_history_length(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The length of histories is the bundle's, as in production, not that of today's features."""
    monkeypatch.setattr(Scorer, "max_history", 2)
    rows = all_rows(finished.features).slice(0, 100)
    requests = requests_for(rows, finished.raw, finished.features.root, max_history=2)
    expected = np.concatenate(Scorer.open(finished.bundle).score_many(requests))
    assert score_champion(finished.here, finished.bundle, rows) == pytest.approx(expected, abs=1e-6)
