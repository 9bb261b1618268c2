"""Files with any type in any role and any damage are read or refused."""

import gzip
from collections.abc import Callable
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import rawlog
from din.data.fetch import source_of
from din.params.reading import Params
from tests.factories.raw_logs import GOOD, T, parquet

VALUES = [
    pa.array([None]), pa.array([True]), pa.array([1.5]), pa.array([float("nan")]), pa.array(["x"]), pa.array([b"x"]),
    pa.array([b"\xff"]), pa.array([date(2024, 1, 1)]), pa.array([time(1)]), pa.array([timedelta(1)]), pa.array([[1]]),
    pa.array([[[1]]]), pa.array([{"a": 1}]), pa.array([[{"a": 1}]]), pa.array([Decimal("1.5")]),
    pa.array(["x"], "large_string"), pa.array([2**64 - 1], "uint64"), pa.array(["x"]).dictionary_encode(),
    pa.array([[]], pa.list_(pa.null())),
]  # fmt: skip
ROLES = {
    "events": ("item_id", "timestamp", "sequence", "label", "behaviour", "side"),
    "items": ("item_id", "side"),
    "history": ("item_id", "timestamp", "sequence"),
}


def read_or_refused(workspace: Workspace, params: Params) -> None:
    """Read the log and write its files; anything but InputError is a bug."""
    with suppress(InputError):
        rawlog.write(source_of(workspace, params).read(), workspace.root / "tree", None)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{value.type} {value[0]}")
@pytest.mark.parametrize("table", ROLES)
def test_no_parquet_type_is_a_bug(
    workspace: Workspace, value: pa.Array, table: str, table_params: Callable[..., Params]
) -> None:
    """A Parquet file with any type in any role, also in key columns, is read or refused."""
    for role in ROLES[table]:
        (workspace.root / "typed.parquet").write_bytes(parquet(**{role: value}))
        keep = ("side",) if (table, role) == ("events", "side") else ()
        for label in ("label", "label >= 4", "label == x") if role == "label" else ("label",):
            read_or_refused(workspace, table_params(**{table: "typed.parquet", "keep": keep, "label": label}))


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_deep_json_is_refused(
    workspace: Workspace, opening: str, closing: str, table_params: Callable[..., Params]
) -> None:
    """Arrow would take minutes and gigabytes for 1,000 levels, and crash at 100,000."""
    good = '{"a": 1, "b": "' + "[" * 1_000 + '"}\n'
    (workspace.root / "deep.jsonl").write_text(good + '{"b":' + opening * 1_000 + "1" + closing * 1_000 + "}\n")
    with pytest.raises(InputError, match=r"deep.jsonl: cannot be read \(line 2: nested deeper than 200 levels, in "):
        source_of(workspace, table_params(events="deep.jsonl")).read()


@pytest.mark.parametrize(
    "parameters", [{"label": "side == x\0"}, {"timestamp_unit": "%Y\0"}, {"separators": {"side": "\0"}}]
)
def test_a_zero_byte_in_a_parameter_is_never_a_bug(
    workspace: Workspace, parameters: dict[str, Any], table_params: Callable[..., Params]
) -> None:
    """Text that goes into a query may hold it; DuckDB would end the literal there."""
    (workspace.root / "log.parquet").write_bytes(parquet(side=pa.array(["x"])))
    read_or_refused(workspace, table_params(events="log.parquet", keep=("side",), **parameters))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(["csv", "csv.gz", "parquet", "jsonl"]))
def test_damaged_bytes_are_never_a_bug(
    workspace: Workspace, data: st.DataObject, suffix: str, table_params: Callable[..., Params]
) -> None:
    """A file of any form with changed, lost or added bytes is read or refused."""
    text = f"{GOOD}2,11,{T},1\n1,12,{T + 90_000},1\n".encode()
    line = '{"user_id": 1, "item_id": 10, "timestamp": 1700006400, "label": 1, "tags": ["a"]}\n'
    zipped = gzip.compress(text, mtime=0)
    good = {"csv": text, "csv.gz": zipped, "parquet": parquet(), "jsonl": line.encode() * 2}[suffix]
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 20)))
    (workspace.root / f"bytes.{suffix}").write_bytes(good[:start] + data.draw(st.binary(max_size=8)) + good[stop:])
    read_or_refused(workspace, table_params(events=f"bytes.{suffix}"))
