"""Columns with one value, lists that were not split, ids of nobody, and vectors."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planting import RAW, edit, failed, judge, seal

from din.params import Params

Enter = Callable[..., Params]


def column(table: str, name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[], None]:
    """Change a column of a side table, or of the events."""

    def plant() -> None:
        paths = RAW.glob("events/*/*.parquet") if table == "events" else [RAW / f"{table}.parquet"]
        for path in paths:
            values = pq.read_table(path)[name]
            new = pa.array(change(values.to_pylist()))
            edit(path, lambda t, new=new: t.set_column(t.column_names.index(name), name, new))

    return plant


def one(value: Any) -> Callable[[list[Any]], list[Any]]:
    """Return a change to one value."""
    return lambda rows: [value] * len(rows)


def vectors(change: Callable[[list[Any]], list[Any]]) -> Callable[[], None]:
    """Change the items' vectors."""
    return column("items", "embedding", change)


# the planted defect, the expectation that must fail, its severity, and the first row of its sample, as far as given
DEFECTS: dict[str, tuple[Callable[[], None], str, str, dict[str, Any]]] = {
    "one user": (column("events", "user_id", one(7)), "distinct_users", "critical", {}),
    "one item": (column("events", "item_id", one(7)), "distinct_items", "critical", {}),
    "histories of another id space": (
        column("history", "item_id", lambda rows: [900_000] * len(rows)),
        "history_unknown_items",
        "critical",
        {"item_id": 900_000},
    ),
    "a field of one value": (
        column("events", "tab", one(1)),
        "constant_fields",
        "warning",
        {"table": "events", "column": "tab", "value": 1},
    ),
    "lists that were not split": (
        column("items", "tags", one(["t1|t2"])),
        "lists_split",
        "warning",
        {"table": "items", "column": "tags", "value": "t1|t2"},
    ),
    "a vector with NaN": (
        vectors(lambda rows: [[float("nan"), 1.0, 2.0, 3.0], *rows[1:]]),
        "vectors_of_numbers",
        "critical",
        {"table": "items", "column": "embedding"},
    ),
    "words instead of vectors": (
        vectors(one(["a", "b"])),
        "vectors_of_numbers",
        "critical",
        {"table": "items", "column": "embedding", "type": "VARCHAR[]"},
    ),
    "vectors of two lengths": (
        vectors(lambda rows: [[0.5, 1.0, 2.0], *rows[1:]]),
        "vectors_of_one_length",
        "critical",
        {"length": 3, "rows": 1},
    ),
    "vectors of zeros": (vectors(lambda rows: [4 * [0.0], *rows[1:]]), "flat_vectors", "warning", {}),
    "vectors of one number": (vectors(lambda rows: [4 * [0.25], *rows[1:]]), "flat_vectors", "warning", {}),
    "one vector for all items": (
        vectors(one([0.1, 0.2, 0.3, 0.4])),
        "constant_fields",
        "warning",
        {"column": "embedding"},
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_fails_its_expectation(defect: str, workspace: Enter) -> None:
    """The expectation fails, and its sample shows what is wrong."""
    params = workspace()
    plant, name, severity, shown = DEFECTS[defect]
    plant()
    seal(RAW)
    sample = failed(judge("raw", params), severity)[name]["sample"]
    assert not shown or sample[0].items() >= shown.items()


def test_a_missing_vector_is_none_of_these(workspace: Enter) -> None:
    """Null and an empty list stand for no vector."""
    params = workspace()
    vectors(lambda rows: [None, [], *rows[2:]])()
    seal(RAW)
    report = judge("raw", params)
    assert not failed(report) and not failed(report, "warning").keys() & {"constant_fields", "flat_vectors"}
