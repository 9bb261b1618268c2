"""Readers that know ids until a day. Alone: `pytest tests/din/features/test_late_ids.py`."""

from datetime import date
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import read_json, write_json
from din.bundle.bundle_writer import write_values
from din.features.packing import Packer, TableLayout
from din.features.reader import Features
from din.kinds import Column, IdList, OneId
from din.schema import Group

DAYS = [date(2024, 1, 8), date(2024, 1, 9), date(2024, 1, 10)]
KNOWN = {"item_id": [20, 20, 25, 31], "tags": [3, 5, 5, 8], "rating": [4, 6, 6, 6], "tab": [1, 4, 4, 4]}
"""The rows of training and after each held-out day. The other fields have no late ids."""


@pytest.fixture
def late(features: Features) -> Features:
    """Say that the largest ids of some fields become known on held-out days."""
    path = features.root / "manifest.json"
    manifest = read_json(path)
    stored = {record["name"]: record["rows"] for record in manifest["fields"]}
    for record in manifest["fields"]:
        record["rows"] = KNOWN.get(record["name"], [record["rows"]])[0]
    splits = ("valid", "test", "test")
    after = [stored | {name: rows[n] for name, rows in KNOWN.items()} for n in (1, 2, 3)]
    manifest["held_out"] = [
        {"day": day.isoformat(), "split": split, "rows": rows}
        for day, split, rows in zip(DAYS, splits, after, strict=True)
    ]
    write_json(path, manifest)
    return Features(features.root)


def values_of(column: Column) -> list[list[Any]]:
    return [column.take(np.array([owner])).values.tolist() for owner in range(len(column))]


@pytest.mark.parametrize(
    ("day", "number"), [(None, 0), (date(2024, 1, 7), 0), (DAYS[0], 1), (DAYS[1], 2), (DAYS[2], 3), (date.max, 3)]
)
def test_later_ids_are_unknown(day: date | None, number: int, late: Features) -> None:
    """Every column and vocabulary ends at the rows of the day. Lists lose later ids, and an empty one becomes [0]."""
    reader = late if day is None else late.at(day)
    for name, rows in KNOWN.items():
        assert reader.rows[name] == len(reader.vocabulary(name)) == rows[number]
    everything = late.at(DAYS[2])
    one = reader.shard(1, "train")
    full = everything.shard(1, "train")
    parts = [
        (Group.ITEM, reader.items, everything.items),
        (Group.USER, reader.users, everything.users),
        (Group.CONTEXT, one.impressions.contexts, full.impressions.contexts),
        (Group.BEHAVIOUR, one.behaviours.fields, full.behaviours.fields),
    ]
    for group, found, stored in parts:
        for field in late.of(group):
            rows = reader.rows[field.name]
            expected = values_of(stored[field.name])
            if isinstance(field.form, IdList):
                expected = [[value for value in owner if value < rows] or [0] for owner in expected]
            elif isinstance(field.form, OneId):
                expected = [[value if value < rows else 0 for value in owner] for owner in expected]
            np.testing.assert_equal(values_of(found[field.name]), expected)
    assert Packer(reader).layout == TableLayout.of(reader.fields, reader.rows)
    assert [record["rows"] for record in reader.records] == list(reader.rows.values())


def test_a_bundle_holds_the_known_ids_alone(late: Features, tmp_path: Any) -> None:
    """The files that a bundle takes over end at the rows of the reader."""
    reader = late.at(DAYS[1])
    write_values(tmp_path, reader)
    for field in reader.fields:
        assert pq.read_metadata(tmp_path / "vocab" / f"{field.name}.parquet").num_rows == reader.rows[field.name]
    items = pq.read_table(tmp_path / "items.parquet")
    for field in late.of(Group.ITEM):
        written = values_of(field.form.column(items[field.name]))
        np.testing.assert_equal(written, values_of(reader.items[field.name]))
    assert items["value"].equals(late.raw_items())
