"""Damaged feature directories. Alone: `pytest tests/din/features/test_reader.py`."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.errors import InputError
from din.features.reader import Features


def test_the_last_shard_stays_in_memory(features: Features) -> None:
    """The splits of a shard share its behaviours, and another shard replaces it."""
    train = features.shard(0, "train")
    assert features.shard(0, "valid").behaviours is train.behaviours
    assert features.shard(0, "train").impressions is train.impressions
    features.shard(1, "train")
    assert features.shard(0, "train").behaviours is not train.behaviours


@pytest.mark.parametrize("read", [lambda features: features.split_rows("train"), lambda f: f.shard(1, "train")])
@pytest.mark.parametrize(("content", "says"), [(None, "not found"), (b"PAR1 torn", "not a readable Parquet file")])
def test_a_missing_or_damaged_shard_is_bad_input(
    read: Callable[[Features], Any], content: bytes | None, says: str, features: Features
) -> None:
    """The error names the file and the stage to run, even if only the footer is read."""
    shard = features.root / "shards/00001/train.parquet"
    shard.unlink()
    if content is not None:
        shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"00001/train.parquet: {says}.*featurize"):
        read(features)


def test_a_damaged_page_is_reported_in_one_line(features: Features) -> None:
    """Arrow's own message has three lines. The footer, which is read first, is undamaged."""
    shard = features.root / "shards/00001/train.parquet"
    content = bytearray(shard.read_bytes())
    content[4:200] = bytes([255]) * 196
    shard.write_bytes(content)
    assert features.split_rows("train")[1] > 0
    with pytest.raises(InputError) as caught:
        features.shard(1, "train")
    assert len(str(caught.value).splitlines()) == 1


FAULTS = [
    ("shards/00001/train", "user", 25, "25, expected 0 to 24"),
    ("shards/00001/train", "item", 35, "35, expected 0 to 34"),
    ("shards/00001/train", "item", None, "is float64, expected int32"),
    ("shards/00001/train", "history_start", -1, "-1, expected 0 to "),
    ("shards/00001/train", "history_start", 999, "999, expected 0 to "),
    ("shards/00001/train", "tab", 4, "4, expected 0 to 3"),
    ("shards/00001/behaviours", "item", 35, "35, expected 0 to 34"),
    ("shards/00001/behaviours", "rating", -2, "-2, expected 0 to 5"),
    ("items", "category", 6, "6, expected 0 to 5"),
    ("items", "tags", [3, 8], "8, expected 0 to 7"),
    ("users", "age", 5, "5, expected 0 to 4"),
]


@pytest.mark.parametrize(("file", "column", "value", "says"), FAULTS)
def test_an_index_out_of_range_is_bad_input(file: str, column: str, value: Any, says: str, features: Features) -> None:
    """An id, a row or a position that is out of range or null is reported before anything is indexed by it."""
    path = features.root / f"{file}.parquet"
    table = pq.read_table(path)
    values = pa.array([value, *table[column].to_pylist()[1:]], table[column].type)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)
    with pytest.raises(InputError, match=rf"{file}.parquet: {column} {says}.*; run `dvc repro -f -s featurize`"):
        read_all(features)


@pytest.mark.parametrize("file", ["items", "users"])
def test_a_table_of_other_entities_is_bad_input(file: str, features: Features) -> None:
    """The table has one row less than the manifest says, and impressions may point to that row."""
    path = features.root / f"{file}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(InputError, match=rf"{file}.parquet: {len(table) - 1} rows, expected {len(table)}; run"):
        read_all(features)


def read_all(features: Features) -> None:
    features.shard(1, "train")
    assert features.items and features.users
