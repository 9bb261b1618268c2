"""The engine and the slow twin agree on random ragged logs."""

from collections.abc import Callable
from typing import Any

import pytest
from featurize_files import Built, block, comparable
from featurize_logs import FIELDS, random_log
from featurize_twin import Twin
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from din.artifacts import MANIFEST, read_json, write_json
from din.featurize.build import featurize

PATHS = [
    (protocol, order) for protocol in ("temporal", "leave_last_out", "by_user") for order in ("strict", "sequence")
]


def test_a_missing_number_is_unknown_even_where_training_saw_none(build: Callable[..., Built]) -> None:
    """For buckets without edges, missing values are row 0, not the only bucket."""
    log = random_log(237, "leave_last_out", users=20, text_ids=True)  # no training row has a value of age
    built = build(log, max_history=2, order="sequence", shards=3, seed=4)
    assert [(row["id"], row["count"]) for row in built.vocabulary("age")] == [(0, 4), (1, 0)]


@pytest.mark.parametrize(("protocol", "order"), PATHS)
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.generate],  # a step of shrinking takes a second
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_everything_equals_the_twin(
    build: Callable[..., Built], protocol: str, order: str, data: st.DataObject
) -> None:
    """Impressions, histories, negatives, fields, entities, and vocabularies with counts and n_j equal the twin's."""
    seed = data.draw(st.integers(0, 10_000), "log")
    log = random_log(seed, protocol, users=data.draw(st.integers(20, 40), "users"), text_ids=data.draw(st.booleans()))
    log.until = data.draw(st.sampled_from([None, "2022-01-14"])) if protocol == "temporal" else None
    changes = {"max_history": data.draw(st.sampled_from([1, 2, 3, 50]), "max_history"), "order": order}
    changes |= {
        "shards": data.draw(st.sampled_from([None, 1, 3]), "shards"),
        "seed": data.draw(st.integers(0, 9), "seed"),
    }
    changes["window_days"] = data.draw(st.sampled_from([None, None, 4, 5]), "window_days")
    changes["history_days"] = data.draw(st.sampled_from([None, 0, 1]), "history_days")
    _same(build(log, **changes), Twin(log, block(**changes), order))


@pytest.mark.parametrize("protocol", ["temporal", "by_user"])
@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_weights_and_kept_negatives_equal_the_twin(build: Callable[..., Built], protocol: str, keep: float) -> None:
    """Rows have their weights, and training, its counts and n_j lack the same negatives as the twin's."""
    log = random_log(11, protocol, users=40, text_ids=True)
    changes = {"order": "strict", "weight": "importance", "keep_negatives": keep, "shards": 2}
    twin, built = Twin(log, block(**changes), "strict"), build(log, **changes)
    _same(built, twin)
    whole = Twin(log, block(order="strict"), "strict")
    held_out = [row for row in whole.impressions if row["split"] != "train"]
    assert [row for row in twin.impressions if row["split"] != "train"] == held_out
    if keep < 1:
        assert len(twin.train) < len(whole.train)
        assert built.manifest["negatives"] == {"log": 1.0, "training": twin.kept_negatives()}
    else:
        assert "negatives" not in built.manifest


def test_a_log_that_was_sampled_is_told(build: Callable[..., Built]) -> None:
    """The manifest repeats the share of negatives that the source declares."""
    built = build(random_log(3))
    raw = built.workspace.raw / MANIFEST
    declared = read_json(raw)
    write_json(raw, declared | {"params": declared["params"] | {"sampled": 0.25}})
    featurize(built.workspace, block())
    assert Built(built.workspace).manifest["negatives"] == {"log": 0.25, "training": 1.0}


def _same(built: Built, twin: Twin) -> None:
    """Check that a feature directory holds exactly what the twin expects."""
    log = twin.log
    assert built.impressions() == _expected(twin)
    for name, coder in twin.coders.items():
        assert built.vocabulary(name) == _rounded(coder["rows"]), name
        after = [day["rows"][name] for day in built.manifest["held_out"]]
        assert [built.rows[name], *after] == coder["known"], name
    assert [day["day"] for day in built.manifest["held_out"]] == [day.isoformat() for day in twin.held_out()]
    assert built.manifest["rows"] == {
        split: sum(row["split"] == split for row in twin.impressions) for split in ("train", "valid", "test")
    }
    _same_entities(built.items, twin, "item", {row["item_id"] for row in [*twin.rows, *log.items]})
    _same_entities(built.users, twin, "user", {row["user_id"] for row in [*twin.rows, *log.users]})


def _expected(twin: Twin) -> list[dict[str, Any]]:
    rows = []
    for row in sorted(twin.impressions, key=lambda row: (row["sequence"], row["sampled"])):
        names = ["label", "timestamp", "sequence", "sampled", "split"]
        shown = {name: row[name] for name in names} | {"user": row["user_id"], "item": row["item_id"]}
        if twin.params.weight:
            shown["weight"] = row[twin.params.weight]
        shown |= {name: twin.encode(name, twin.raw("context", name, row)) for name in FIELDS["context"]}
        rows.append(shown | {"history": [_past(twin, past) for past in row["history"]]})
    return _rounded(rows)


def _past(twin: Twin, past: dict[str, Any]) -> dict[str, Any]:
    fields = {name: twin.encode(name, twin.raw("behaviour", name, past)) for name in FIELDS["behaviour"]}
    return {"item": past["item_id"], "timestamp": past["timestamp"], "sequence": past["sequence"]} | fields


def _same_entities(found: list[dict[str, Any]], twin: Twin, group: str, known: set[Any]) -> None:
    """Check that row 0 is unknown, training's ids come in order, the rest by value, and every field is encoded."""
    key = f"{group}_id"
    known_rows = twin.coders[key]["known"][0]
    ids = [value for value, number in twin.coders[f"{group}_id"]["ids"].items() if number < known_rows]
    values = [None, *ids, *sorted(known - set(ids))]
    names = ["item_id", *FIELDS["item"]] if group == "item" else list(FIELDS["user"])
    expected = [
        {"value": value} | {name: twin.encode(name, twin.raw(group, name, {key: value})) for name in names}
        for value in values
    ]
    assert found == _rounded(expected)


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return comparable(value)
