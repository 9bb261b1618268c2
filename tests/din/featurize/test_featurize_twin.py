"""The engine and the slow twin agree on random ragged logs."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from din.base.workspace import Workspace
from din.featurize.build import featurize
from tests.din.featurize.featurize_files import Built, block, comparable
from tests.din.featurize.featurize_twin import Twin
from tests.factories.events import FIELDS, random_case, random_log

PROTOCOLS, ORDERS = ("temporal", "leave_last_out", "by_user"), ("strict", "sequence", "daily")
QUICK = {
    ("temporal", "strict"),
    ("temporal", "sequence"),
    ("temporal", "daily"),
    ("leave_last_out", "sequence"),
    ("by_user", "strict"),
}
"""The first logs of these have every value of every option."""


@pytest.mark.parametrize(
    ("protocol", "order", "number"),
    [
        pytest.param(*log, marks=() if log[2] == 0 and log[:2] in QUICK else pytest.mark.slow)
        for log in product(PROTOCOLS, ORDERS, range(20))
    ],
)
def test_everything_equals_the_twin(build: Callable[..., Built], protocol: str, order: str, number: int) -> None:
    """Impressions, histories, negatives, fields, entities, and vocabularies with counts and n_j equal the twin's."""
    log, changes = random_case(protocol, order, number)
    _same(build(log, **changes), Twin(log, block(**changes), order))


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_log_that_was_sampled_is_reported(share: float, tmp_path: Path) -> None:
    """The manifest repeats the share of negatives that the source declares."""
    workspace = Workspace(tmp_path)
    log = random_log(3)
    log.fields = {}
    log.sampled = share
    log.write(workspace.raw)
    featurize(workspace, block())
    expected = {"log": share, "training": 1.0} if share < 1 else None
    assert Built(workspace).manifest.get("negatives") == expected


def _same(built: Built, twin: Twin) -> None:
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
    if twin.params.keep_negatives < 1:
        assert built.manifest["negatives"] == {"log": 1.0, "training": twin.kept_negatives()}
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
