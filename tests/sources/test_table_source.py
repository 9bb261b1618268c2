"""The source `table` on good logs."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from log_files import T

from din.artifacts import read_json
from din.errors import InputError
from din.params.fetch import Csv
from din.schema import EVENT_COLUMNS
from din.workspace import Workspace

Fetch = Callable[..., dict[str, pa.Table]]


def manifest(workspace: Workspace) -> dict[str, Any]:
    """Return the manifest of data/raw."""
    return read_json(workspace.raw / "manifest.json")


def test_the_raw_contract(workspace: Workspace, fetch_table: Fetch) -> None:
    """Days, columns, types, order and manifest are as in the contract."""
    events = fetch_table(keep=("tab",))["events"]
    assert events.column_names == [*EVENT_COLUMNS, "tab"]
    assert events.schema.types == [
        pa.int64(), pa.int64(), pa.timestamp("us"), pa.int64(), pa.int8(), pa.int8(), pa.string(),
    ]  # fmt: skip
    assert events["timestamp"][1].as_py() == datetime(2023, 11, 15, 12)
    assert events["sequence"].to_pylist() == [*range(6)]
    assert events["behaviour"] == events["label"]
    written = manifest(workspace)
    assert written["days"] == ["2023-11-15", "2023-11-16", "2023-11-17"]
    assert sorted(written["files"]) == [f"events/date={day}/part-0.parquet" for day in written["days"]]
    assert written["params"]["label"] == "label" and "events" not in written["params"]
    del written["files"], written["days"], written["params"]
    assert written == {
        "format": 2,
        "source": "table",
        "protocol": "temporal",
        "order": None,
        "daily": False,
        "until": None,
        "rows": 6,
        "fields": {},
    }


def test_all_formats_give_the_same_files(workspace: Workspace, fetch_table: Fetch) -> None:
    """CSV, TSV, CSV.gz, Parquet and JSON-lines with the same rows give the same bytes."""
    text = (workspace.root / "clicks.csv").read_text()
    rows = pyarrow.csv.read_csv(workspace.root / "clicks.csv")
    (workspace.root / "clicks.tsv").write_text(text.replace(",", "\t"))
    (workspace.root / "clicks.csv.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(rows, workspace.root / "clicks.parquet")
    (workspace.root / "clicks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    hashes = []
    for suffix in ("csv", "tsv", "csv.gz", "parquet", "jsonl"):
        fetch_table(events=f"clicks.{suffix}", keep=("tab",))
        hashes.append(manifest(workspace)["files"])
    assert hashes == [hashes[0]] * 5


def test_a_remote_file_system(workspace: Workspace, fetch_table: Fetch) -> None:
    """A URL is read through fsspec, and a glob works there as on disk."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/logs/a.csv", (workspace.root / "clicks.csv").read_bytes())
    assert fetch_table(events="memory://logs/*.csv")["events"].num_rows == 6


def test_a_file_system_without_its_package(fetch_table: Fetch) -> None:
    """The message names the package to install."""
    import fsspec

    fsspec.register_implementation("odd", "oddfs.FileSystem", clobber=True, errtxt="Install oddfs to access odd stores")
    with pytest.raises(InputError, match=r"^fetch\.table\.events: .* odd stores; pip install oddfs$"):
        fetch_table(events="odd://bucket/clicks.csv")


def test_files_of_a_glob_come_in_sorted_order_and_patterns_in_theirs(workspace: Workspace, fetch_table: Fetch) -> None:
    """Sequence is the row number at fetch, with patterns as listed, files sorted within each, and no file twice."""
    header, *rows = (workspace.root / "clicks.csv").read_text().splitlines()
    for name, row in zip(("part-2", "part-10", "part-1", "late"), rows, strict=False):
        (workspace.root / f"{name}.csv").write_text(f"{header}\n{row}\n")
    items = fetch_table(events="late.csv, part-*.csv, part-1.csv")["events"]["item_id"].to_pylist()
    assert items == [13, 12, 11, 10]


def test_column_mapping_renames_keys_and_kept_columns(workspace: Workspace, fetch_table: Fetch) -> None:
    """`our name: their name` renames keys and columns of `keep`."""
    text = (
        (workspace.root / "clicks.csv")
        .read_text()
        .replace("user_id,item_id,timestamp,label,tab", "uid,sku,ts,click,ui")
    )
    (workspace.root / "clicks.csv").write_text(text)
    mapping = {"user_id": "uid", "item_id": "sku", "timestamp": "ts", "tab": "ui"}
    events = fetch_table(columns=mapping, label="click", keep=("tab",))["events"]
    assert events["tab"].to_pylist() == ["a", "b"] * 3
    assert events["label"].to_pylist() == [0, 1] * 3


def test_own_sequence_and_behaviour(workspace: Workspace, fetch_table: Fetch) -> None:
    """Both columns are used if they exist, and rows are written in the order of `sequence`."""
    (workspace.root / "clicks.csv").write_text(
        "user_id,item_id,timestamp,label,sequence,seen\n1,5,1700006400,0,9,1\n1,6,1700006400,1,3,0\n"
    )
    fetch_table(behaviour="seen")
    day = pq.read_table(workspace.raw / "events/date=2023-11-15/part-0.parquet", partitioning=None)
    assert day.select(["sequence", "behaviour", "item_id"]).to_pylist() == [
        {"sequence": 3, "behaviour": 0, "item_id": 6},
        {"sequence": 9, "behaviour": 1, "item_id": 5},
    ]


@pytest.mark.parametrize(("drop", "expected"), [(False, [5, 5, 6, 5]), (True, [5, 6, 5])])
def test_duplicates_are_dropped_on_request(
    workspace: Workspace, fetch_table: Fetch, drop: bool, expected: list[int]
) -> None:
    """The first of several events with the same user, item and time is kept; other rows keep their sequence."""
    rows = f"1,5,{T},0\n1,5,{T},1\n1,6,{T},1\n1,5,{T + 1},1\n"
    (workspace.root / "clicks.csv").write_text(f"user_id,item_id,timestamp,label\n{rows}")
    events = fetch_table(drop_duplicates=drop)["events"]
    assert events["item_id"].to_pylist() == expected
    assert (events["label"][0].as_py(), events["sequence"][-1].as_py()) == (0, 3)
    assert manifest(workspace)["rows"] == len(expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("rating >= 4", [0, 1, 1]),
        ("rating < 4", [1, 0, 0]),
        ("rating == 4", [0, 1, 0]),
        ("action != 'buy'", [1, 0, 1]),
        ("odd >= name", [1, 0, 1]),
        ("flag", [0, 1, 1]),
    ],
)
def test_label_rules(workspace: Workspace, fetch_table: Fetch, rule: str, expected: list[int]) -> None:
    """Rules compare numbers and text, quoted or not; a column of that name wins; booleans are 0 or 1."""
    (workspace.root / "r.csv").write_text(
        "user_id,item_id,timestamp,rating,action,odd >= name,flag\n"
        "1,1,1700006400,3,view,1,false\n1,2,1700006400,4,buy,0,True\n1,3,1700006400,4.5,view,1,1\n"
    )
    assert fetch_table(events="r.csv", label=rule)["events"]["label"].to_pylist() == expected


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        ("s", ["1700006400", "1700006400.5"]),
        ("iso", ["2023-11-15", "2023-11-15T00:00:00.500Z"]),
        ("iso", ["2023-11-15T02:00+02:00", "2023-11-14 19:00:00.500000000-0500"]),
        ("iso", ["2023-11-15 00:00", "2023-11-15T05:30:00.5+05:30"]),
        ("%d.%m.%Y %H:%M:%S.%f", ["15.11.2023 00:00:00.0", "15.11.2023 00:00:00.5"]),
    ],
)
def test_timestamp_units(workspace: Workspace, fetch_table: Fetch, unit: str, values: list[str]) -> None:
    """Fractions, plain dates, mixed offsets, and forms of `strptime` give the same UTC microseconds."""
    (workspace.root / "t.csv").write_text(
        "user_id,item_id,timestamp,label\n" + "".join(f"1,2,{value},0\n" for value in values)
    )
    times = fetch_table(events="t.csv", timestamp_unit=unit)["events"]["timestamp"].to_pylist()
    assert times == [datetime(2023, 11, 15), datetime(2023, 11, 15, 0, 0, 0, 500_000)]


def test_a_german_file(workspace: Workspace, fetch_table: Fetch) -> None:
    """Semicolons, Windows' encoding, commas in numbers and a missing header need only keys of `csv`."""
    rows = "7;Äpfel;1,5;1700006400;1\n7;Birnen;12,75;1700006401;0\n8;a,b;3;1700006402;0\n"
    (workspace.root / "kauf.txt").write_bytes(rows.encode("cp1252"))
    names = ("user_id", "item_id", "price", "timestamp", "label")
    csv = Csv(delimiter=";", names=names, encoding="cp1252", decimal=",")
    events = fetch_table(events="kauf.txt", csv=csv, keep=("price",))["events"]
    assert events["item_id"].to_pylist() == ["Äpfel", "Birnen", "a,b"]
    assert events["price"].to_pylist() == [1.5, 12.75, 3.0]


def test_items_from_events(workspace: Workspace, fetch_table: Fetch) -> None:
    """Columns of events become an item table with the last row of each item, and a declared field of the item."""
    (workspace.root / "t.csv").write_text(
        f"{','.join(('user_id', 'item_id', 'timestamp', 'label', 'tags', 'w'))}\n"
        f"1,10,{T},0,a|b,5\n1,11,{T},1,a,6\n1,10,{T},1,c,7\n"
    )
    raw = fetch_table(events="t.csv", items_from_events=("tags",), keep=("w",), separators={"tags": "|"})
    assert raw["items"].to_pylist() == [{"item_id": 11, "tags": ["a"]}, {"item_id": 10, "tags": ["c"]}]
    assert raw["events"].column_names == [*EVENT_COLUMNS, "w"]
    assert manifest(workspace)["fields"] == {"item": {"tags": "multi"}}


def test_the_utc_offset_moves_the_days(workspace: Workspace, fetch_table: Fetch) -> None:
    """`utc_offset_hours` moves all times, and therefore the days."""
    utc = fetch_table()["events"]["timestamp"].to_pylist()
    ahead = fetch_table(utc_offset_hours=14)["events"]["timestamp"].to_pylist()
    assert ahead == [time + timedelta(hours=14) for time in utc]
    assert manifest(workspace)["days"] == sorted({str(time.date()) for time in ahead})


def test_native_timestamps_carry_their_unit(workspace: Workspace, fetch_table: Fetch) -> None:
    """A time column of Parquet needs no unit, and its zone is respected."""
    time = pa.array([1_700_006_400_000], pa.timestamp("ms", "Europe/Berlin"))
    pq.write_table(
        pa.table({"user_id": ["u"], "item_id": ["i"], "timestamp": time, "label": [True]}), workspace.root / "t.parquet"
    )
    events = fetch_table(events="t.parquet", timestamp_unit="ms")["events"]
    assert events["timestamp"].to_pylist() == [datetime(2023, 11, 15)]


def test_items_and_users_keep_every_column_with_types_by_content(workspace: Workspace, fetch_table: Fetch) -> None:
    """Numbers become numeric, zip codes and NA among words stay text, missing is null, separated lists are multi."""
    (workspace.root / "items.csv").write_text(
        "sku,price,zip,country,tags,codes,empty\n10,1.5,01234,NA,x|y,1|2,\n11,nan,99999,DE,,3|,\n12,NA,00001,,z,,\n"
    )
    (workspace.root / "users.csv").write_text("user_id,age\n1,30\n2,\n")
    raw = fetch_table(
        items="items.csv", items_columns={"item_id": "sku"}, users="users.csv", separators={"tags": "|", "codes": "|"}
    )
    assert raw["items"].to_pydict() == {
        "item_id": [10, 11, 12],
        "price": [1.5, None, None],
        "zip": ["01234", "99999", "00001"],
        "country": ["NA", "DE", None],
        "tags": [["x", "y"], [], ["z"]],
        "codes": [[1, 2], [3], []],
        "empty": [None, None, None],
    }
    assert raw["users"].to_pydict() == {"user_id": [1, 2], "age": [30, None]}
    plain = dict.fromkeys(("price", "zip", "country", "empty"), "categorical")
    assert manifest(workspace)["fields"] == {
        "item": {**plain, "tags": "multi", "codes": "multi"},
        "user": {"age": "categorical"},
    }


def test_vectors_come_as_text_or_as_lists_of_any_form(workspace: Workspace, fetch_table: Fetch) -> None:
    """CSV with a separator, Parquet lists of a fixed size or not: lists of numbers; a missing one is empty."""
    (workspace.root / "items.csv").write_text("item_id,embedding\n10,0.5 -1e-3\n11,\n12,2 .25\n")
    of_text = fetch_table(items="items.csv", separators={"embedding": " "})["items"]
    vectors = [[0.5, -1e-3], None, [2.0, 0.25]]
    for kind in (pa.list_(pa.float64(), 2), pa.list_(pa.float32())):
        table = pa.table({"item_id": [10, 11, 12], "embedding": pa.array(vectors, kind)})
        pq.write_table(table, workspace.root / "items.parquet")
        found = fetch_table(items="items.parquet")["items"]
        assert pa.types.is_floating(found.schema.field("embedding").type.value_type)
        for one in (of_text, found):
            assert [row or None for row in one["embedding"].to_pylist()] == [
                None if row is None else pytest.approx(row) for row in vectors
            ]


def test_json_lists_and_times_stay_as_written(workspace: Workspace, fetch_table: Fetch) -> None:
    """JSON-lines may hold lists, and text that looks like a time stays text unless it is the timestamp."""
    (workspace.root / "items.jsonl").write_text(
        '{"item_id": 10, "day": "2020-01-01", "tags": ["x", null]}\n{"item_id": 11}\n'
    )
    items = fetch_table(items="items.jsonl")["items"]
    assert items.to_pydict() == {"item_id": [10, 11], "day": ["2020-01-01", None], "tags": [["x"], []]}


def test_history_in_list_form(workspace: Workspace, fetch_table: Fetch) -> None:
    """Elements are oldest first, share the row's time and are numbered; users without behaviours are dropped."""
    (workspace.root / "h.csv").write_text("user_id,seen,last,stars\n2,7|8|9,1699999999,5|3|4\n1,,,\n3,5,1699000000,1\n")
    mapping = {"item_id": "seen", "timestamp": "last", "rating": "stars"}
    history = fetch_table(history="h.csv", history_columns=mapping, separators={"seen": "|", "stars": "|"})["history"]
    assert history.drop_columns("timestamp").to_pydict() == {
        "user_id": [2, 2, 2, 3],
        "item_id": [7, 8, 9, 5],
        "sequence": [0, 1, 2, 0],
        "rating": [5, 3, 4, 1],
    }
    seconds = [time.replace(tzinfo=UTC).timestamp() for time in history["timestamp"].to_pylist()]
    assert seconds == [1_699_999_999] * 3 + [1_699_000_000]


def test_history_of_empty_lists_alone(workspace: Workspace, fetch_table: Fetch) -> None:
    """A history of empty lists counts as no history."""
    (workspace.root / "h.csv").write_text("user_id,item_id,timestamp\n1,,\n")
    assert "history" not in fetch_table(history="h.csv", separators={"item_id": "|"})


def test_history_in_long_form(workspace: Workspace, fetch_table: Fetch) -> None:
    """Each behaviour has a row, written by user and time, and kept columns of the same name are included."""
    (workspace.root / "h.csv").write_text(
        "user_id,item_id,timestamp,tab\n2,7,1699990000,b\n1,5,1699990000,a\n2,8,1699980000,c\n"
    )
    history = fetch_table(history="h.csv", keep=("tab",))["history"]
    assert history.drop_columns("timestamp").to_pydict() == {
        "user_id": [1, 2, 2],
        "item_id": [5, 8, 7],
        "sequence": [1, 2, 0],
        "tab": ["a", "c", "b"],
    }


def test_ids_are_kept_as_given(workspace: Workspace, fetch_table: Fetch) -> None:
    """Leading zeros and ids beyond 64 bits stay text, and a table with whole ids follows one with text ids."""
    (workspace.root / "clicks.csv").write_text(
        "user_id,item_id,timestamp,label\n007,1,1700006400,0\n18446744073709551616,2,1700006400,0\n"
    )
    (workspace.root / "items.csv").write_text("item_id,c\n1,x\nB00,y\n")
    raw = fetch_table(items="items.csv")
    assert raw["events"]["user_id"].to_pylist() == ["007", "18446744073709551616"]
    assert raw["events"]["item_id"].to_pylist() == ["1", "2"]
    assert raw["items"]["item_id"].to_pylist() == ["1", "B00"]


def test_ids_that_pandas_made_floats(workspace: Workspace, fetch_table: Fetch) -> None:
    """A float column of whole numbers is an integer id."""
    table = pa.table({"user_id": [1.0, 2.0], "item_id": [3, 4], "timestamp": [1_700_006_400] * 2, "label": [0.0, 1.0]})
    pq.write_table(table, workspace.root / "t.parquet")
    assert fetch_table(events="t.parquet")["events"]["user_id"].to_pylist() == [1, 2]


def test_quoted_text_with_newlines(workspace: Workspace, fetch_table: Fetch) -> None:
    """Commas, quotes and line ends inside quotes belong to the value."""
    (workspace.root / "items.csv").write_text('item_id,title\n10,"a, ""b""\nc"\n')
    assert fetch_table(items="items.csv")["items"]["title"].to_pylist() == ['a, "b"\nc']
