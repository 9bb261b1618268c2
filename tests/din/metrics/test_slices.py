"""Slices of the test rows."""

import copy
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base import documents
from din.base.errors import InputError
from din.features.reader import Features
from din.metrics.calibration import calibration_ratio
from din.metrics.slices import LARGEST, slice_table, slices


@pytest.fixture
def rows(features_once: Features) -> dict[str, np.ndarray]:
    """Return the test rows of all shards, as reports/predictions/test.parquet holds them."""
    parts = [shard.impressions for shard in features_once.shards("test")]
    names = ("user", "item", "label", "sequence", "history_length")
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}


def band(number: int, starts: tuple[int, ...]) -> str:
    for low, high in zip(starts, (*starts[1:], math.inf), strict=True):
        if low <= number < high:
            return f"{low}+" if high == math.inf else f"{low}-{high - 1}"
    return "0"


def twin(rows, features) -> dict[str, list[int]]:
    """Return the rows of each slice by a loop over all rows."""
    contexts = {}
    for shard in features.shards("test"):
        found = shard.impressions
        contexts |= dict(zip(found.sequence.tolist(), found.contexts["tab"].values.tolist(), strict=True))
    vocabularies = {name: features.vocabulary(name).to_pylist() for name in ("item_id", "user_id", "category", "tab")}
    groups: dict[str, list[int]] = {}

    def put(name: str, row: int) -> None:
        groups.setdefault(name, []).append(row)

    def value(field: str, number: int) -> str:
        return f"{field}={vocabularies[field][number]['value'] if number else 'unknown'}"

    for row in range(len(rows["label"])):
        put(f"history_length={band(rows['history_length'][row], (1, 5, 20))}", row)
        for name, table, key in (("item", features.items, "item_id"), ("user", features.users, "user_id")):
            number = int(table[key].values[rows[name][row]])
            count = vocabularies[key][number]["count"]
            put(f"{name}_count={band(count, (1, 10, 100, 1000)) if number else 'unknown'}", row)
        put(value("category", int(features.items["category"].values[rows["item"][row]])), row)
        put(value("tab", contexts[int(rows["sequence"][row])]), row)
    return groups


def test_slices_equal_the_slow_twin(features_once, rows):
    """Every slice of every kind equals the twin's in any order of rows; standardised contexts have none."""
    shuffled = np.random.default_rng(3).permutation(len(rows["label"]))[:50]
    some = {name: column[shuffled] for name, column in rows.items()}
    for these in (rows, some):
        found = {s.name: s.rows.tolist() for s in slices(these, features_once)}
        assert found == twin(these, features_once)
    assert not any(name.startswith("hour") for name in found)


def test_a_row_is_once_in_each_slice_of_several_values(features_once, rows):
    """Without a categorical item field, the first `multi` one serves, with a row in a slice for each of its values."""
    tagged = copy.copy(features_once)
    tagged.fields = tuple(f for f in tagged.fields if f.name != "category")
    tagged.__dict__.pop("items", None)
    column = tagged.items["tags"]
    tags = [set(column.values[column.offsets[i] : column.offsets[i + 1]].tolist()) for i in rows["item"]]
    for s in slices(rows, tagged):
        if s.by == "tags":
            number = 0 if s.value == "unknown" else int(s.value)
            assert s.rows.tolist() == [row for row, own in enumerate(tags) if number in own]
    assert {s.by for s in slices(rows, tagged)} >= {"tags", "tab"}


def test_only_the_most_frequent_values(features_once, rows, monkeypatch):
    """A field with more values than `LARGEST` is sliced by the values most frequent among the rows."""
    every = {s.value: len(s.rows) for s in slices(rows, features_once) if s.by == "category"}
    assert len(every) <= LARGEST
    monkeypatch.setattr("din.metrics.slices.LARGEST", 2)
    few = {s.value: len(s.rows) for s in slices(rows, features_once) if s.by == "category"}
    assert sorted(few.values()) == sorted(every.values())[-2:]


def test_a_value_may_be_called_unknown(features, rows):
    """Rows of the value and rows without a value are two slices."""
    path = features.root / "vocab" / "category.parquet"
    table = pq.read_table(path)
    values = pa.array([None, "unknown", *map(str, range(2, len(table)))])
    pq.write_table(table.set_column(table.column_names.index("value"), "value", values), path)
    found = {s.value: s.rows.tolist() for s in slices(rows, features) if s.by == "category"}
    category = features.items["category"].values[rows["item"]]
    assert found["(unknown)"] == np.flatnonzero(category == 0).tolist()
    assert found["unknown"] == np.flatnonzero(category == 1).tolist()


@pytest.mark.parametrize("sequence", [-1, 9_999, 10**12])
def test_rows_of_another_log_are_an_error(features_once, rows, sequence):
    """A sequence that no test impression has, whether below, between or above theirs, is an error."""
    rows["sequence"] = np.where(np.arange(len(rows["label"])) == 7, sequence, rows["sequence"])
    with pytest.raises(InputError, match="dvc repro evaluate"):
        slices(rows, features_once)


def test_table_is_the_summary_of_each_slice(features_once, rows, rng):
    """The table is ready for JSON: with one class or no click, figures are null, never NaN."""
    p = rng.random(len(rows["label"]))
    table = slice_table(rows, p, features_once)
    documents.dump(table)
    for row, s in zip(table, slices(rows, features_once), strict=True):
        assert (row.by, row.value, row.rows) == (s.by, s.value, len(s.rows))
        expected = calibration_ratio(rows["label"][s.rows], p[s.rows])
        assert row.calibration_ratio == (None if math.isnan(expected) else pytest.approx(expected))
