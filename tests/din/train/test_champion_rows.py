"""The rows that a continued champion's table shares with a new one."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from din.base.errors import InputError
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model import artifact
from din.model.artifact import Trained
from din.model.model import build
from din.params.train import Train
from din.train.champion_start import ChampionStart
from tests.factories.features import LENGTH, VECTORS, write_features
from tests.helpers.settings import changed

VERSION = "ab" * 32


@pytest.fixture
def start(features: Features, small: Train, tmp_path: Path) -> ChampionStart:
    """Return a bundle of `features` and `small`, with weights that can be recognised."""
    model, table = build(features.fields, TableLayout.of(features.fields, features.rows), changed(small, seed=9))
    bundle = tmp_path / "bundle"
    artifact.save(Trained(model, table), small, features, bundle / "model")
    shutil.copytree(features.root / "vocab", bundle / "vocab")
    return ChampionStart(VERSION, bundle)


def with_values(features: Features, field: str, values: list) -> None:
    """Give a vocabulary other values, as many or more."""
    path = features.root / "vocab" / f"{field}.parquet"
    counts = [9] * len(values)
    columns = {"id": pa.array(range(len(values)), pa.int32()), "count": counts, "impressions": counts}
    pq.write_table(pa.table({"value": values, **columns}), path)


def test_embeddings_move_by_value(start: ChampionStart, features: Features, small: Train, tmp_path: Path) -> None:
    """Known values keep their rows under their new ids, and new values their random rows."""
    today = write_features(tmp_path / "today")
    with_values(today, "category", [None, "4", "99", "2", "1", "98"])  # 4 and "4" are one value
    with_values(today, "rating", [None, 5, 4, 3, 2, 1])
    layout = TableLayout.of(today.fields, today.rows)
    _, fresh = build(today.fields, layout, small)
    _, old = build(features.fields, layout, changed(small, seed=9))
    table = fresh.clone()
    start.shared_rows(today, small.model).copy(old, table)
    at = layout.offsets["category"]
    for here, there in ((0, 0), (1, 4), (3, 2), (4, 1)):
        assert torch.equal(table[at + here], old[at + there])
    for new in (2, 5):
        assert torch.equal(table[at + new], fresh[at + new])
    at = layout.offsets["rating"]
    assert torch.equal(table[at : at + 6], old[at + torch.tensor([0, 5, 4, 3, 2, 1])])


def test_buckets_move_by_position_where_there_are_as_many(start: ChampionStart, small: Train, tmp_path: Path) -> None:
    """Edges shift with the log, but quantiles keep their meaning. With other quantiles only the unknown row is kept."""
    today = write_features(tmp_path / "today")
    layout = TableLayout.of(today.fields, today.rows)
    at, rows = layout.offsets["age"], today.rows["age"]
    for values, kept in (([None, float("-inf"), 21.5, 33.0, 48.0], rows), ([None, float("-inf"), 30.0], 1)):
        with_values(today, "age", values)
        shared = start.shared_rows(today, small.model)
        assert [row for row in shared.new.tolist() if at <= row < at + rows] == list(range(at, at + kept))


def test_vectors_move_where_they_have_the_same_length(small: Train, tmp_path: Path) -> None:
    """The projection is copied row by row. Another length of vectors is another architecture."""
    earlier = write_features(tmp_path / "earlier", declared=VECTORS)
    layout = TableLayout.of(earlier.fields, earlier.rows)
    artifact.save(Trained(*build(earlier.fields, layout, small)), small, earlier, tmp_path / "bundle" / "model")
    shutil.copytree(earlier.root / "vocab", tmp_path / "bundle" / "vocab")
    start = ChampionStart(VERSION, tmp_path / "bundle")
    rows = range(layout.offsets["embedding"], layout.offsets["embedding"] + 1 + LENGTH)
    assert {*rows} <= {*start.shared_rows(earlier, small.model).new.tolist()}
    (record,) = (record for record in earlier.manifest.fields if record["name"] == "embedding")
    record["length"] = LENGTH + 1
    with pytest.raises(InputError, match=r"item.embedding: vector of 3, .* there, .*item.embedding: vector of 4"):
        start.shared_rows(earlier, small.model)
