"""Late ids that are known too early, or in another order than the days on which they occur."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import planting
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planting import FEATURES, HERE, edit, failed, judge, put, seal
from shard_edits import replace_column

from din.artifacts import MANIFEST, read_json
from din.featurize.build import featurize
from din.params import Params

VOCABULARY = FEATURES / "vocab" / "item_id.parquet"


@pytest.fixture
def late(workspace: Callable[..., Params]) -> Params:
    """Make a workspace whose last three days, which are held out, show a tenth of the items under new ids each."""
    params = workspace("temporal")
    for number in (3, 4, 5):
        edit(planting.day(number), lambda table, number=number: _renamed(table, number))
    seal(planting.RAW)
    featurize(HERE, params)
    return params


def _renamed(table: pa.Table, number: int) -> pa.Table:
    items = [item + 1000 if item % 10 == number else item for item in table["item_id"].to_pylist()]
    at = table.column_names.index("item_id")
    return table.set_column(at, table.schema.field(at), pa.array(items, table.schema.field(at).type))


def _second_day() -> int:
    """Return the first id of the second held-out day."""
    return read_json(FEATURES / MANIFEST)["held_out"][0]["rows"]["item_id"]


def _swapped(path: Path, column: str, one: int, other: int) -> None:
    """Swap two values of a column."""
    values = pq.read_table(path)[column].to_pylist()
    put(path, column, one, values[other])
    put(path, column, other, values[one])


def test_sound_late_ids_are_open(late: Params) -> None:
    """Each held-out day makes some ids known, and nothing fails."""
    held_out = read_json(FEATURES / MANIFEST)["held_out"]
    rows = [day["rows"]["item_id"] for day in held_out]
    assert len(set(rows)) == 3
    report = judge("features", late)
    assert "item_id_known_since" in {entry["name"] for entry in report["expectations"]}
    assert not failed(report)


def test_an_id_that_is_known_too_early(late: Params) -> None:
    """The first id of the second day moves to the first, with the smallest count, in vocabulary and manifest."""
    row = _second_day()
    held_out: list[dict[str, Any]] = read_json(FEATURES / MANIFEST)["held_out"]
    held_out[0]["rows"]["item_id"] += 1
    put(VOCABULARY, "known_since", row, pq.read_table(VOCABULARY)["known_since"][row - 1].as_py())
    put(VOCABULARY, "count", row, 1)
    seal(FEATURES, held_out=held_out)
    assert failed(judge("features", late)).keys() == {"item_id_known_since"}


def test_late_ids_that_are_swapped_everywhere(late: Params) -> None:
    """The last id of the first day and the first of the second change places in the vocabulary and the items."""
    row = _second_day()
    swapped = {row: row - 1, row - 1: row}
    _swapped(VOCABULARY, "value", row - 1, row)
    ids = pq.read_table(FEATURES / "items.parquet")["item_id"].to_pylist()
    replace_column(FEATURES / "items.parquet", "item_id", [swapped.get(number, number) for number in ids])
    seal(FEATURES)
    assert failed(judge("features", late)).keys() == {"item_id_known_since"}


def test_late_ids_out_of_the_order_of_days(late: Params) -> None:
    """The days of two neighbouring ids are swapped in the vocabulary."""
    row = _second_day()
    _swapped(VOCABULARY, "known_since", row - 1, row)
    seal(FEATURES)
    assert "vocab_item_id_days" in failed(judge("features", late))
