"""Logs that can't be used.

Each ends with outcome 2 and one message that names place, problem and next step, and leaves `data/raw/` as it was.
"""

import gzip
import os
from collections.abc import Callable
from typing import Any

import pytest
from stages import exit_code
from table_files import GOOD, HEADER, T, parquet

from din.artifacts import read_json
from din.params import Params
from din.sources.fetch import fetch
from din.workspace import Workspace

Build = Callable[..., Params]


def case(name: str, files: dict[str, str | bytes], *says: str, **table: Any) -> Any:
    """Return a case: files to write, words of the message, and keys of `fetch.table`."""
    return pytest.param(files, says, table, id=name)


def log(name: str, path: str, content: str | bytes, *says: str, **table: Any) -> Any:
    """Return a case with a bad file of events."""
    return case(name, {path: content}, path, *says, events=path, **table)


def events(name: str, rows: str, *says: str, more: str = "", **table: Any) -> Any:
    """Return a case with bad rows of events, which may have one more column."""
    return log(name, "bad.csv", f"{HEADER}{more and ','}{more}\n{rows}\n", *says, **table)


def side(name: str, table: str, content: str | bytes, *says: str, **more: Any) -> Any:
    """Return a case with a bad table of items, users or history: JSON lines, or else CSV."""
    path = f"side.{'jsonl' if content[:1] in ('{', b'{') else 'csv'}"
    return case(name, {path: content}, path, *says, **{table: path}, **more)


ISO = {"timestamp_unit": "iso"}
CASES = [
    case("no match", {}, "fetch.table.events", "'logs/*.csv' matches no file", "check the path", events="logs/*.csv"),
    case("a directory", {"logs/a.csv": GOOD}, "'logs' is a directory", "logs/*.parquet", events="logs"),
    log("a format", "log.xlsx", b"PK", "unknown (log.xlsx)", ".parquet"),
    case("two formats", {"b.parquet": parquet()}, "CSV, Parquet", "one format", events="clicks.csv,b.parquet"),
    case("half a place", {}, "fetch.table.events", "not a place", "s3://", events="reference://a.csv"),
    case("a file system", {}, "fetch.table.events", "nosuch", events="nosuch://a/b.csv"),
    log("an empty file", "bad.csv", b"", "bad.csv: empty (0 bytes)", "expected a CSV", "again"),
    log("a header alone", "bad.csv", HEADER + "\n", "bad.csv: no rows", "at least one"),
    log(
        "a missing column", "bad.csv", "uid,item_id,timestamp,label\n1,2,3,0\n",
        "no column 'user_id'", "uid, item_id, timestamp, label", "fetch.table.columns", "{user_id: uid}",
    ),
    case("a kept column", {}, "clicks.csv: no column 'page' for page", "its columns:", keep=("page",)),
    case("a key", {}, "fetch.table.columns: 'usr'", "user_id, item_id", "keep", columns={"usr": "user_id"}),
    case("a reserved name", {}, "fetch.table.keep: 'label'", "another name", keep=("label",)),
    log("a column twice", "bad.csv", "a,a\n1,2\n", "bad.csv: column 'a' appears twice"),
    case("no label", {}, "fetch.table.label: 'clicked'", "clicks.csv", "rating >= 4", label="clicked"),
    case("a rule on text", {}, "clicks.csv row 1: tab is 'a'", "tab >= 4", "expected numbers", label="tab >= 4"),
    events("a label", f"1,10,{T},0\n1,10,{T},2", "bad.csv row 2: label is '2'; expected 0 or 1", "label >= 4"),
    events("a word as label", f"1,10,{T},pv", "label is 'pv'; expected 0 or 1", "e.g. label == pv"),
    events("a missing label", f"1,10,{T},", "bad.csv row 1: label is None; expected 0 or 1"),
    events("a missing rating", f"1,10,{T},5\n1,10,{T},", "row 2: label is missing", label="label >= 4"),
    events("a word as time", f"1,10,{T},0\n1,10,soon,0", "row 2: timestamp is 'soon'; expected a number", "iso"),
    events("a missing time", "1,10,,0", "bad.csv row 1: timestamp is missing"),
    events("ms as s", f"1,10,{T}000,0", f"row 1: timestamp is {T}000", "unit=s", "1990 to 2100", "unit to ms"),
    events("s as iso", f"1,10,{T},0", f"timestamp is '{T}'; expected ISO 8601", "unit to s", **ISO),
    events("a 13th month", "1,10,2023-12-01,0\n1,10,2023-13-01,0", "row 2: timestamp is '2023-13-01'", **ISO),
    events("a German date", "1,10,31.05.2024 12:30,0", 'fetch.table.timestamp_unit to "%d.%m.%Y %H:%M"', **ISO),
    events("another form", "1,10,31.05.2024,0", "form '%m/%d/%Y'", 'unit to "%d.%m.%Y"', timestamp_unit="%m/%d/%Y"),
    case("a form that nobody knows", {}, "timestamp_unit: '%Q'", "such as %d.%m.%Y", timestamp_unit="%Q"),
    log("semicolons", "bad.csv", "a;b\n1;2\n", "its only column is 'a;b'", "fetch.table.csv.delimiter to ';'"),
    events("a missing user", f"1,10,{T},0\n,10,{T},0", "bad.csv row 2: user_id is missing"),
    events(
        "a sequence twice", f"1,2,{T},0,7\n1,3,{T},0,8\n1,4,{T},0,7",
        "bad.csv row 3: duplicate sequence 7: first seen in bad.csv row 1", "number each event once", more="sequence",
    ),
    events("a sequence", f"1,3,{T},0,x", "row 1: sequence is 'x'; expected a whole number", more="sequence"),
    events(
        "a behaviour", f"1,2,{T},0,yes", "row 1: seen is 'yes'; expected 0 or 1", "set fetch.table.behaviour to a rule",
        more="seen", behaviour="seen",
    ),
    events("a context", f"1,2,{T},0,-inf", "row 1: w is -inf; expected a finite number", more="w", keep=("w",)),
    side("an item twice", "items", "item_id,c\n7,x\n8,y\n7,z\n", "row 3: duplicate item_id 7: first seen in side.csv"),
    side("a price", "items", "item_id,price\n7,1\n8,inf\n", "side.csv row 2: price is inf; expected a finite number"),
    side(
        "a name twice", "items", "sku,item_id\n1,2\n", "column 'item_id' collides with", "{other_item_id: item_id}",
        items_columns={"item_id": "sku"},
    ),
    side("no item_id", "items", "sku,c\n7,x\n", "no column 'item_id'", "sku, c", "items_columns", "{item_id: sku}"),
    side(
        "lists of two lengths", "history", f"user_id,item_id,timestamp,r\n1,2|3,{T},5|4\n1,4|5,{T},5\n",
        "side.csv row 2: r holds 1 values, but item_id holds 2",
        history_columns={"rating": "r"}, separators={"item_id": "|", "r": "|"},
    ),
    side(
        "a history twice", "history", f"user_id,item_id,timestamp\n1,2|3,{T}\n1,4|5,{T}\n",
        "side.csv row 2: duplicate user_id 1", "sequence 0: first seen in side.csv row 1", separators={"item_id": "|"},
    ),
    case(
        "a kept number that is text in the history",
        {"bad.csv": f"{HEADER},w\n1,2,{T},0,3\n", "h.csv": f"user_id,item_id,timestamp,w\n1,2,{T},x\n"},
        "h.csv: w is string", "bad.csv it is int64", "both as text", events="bad.csv", keep=("w",), history="h.csv",
    ),
    case("a separator", {}, "fetch.table.separators: 'tags'", "tab", separators={"tags": "|"}, keep=("tab",)),
    case(
        "integers and text", {"a.parquet": parquet(), "b.parquet": parquet(item_id=["x"])},
        "b.parquet: column 'item_id' is of type string, but of type int64 in a.parquet", "one type", events="*.parquet",
    ),
    log(
        "two JSON types", "bad.jsonl", '{"user_id": 1, "item_id": 1}\n{"user_id": "x", "item_id": 1}\n',
        "bad.jsonl: cannot be read", "line 2: ", "user_id has incompatible types: int64 vs string",
    ),
    case(
        "ids of another type in the item table", {"log.parquet": parquet(), "items.csv": "item_id,c\nx7,1\n"},
        "items.csv: item_id is string", "'x7'", "log.parquet it is int64", "10", "both as text",
        events="log.parquet", items="items.csv",
    ),
    log("ids with fractions", "b.parquet", parquet(user_id=[1.5]), "user_id is of type double; expected integers or"),
    side("structs", "items", '{"item_id": 1, "c": {"d": 1}}\n', "column 'c' is of type struct", "expected numbers"),
    log("UTF-8", "bad.csv", GOOD.encode() + b"1,\xff,1,0\n", "bad.csv: not UTF-8", "line 3", "iconv"),
    side("UTF-8 JSON", "items", b'{"item_id": 1}\n{"c": "\xe9"}\n', "side.jsonl: not UTF-8 text (line 2", "iconv"),
    side("broken JSON", "items", '{"item_id": 1}\n{"item_id": \n', "read (line 2: ", "a JSON object", "correct that"),
    log("a short row", "bad.csv", GOOD + "1,2\n", "line 3", "1,2", "correct that line"),
    log("a JSON array", "bad.json", '[{"a": 1}]', "a JSON array; expected JSON lines", "jq -c '.[]' bad.json"),
    log("numbers in JSON lines", "bad.json", '{"a": 1}\n5\n', "line 2: ", "in '5'; expected a JSON object"),
    log(
        "Excel's line", "bad.csv", f"sep=,\n{GOOD}",
        "cannot be read", "line 2: Expected 2 columns, got 4", "the first line, 'sep=,', which was taken",
    ),
    log("a truncated Parquet", "b.parquet", parquet()[:-9], "b.parquet: cannot be read", "again"),
    log("a Parquet with a hole", "b.parquet", parquet()[:20] + bytes(40) + parquet()[60:], "cannot be read", "again"),
    log("a truncated gzip", "b.csv.gz", gzip.compress(GOOD.encode())[:-12], "cannot be read", "runcated", "again"),
]  # fmt: skip


def tree(workspace: Workspace) -> dict[str, tuple[bytes, int, int]]:
    """Return bytes, inode and time of every file of data/."""
    files = [path for path in (workspace.root / "data").rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize(("files", "says", "table"), CASES)
def test_bad_input(
    workspace: Workspace,
    files: dict[str, str | bytes],
    says: tuple[str, ...],
    table: dict[str, Any],
    table_params: Build,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad input gives outcome 2 and one clear message, without a traceback, and the earlier data/raw stays as it is."""
    fetch(workspace, table_params())
    before = tree(workspace)
    for name, content in files.items():
        (workspace.root / name).parent.mkdir(exist_ok=True)
        (workspace.root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    capsys.readouterr()
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, table_params(**table))) == 2
    message = capsys.readouterr().err
    for part in says:
        assert part in message
    assert "Traceback" not in message
    assert message.count("\n") == 1
    assert read_json(workspace.outcome("fetch"))["exit_code"] == 2
    assert tree(workspace) == before
    assert [path.name for path in (workspace.root / "data").iterdir()] == ["raw"]


@pytest.mark.parametrize("target", ["a pipe", "/dev/zero", "no_such_file"])
def test_a_file_that_never_ends_is_not_read(
    target: str, workspace: Workspace, table_params: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe, whose writer may never come, a device and a broken link are named at once."""
    path = workspace.root / "odd.csv"
    os.mkfifo(path) if target == "a pipe" else path.symlink_to(target)
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, table_params(events="*.csv"))) == 2
    assert "odd.csv is a pipe, a device or a broken link; replace it" in capsys.readouterr().err


def test_rows_count_within_their_file(
    workspace: Workspace, table_params: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a glob, the message names the file that holds the row, and counts from that file's start."""
    (workspace.root / "a.csv").write_text(GOOD)
    (workspace.root / "b.csv").write_text(f"{GOOD}1,2,{T},7\n")
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, table_params(events="[ab].csv"))) == 2
    assert "b.csv row 2: label is '7'" in capsys.readouterr().err


def test_rows_count_across_batches(
    workspace: Workspace, table_params: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of several batches has its rows counted from its own start."""
    rows = f"1,10,{T},0\n" * 300_000
    (workspace.root / "big.csv").write_text(f"{HEADER}\n{rows}1,10,{T},7\n")
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, table_params(events="big.csv"))) == 2
    assert "big.csv row 300001: label is '7'" in capsys.readouterr().err


LONG = 10_000_000


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            f"{GOOD}1,11,{T},0\n1,{'x' * LONG},{T},1\n1,12,{T},0\n",
            "row 3 has more than 4 MB, beginning with '1,xxx",
        ),
        (f'{GOOD}1,"11,{T},0\n' + f"1,12,{T},0\n" * 500_000, "row 2 has more than 4 MB, beginning with '1,\"11"),
        (
            f'{HEADER}\n1,"a\nb",{T},0\n1,"a ""b"" {"x" * LONG}",{T},0\n',
            "row 2 has more than 4 MB, beginning with '1,",
        ),
        (f"{GOOD}1,12,{T}{',0' * LONG}\n", "row 2 has more than 4 MB, beginning with '1,12"),
        (f"{HEADER},{'x' * LONG}\n1,10,{T},0,1\n", "header has more than 4 MB, beginning with 'user_id,"),
    ],
    ids=["a cell", "an open quote", "quoted", "many cells", "header"],
)
def test_a_row_beyond_all_bounds_is_named(
    workspace: Workspace, content: str, says: str, table_params: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """One short line names the row, shows its beginning, and says what to do."""
    (workspace.root / "long.csv").write_text(content)
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, table_params(events="long.csv"))) == 2
    message = capsys.readouterr().err
    assert f"long.csv {says}" in message and "is a quote left open there? Correct the row" in message
    assert message.count("\n") == 1 and len(message) < 400


def test_a_cell_of_megabytes_is_read(workspace: Workspace, fetch_table: Callable[..., Any]) -> None:
    """A long cell alone is not an error."""
    (workspace.root / "long.csv").write_text(f"{GOOD}1,{'x' * 3_000_000},{T},1\n")
    assert len(fetch_table(events="long.csv")["events"]["item_id"][1].as_py()) == 3_000_000
