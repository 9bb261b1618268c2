"""The source `table` on good logs."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data.rows import Rows
from din.params.fetch import Csv
from din.schema import EVENT_COLUMNS
from tests.factories.raw_logs import HEADER, T, parquet, table_of

Fetch = Callable[..., dict[str, pa.Table]]

MIDNIGHT = datetime(2023, 11, 15)
MOMENT = timedelta(microseconds=1)
HALF_A_SECOND_LATER = datetime(2023, 11, 15, 0, 0, 0, 500_000)


def manifest(workspace: Workspace) -> dict[str, Any]:
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
    assert written == {"format": 2, "source": "table", "protocol": "temporal", "rows": 6, "fields": {}} | {
        "order": None, "daily": False, "until": None,
    }  # fmt: skip


def test_all_formats_give_the_same_files(workspace: Workspace, fetch_table: Fetch) -> None:
    """CSV, TSV, CSV.gz, Parquet and JSON-lines with the same rows give the same bytes, from a remote system as well."""
    text = (workspace.root / "clicks.csv").read_text()
    rows = pyarrow.csv.read_csv(workspace.root / "clicks.csv")
    (workspace.root / "clicks.tsv").write_text(text.replace(",", "\t"))
    (workspace.root / "clicks.csv.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(rows, workspace.root / "clicks.parquet")
    (workspace.root / "clicks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    fsspec.filesystem("memory").pipe("/logs/a.csv", text.encode())
    hashes = []
    for path in (*(f"clicks.{suffix}" for suffix in ("csv", "tsv", "csv.gz", "parquet", "jsonl")), "memory://logs/*"):
        fetch_table(events=path, keep=("tab",))
        hashes.append(manifest(workspace)["files"])
    assert hashes == [hashes[0]] * 6


@pytest.mark.parametrize("form", ["one line", "indented", "in small chunks"])
def test_a_json_array_is_read_like_lines(
    form: str, workspace: Workspace, fetch_table: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of an array may hold what structures JSON, and chunks may end anywhere."""
    texts = ['a "b" \\', "],[", "{", "\u2028\n", "ü", ""]
    rows = [
        {
            "user_id": n,
            "item_id": n % 9,
            "timestamp": T + n,
            "label": n % 2,
            "text": texts[n % 6],
            "tags": texts[: n % 3],
        }
        for n in range(200)
    ]
    (workspace.root / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    array = json.dumps(rows, indent=None if form == "one line" else 2, ensure_ascii=form != "indented")
    (workspace.root / "array.json").write_text(f"\ufeff{array}\n" if form == "indented" else array)
    if form == "in small chunks":
        monkeypatch.setattr("din.data.readers.CHUNK", 251)
    found = [fetch_table(events=path, keep=("text", "tags"))["events"] for path in ("lines.jsonl", "array.json")]
    assert found[1] == found[0] and found[0].num_rows == 200


@pytest.mark.parametrize("path", ["shown.tsv", "shown-{date}.tsv"])
def test_impressions_in_a_cell_become_rows(path: str, workspace: Workspace, fetch_table: Fetch) -> None:
    """They are those of a log with a row for each, in the order of the cells; a repeated one counts once."""
    cells = {1: "N1-0 N2-1 N1-1", 2: "A-b-1", 3: "N2-0  N3-1 N1-0"}
    rows = [f"{user}\t{T + user}\t{cell}\n" for user, cell in cells.items()]
    place = workspace.root / path.replace("{date}", "2023-11-15")
    place.write_text("user_id\ttimestamp\tshown\n" + "".join(rows))
    each = [f"{user},{one[:-2]},{T + user},{one[-1]}\n" for user, cell in cells.items() for one in cell.split()]
    (workspace.root / "each.csv").write_text(f"{HEADER}\n" + "".join(each))
    for drop in (False, True):
        found, expected = (
            fetch_table(events=events, explode=explode, columns=columns, label=label, drop_duplicates=drop)["events"]
            for events, explode, columns, label in (
                (path, {"shown": ("what", "clicked")}, {"item_id": "what"}, "clicked"),
                ("each.csv", {}, {}, "label"),
            )
        )
        assert found.drop(["sequence"]) == expected.drop(["sequence"])
        assert found.num_rows == len(each) - drop
        assert found["sequence"].to_pylist() == sorted({*found["sequence"].to_pylist()})


@pytest.mark.parametrize(("value", "kind"), [("2.0", pa.int64()), ("2.5", pa.float64())])
def test_integers_that_pandas_made_floats(
    value: str, kind: pa.DataType, workspace: Workspace, fetch_table: Fetch
) -> None:
    """Integers of the history that have a fraction of 0 beside a missing value are integers, as those of the events."""
    (workspace.root / "log.csv").write_text(f"{HEADER},tab\n1,5,{T},0,7\n")
    rows = {"user_id": [1, 1], "item_id": [6, 7], "timestamp": [T - 2, T - 1], "tab": [float(value), None]}
    pq.write_table(pa.table(rows), workspace.root / "history.parquet")
    found = fetch_table(events="log.csv", history="history.parquet", keep=("tab",))
    assert (found["events"]["tab"].type, found["history"]["tab"].type) == (pa.int64(), kind)


@pytest.mark.parametrize("step", [1, -1])
def test_the_first_of_rows_at_the_same_time(step: int) -> None:
    """Whichever of a user's equally early rows DuckDB sees first, the first one of the file is taken."""
    rows = Rows.of("log.csv", {"user": [1, 2, 1, 2, 1], "time": [5, 9, 5, 7, 5]})
    seen = rows.con.execute(rows.query).to_arrow_table()[::step]
    rows.con.register("seen", seen)
    first = replace(rows, query="SELECT * FROM seen").one_each("min", rows["user"], order=rows["time"])
    assert first.con.execute(f"SELECT row FROM ({first.query}) ORDER BY row").fetchall() == [(0,), (3,)]


def test_a_missing_column_is_named_where_the_format_allows(workspace: Workspace, fetch_table: Fetch) -> None:
    """Only a CSV may lack a header, and a history in the events' files has their names."""
    pq.write_table(pa.table({"user": [1]}), workspace.root / "clicks.parquet")
    with pytest.raises(InputError, match=r"no column 'user_id'.*\{user_id: user\}$"):
        fetch_table(events="clicks.parquet")
    with pytest.raises(
        InputError, match=r"no column 'before'.*is a row, name all columns in fetch\.table\.csv\.names$"
    ):
        fetch_table(history="clicks.csv", history_columns={"item_id": "before"})


def test_a_file_system_without_its_package(fetch_table: Fetch) -> None:
    """The message names the package to install."""
    fsspec.register_implementation("odd", "oddfs.FileSystem", clobber=True, errtxt="Install oddfs to access odd stores")
    with pytest.raises(InputError, match=r"^fetch\.table\.events: .* odd stores; pip install oddfs$"):
        fetch_table(events="odd://bucket/clicks.csv")


def test_the_utc_offset_moves_the_days(workspace: Workspace, fetch_table: Fetch) -> None:
    """`utc_offset_hours` moves all times, and therefore the days."""
    utc = fetch_table()["events"]["timestamp"].to_pylist()
    ahead = fetch_table(utc_offset_hours=14)["events"]["timestamp"].to_pylist()
    assert ahead == [time + timedelta(hours=14) for time in utc]
    assert manifest(workspace)["days"] == ["2023-11-15", "2023-11-16", "2023-11-17", "2023-11-18"]


def case(name: str, files: dict[str, str | bytes], expected: dict[str, dict[str, list[Any]]], **table: Any) -> Any:
    """Return a case: files to write, some columns of the raw tables, and keys of `fetch.table`."""
    return pytest.param(files, expected, table, id=name)


def events(name: str, content: str | bytes, expected: dict[str, list[Any]], **table: Any) -> Any:
    """Return a case with a file of events."""
    path = "log.csv" if isinstance(content, str) else "log.parquet"
    return case(name, {path: content}, {"events": expected}, **{"events": path, **table})


def labels(rule: str, *expected: int) -> Any:
    """Return a case of a rule, in which a column of that name wins; booleans are 0 or 1, text may be quoted."""
    header = "user_id,item_id,timestamp,rating,action,odd >= name,flag"
    rows = (f"1,1,{T},3,view,1,false", f"1,2,{T},4,buy,0,True", f"1,3,{T},4.5,view,1,1")
    return events(rule, "\n".join([header, *rows]), {"label": [*expected]}, label=rule)


def truths(rule: str, *expected: int) -> Any:
    """Return a case of a rule over a column of booleans."""
    log = parquet(user_id=[1, 2], item_id=[3, 4], timestamp=[T, T], label=[0, 0], liked=[True, False])
    return events(rule, log, {"label": [*expected]}, label=rule)


def times(unit: str, *values: str) -> Any:
    """Return a case of two times."""
    rows = "".join(f"1,2,{value},0\n" for value in values)
    return events(unit, f"{HEADER}\n{rows}", {"timestamp": [MIDNIGHT, HALF_A_SECOND_LATER]}, timestamp_unit=unit)


TWICE = f"{HEADER}\n1,5,{T},0\n1,5,{T},1\n1,6,{T},1\n1,5,{T + 1},1\n"
CASES = [
    events(
        "floats of 32 bits", parquet(price=pa.array([0.1], pa.float32()), size=pa.array([1e-7], pa.float32())),
        {"price": [0.1], "size": [1e-7]}, keep=("price", "size"),
    ),
    labels("rating >= 4", 0, 1, 1),
    labels("rating < 4", 1, 0, 0),
    labels("rating == 4", 0, 1, 0),
    labels("action != 'buy'", 1, 0, 1),
    labels("odd >= name", 1, 0, 1),
    labels("flag", 0, 1, 1),
    truths("liked", 1, 0),
    truths("liked == True", 1, 0),
    truths("liked == 1", 1, 0),
    truths("liked != 'false'", 1, 0),
    truths("liked == 0", 0, 1),
    times("s", f"{T}", f"{T}.5"),
    times("iso", "2023-11-15T02:00+02:00", "2023-11-14 19:00:00.500000000-0500"),
    times("iso", "2023-11-15 00:00 UTC", "2023-11-15 02:00:00.5 +0200"),
    times("%d.%m.%Y %H:%M:%S.%f", "15.11.2023 00:00:00.0", "15.11.2023 00:00:00.5"),
    events(
        "a time type has its unit and zone",
        parquet(timestamp=pa.array([T * 1000], pa.timestamp("ms", "Europe/Berlin"))),
        {"timestamp": [MIDNIGHT]},
    ),
    case(  # a date that nanoseconds can't hold, beside ones that have them
        "times of several units",
        {f"{unit}.parquet": parquet(end=pa.array([end], pa.timestamp(unit)))
            for unit, end in {"ns": 1_700_006_400_000_000_001, "us": 253_402_214_400_000_000}.items()},
        {"events": {"end": ["2023-11-15 00:00:00", "9999-12-31 00:00:00"]}}, events="*.parquet", keep=("end",),
    ),
    events("names of keys and kept columns", f"uid,sku,ts,c,ui\n1,2,{T},1,x\n", {"user_id": [1], "tab": ["x"]},
        columns={"user_id": "uid", "item_id": "sku", "timestamp": "ts", "tab": "ui"}, label="c", keep=("tab",)),
    events("all rows are behaviours", f"{HEADER}\n1,5,{T},0\n1,6,{T},1\n", {"behaviour": [1, 1]}, behaviour="all"),
    events("own sequence and behaviour", f"{HEADER},sequence,seen\n1,5,{T},0,9,1\n1,6,{T},1,3,0\n",
        {"sequence": [3, 9], "behaviour": [0, 1], "item_id": [6, 5]}, behaviour="seen"),
    events("duplicates", TWICE, {"item_id": [5, 5, 6, 5], "label": [0, 1, 1, 1]}),
    events("the first of duplicates", TWICE, {"item_id": [5, 6, 5], "label": [0, 1, 1], "sequence": [0, 2, 3]},
        drop_duplicates=True),
    case(
        "duplicates of whole numbers and floats",
        {"a.csv": f"{HEADER},price\n1,17,{T},0,1\n2,18,{T},1,2\n",
            "b.csv": f"{HEADER},price\n1.0,17.0,{T}.0,1,3\n3.0,17.0,{T}.0,1,4\n"},
        {"events": {"item_id": [17, 18, 17], "label": [0, 1, 1]}, "items": {"item_id": [18, 17], "price": [2, 4]}},
        events="?.csv", drop_duplicates=True, items_from_events=("price",),
    ),
    events("words that look alike are no duplicates", f"{HEADER}\n1,17,{T},0\n1,17.0,{T},1\n1,x,{T},1\n",
        {"item_id": ["17", "17.0", "x"]}, drop_duplicates=True),
    events("ids with zeros or beyond 64 bits", f"{HEADER}\n007,1,{T},0\n18446744073709551616,2,{T},0\n",
        {"user_id": ["007", "18446744073709551616"]}),
    events("ids of a decimal type", parquet(user_id=pa.array([2**60 + 1], pa.decimal128(38))),
        {"user_id": [2**60 + 1]}),
    events("hours that pandas made floats", parquet(timestamp=[2023111422.0]),
        {"timestamp": [datetime(2023, 11, 14, 22)]}, timestamp_unit="%Y%m%d%H"),
    events("ids that pandas made floats", parquet(user_id=[1.0], label=[1.0]), {"user_id": [1], "label": [1]}),
    case(
        "ids that pandas wrote as floats, and as integers",
        {"log.csv": f"{HEADER}\n1.0,2.0,{T},0\n", "goods.csv": "item_id,price\n2,3.5\n"},
        {"events": {"user_id": [1], "item_id": [2]}, "items": {"item_id": [2]}}, events="log.csv", items="goods.csv",
    ),
    case(  # semicolons, Windows' encoding, commas in numbers, and no header
        "a German file", {"kauf.txt": f"7;Äpfel;1,5;{T};1\n8;a,b;3;{T};0\n".encode("cp1252")},
        {"events": {"item_id": ["Äpfel", "a,b"], "price": [1.5, 3.0]}}, events="kauf.txt", keep=("price",),
        csv=Csv(delimiter=";", encoding="cp1252", decimal=",",
            names=("user_id", "item_id", "price", "timestamp", "label")),
    ),
    case(
        "lists with commas in a German file",
        {"log.csv": f"{HEADER.replace(',', ';')}\n1;10;{T};0\n", "i.csv": "item_id;tags;price\n10;1,2;1,5\n"},
        {"items": {"tags": [[1, 2]], "price": [1.5]}},
        events="log.csv", items="i.csv", csv=Csv(delimiter=";", decimal=","), separators={"tags": ","},
    ),
    case(  # the last row of each item counts
        "items from events", {"log.csv": f"{HEADER},tags,w\n1,10,{T},0,a|b,5\n1,11,{T},1,a,6\n1,10,{T},1,c,7\n"},
        {"items": {"item_id": [11, 10], "tags": [["a"], ["c"]]}, "events": {"w": [5, 6, 7]}},
        events="log.csv", items_from_events=("tags",), keep=("w",), separators={"tags": "|"},
    ),
    case(  # numbers are numeric, zip codes and NA among words text, missing values null, separated lists multi
        "items and users",
        {
            "i.csv": "sku,price,zip,country,tags,codes,empty,title\n"
            '10,1.5,01234,NA,x|y,1|2,,"a, ""b""\nc"\n11,nan,99999,DE,,3|,,\n12,NA,00001,,z,,,\n',
            "u.csv": "user_id,age\n1,30\n2,\n",
        },
        {
            "items": {
                "item_id": [10, 11, 12],
                "price": [1.5, None, None],
                "zip": ["01234", "99999", "00001"],
                "country": ["NA", "DE", None],
                "tags": [["x", "y"], [], ["z"]],
                "codes": [[1, 2], [3], []],
                "empty": [None, None, None],
                "title": ['a, "b"\nc', None, None],
            },
            "users": {"user_id": [1, 2], "age": [30, None]},
        },
        items="i.csv", items_columns={"item_id": "sku"}, users="u.csv", separators={"tags": "|", "codes": "|"},
    ),
    case(  # what looks like a time stays text
        "JSON lists", {"i.jsonl": '{"item_id": 10, "day": "2020-01-01", "tags": ["x", null]}\n{"item_id": 11}\n'},
        {"items": {"item_id": [10, 11], "day": ["2020-01-01", None], "tags": [["x"], []]}}, items="i.jsonl",
    ),
    case("text ids beside whole ones", {"i.csv": "item_id,c\n10,x\nB00,y\n"},
        {"events": {"item_id": ["10", "11", "12", "13", "14", "15"]}, "items": {"item_id": ["10", "B00"]}},
        items="i.csv"),
    case(  # oldest first, all at the row's time; users without behaviours are dropped
        "a history of lists", {"h.csv": "user_id,seen,last,stars\n2,7|8|9,1699999999,5|3|4\n1,,,\n3,5,1699000000,1\n"},
        {"history": {
            "user_id": [2, 2, 2, 3], "item_id": [7, 8, 9, 5], "sequence": [0, 1, 2, 0], "rating": [5, 3, 4, 1],
            "timestamp": [datetime(2023, 11, 14, 22, 13, 19)] * 3 + [datetime(2023, 11, 3, 8, 26, 40)],
        }},
        history="h.csv", history_columns={"item_id": "seen", "timestamp": "last", "rating": "stars"},
        separators={"seen": "|", "stars": "|"},
    ),
    case(  # written by user and time
        "a history of rows",
        {"h.csv": "user_id,item_id,timestamp,tab\n2,7,1699990000,b\n1,5,1699990000,a\n2,8,1699980000,c\n"},
        {"history": {"user_id": [1, 2, 2], "item_id": [5, 8, 7], "sequence": [1, 2, 0], "tab": ["a", "c", "b"]}},
        history="h.csv", keep=("tab",),
    ),
    case(  # as requests need, which have values of both
        "numbers of a history whose column is text in the events",
        {"h.csv": "user_id,item_id,timestamp,tab\n1,5,1699980000,5\n2,7,1699990000,\n"},
        {"history": {"user_id": [1, 2], "tab": ["5", None]}},
        history="h.csv", keep=("tab",),
    ),
    case(
        "fractions and booleans of a history whose columns are text in the events",
        {
            "log.parquet": parquet(page=["7"], ok=["no"]),
            "h.parquet": table_of(
                user_id=[1, 2], item_id=[5, 7], timestamp=[T - 9, T - 9], page=[7.0, 8.5], ok=[True, False]
            ),
        },
        {"history": {"page": ["7", "8.5"], "ok": ["True", "False"]}},
        events="log.parquet", history="h.parquet", keep=("page", "ok"),
    ),
    *(
        case(
            f"lists of what was shown and what was clicked, in {path}", {path: content},
            {"events": {"user_id": [0, 0, 0, 1, 2, 2], "item_id": [1, 2, 30, 4, 3, 5], "label": [1, 0, 1, 0, 0, 1]}},
            events=path, explode={"shown": ("item_id", "clicked")}, label="clicked",
            separators={"shown": "|", "clicked": "|"},
        )
        for path, content in {
            "log.csv": f"user_id,timestamp,shown,clicked\n0,{T},1|2|30,30|1\n1,{T + 1},4,\n2,{T + 2},3|5,5\n",
            "log.parquet": table_of(
                user_id=[0, 1, 2], timestamp=[T, T + 1, T + 2],
                shown=[[1, 2, 30], [4], [3, 5]], clicked=[[30, 1], [], [5]],
            ),
        }.items()
    ),
    case(  # the list of a user's first event counts, from before its day
        "events that say what came before them",
        {"log.tsv": f"1\t{T + 50}\tN3 N4\tN9-0\n2\t{T}\t\tN3-1\n1\t{T + 9}\tN3\tN4-0 N5-1\n3\t{T + 2}\tN1 N2\tN3-0\n"},
        {"history": {"user_id": [1, 3, 3], "item_id": ["N3", "N1", "N2"], "timestamp": [MIDNIGHT - MOMENT] * 3}},
        events="log.tsv", csv=Csv(names=("user_id", "timestamp", "before", "shown")),
        explode={"shown": ("item_id", "label")}, history="log.tsv", history_columns={"item_id": "before"},
        separators={"before": " "},
    ),
    case("items without a header, whose columns have numbers", {"i.csv": "10,a\n11,b\n"},
        {"items": {"item_id": [10, 11], "column_2": ["a", "b"]}}, items="i.csv", items_columns={"item_id": "column_1"}),
    case("items with a header of such names", {"i.csv": "column_1,column_2\n10,a\n"},
        {"items": {"item_id": [10], "column_2": ["a"]}}, items="i.csv", items_columns={"item_id": "column_1"}),
    case(  # an index of pandas has none, nor have in Excel the columns after the last one
        "columns without a name",
        {"log.csv": f",user_id,item_id,timestamp,label,\n0,1,10,{T},0,\n1,1,11,{T},1,\n",
            "i.csv": ",item_id,price,,\n0,10,3,,\n1,11,4,,\n"},
        {"items": {"item_id": [10, 11], "price": [3, 4]}}, events="log.csv", items="i.csv",
    ),
    case(  # patterns as listed, files sorted within each, and no file twice
        "several files",
        {f"{name}.csv": f"{HEADER}\n1,{item},{T},0\n"
            for name, item in {"part-2": 10, "part-10": 11, "part-1": 12, "late": 13}.items()},
        {"events": {"item_id": [13, 12, 11, 10], "sequence": [0, 1, 2, 3]}}, events="late.csv, part-*.csv, part-1.csv",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("files", "expected", "table"), CASES)
def test_logs(
    workspace: Workspace,
    fetch_table: Fetch,
    files: dict[str, str | bytes],
    expected: dict[str, dict[str, list[Any]]],
    table: dict[str, Any],
) -> None:
    """The raw tables hold what the files say."""
    for name, content in files.items():
        (workspace.root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    raw = fetch_table(**table)
    assert {name: raw[name].select([*columns]).to_pydict() for name, columns in expected.items()} == expected
    for group, name in (("item", "items"), ("user", "users")):
        schema = raw[name].schema if name in raw else pa.schema([])
        side = [field for field in schema if field.name not in ("item_id", "user_id")]
        kinds = {field.name: "multi" if pa.types.is_list(field.type) else "categorical" for field in side}
        assert manifest(workspace)["fields"].get(group, {}) == kinds


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


def test_history_of_empty_lists_alone(workspace: Workspace, fetch_table: Fetch) -> None:
    """A history of empty lists counts as no history."""
    (workspace.root / "h.csv").write_text("user_id,item_id,timestamp\n1,,\n")
    assert "history" not in fetch_table(history="h.csv", separators={"item_id": "|"})
