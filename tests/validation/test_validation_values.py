"""Columns with one value, lists that were not split, and ids of nobody."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planting import RAW, edit, failed, judge, seal

from din.params import Params

Enter = Callable[..., Params]


def everywhere(column: str, value: object, *names: str) -> None:
    """Set a column of the events, and of side tables, to one value."""
    for path in [*RAW.glob("events/*/*.parquet"), *(RAW / f"{name}.parquet" for name in names)]:
        at = pq.read_schema(path).names.index(column)
        kind = pq.read_schema(path).field(column).type
        edit(path, lambda t, at=at, kind=kind: t.set_column(at, column, pa.array([value] * len(t), kind)))
    seal(RAW)


@pytest.mark.parametrize(("column", "expectation"), [("user_id", "distinct_users"), ("item_id", "distinct_items")])
def test_a_log_of_one_id_is_closed(workspace: Enter, column: str, expectation: str) -> None:
    """If all rows belong to one user, or to one item, nothing can be ranked."""
    params = workspace()
    value = pq.read_table(next(RAW.glob("events/*/*.parquet")))[column][0].as_py()
    everywhere(column, value)
    assert expectation in failed(judge("raw", params))


def test_histories_of_another_id_space_are_closed(workspace: Enter) -> None:
    """Items that neither the events nor the item table have are found, and the sample names some."""
    params = workspace()

    def change(table: pa.Table) -> pa.Table:
        ids = pa.array(table["item_id"].to_numpy() + 900_000)
        return table.set_column(table.column_names.index("item_id"), "item_id", ids)

    edit(RAW / "history.parquet", change)
    seal(RAW)
    found = failed(judge("raw", params))
    assert found["history_unknown_items"]["sample"][0]["item_id"] > 900_000


def test_a_field_of_one_value_is_a_warning(workspace: Enter) -> None:
    """A column with one value in all events is a warning."""
    params = workspace()
    everywhere("tab", 1)
    warned = failed(judge("raw", params), "warning")
    assert warned["constant_fields"]["sample"] == [{"table": "events", "column": "tab", "value": 1}]


def test_lists_that_were_not_split_are_a_warning(workspace: Enter) -> None:
    """Items whose only tag holds separators are a warning."""
    params = workspace()

    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index("tags"), "tags", pa.array([["t1|t2"]] * len(table)))

    edit(RAW / "items.parquet", change)
    seal(RAW)
    warned = failed(judge("raw", params), "warning")
    assert warned["lists_split"]["sample"] == [{"table": "items", "column": "tags", "value": "t1|t2"}]


def vectors(change: Callable[[list], list], kind: pa.DataType | None = None) -> None:
    """Change the items' vectors."""

    def changed(table: pa.Table) -> pa.Table:
        values = pa.array(change(table["embedding"].to_pylist()), kind)
        return table.set_column(table.column_names.index("embedding"), "embedding", values)

    edit(RAW / "items.parquet", changed)
    seal(RAW)


@pytest.mark.parametrize("broken", [float("nan"), float("-inf"), None])
def test_a_vector_with_a_number_missing_is_closed(workspace: Enter, broken: float | None) -> None:
    """The sample holds the vector."""
    params = workspace()
    vectors(lambda rows: [[broken, 1.0, 2.0, 3.0], *rows[1:]])
    found = failed(judge("raw", params))
    assert found.keys() == {"vectors_of_numbers"}
    assert found["vectors_of_numbers"]["sample"][0]["column"] == "embedding"


def test_a_column_of_text_is_no_vector(workspace: Enter) -> None:
    """Lists of words where numbers belong."""
    params = workspace()
    vectors(lambda rows: [["a", "b"]] * len(rows))
    (row,) = failed(judge("raw", params))["vectors_of_numbers"]["sample"]
    assert row == {"table": "items", "column": "embedding", "type": "VARCHAR[]"}


def test_vectors_of_two_lengths_are_closed(workspace: Enter) -> None:
    """One vector lost its last number; the sample counts both lengths."""
    params = workspace()
    vectors(lambda rows: [[0.5, 1.0, 2.0], *rows[1:]])
    found = failed(judge("raw", params))
    assert found.keys() == {"vectors_of_one_length"}
    assert [row["length"] for row in found["vectors_of_one_length"]["sample"]] == [3, 4]


@pytest.mark.parametrize("number", [0.0, 0.25])
def test_vectors_that_say_nothing_are_a_warning(workspace: Enter, number: float) -> None:
    """Zeros, or another number throughout, for two items."""
    params = workspace()
    vectors(lambda rows: [4 * [number], *rows[1:-1], 4 * [number]])
    report = judge("raw", params)
    assert not failed(report)
    assert len(failed(report, "warning")["flat_vectors"]["sample"]) == 2


def test_a_vector_that_all_items_share_is_a_warning(workspace: Enter) -> None:
    """A field of one value, like any other."""
    params = workspace()
    vectors(lambda rows: [[0.1, 0.2, 0.3, 0.4]] * len(rows))
    warned = failed(judge("raw", params), "warning")
    assert [row["column"] for row in warned["constant_fields"]["sample"]] == ["embedding"]


def test_a_missing_vector_is_none_of_these(workspace: Enter) -> None:
    """Null and an empty list stand for no vector."""
    params = workspace()
    vectors(lambda rows: [None, [], *rows[2:]])
    report = judge("raw", params)
    assert not failed(report) and not failed(report, "warning").keys() & {"constant_fields", "flat_vectors"}


def test_a_sound_log_warns_of_neither(workspace: Enter) -> None:
    """A log whose fields vary and whose lists hold several values gives no warning."""
    report = judge("raw", workspace())
    assert not failed(report) and not failed(report, "warning").keys() & {"constant_fields", "lists_split"}
