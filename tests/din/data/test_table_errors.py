"""Logs that can't be used: one line names place, problem and next step."""

import gzip
import os
from collections.abc import Callable
from typing import Any, Literal

import pyarrow as pa
import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.params.fetch import Csv
from din.params.reading import Params
from tests.factories.raw_logs import GOOD, HEADER, T, parquet, snapshot
from tests.helpers.stages import exit_code

Build = Callable[..., Params]
# The time in a gzip header would make the reader's message depend on the clock.
GZIPPED = gzip.compress(GOOD.encode(), mtime=0)


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


def flipped(content: bytes) -> bytes:
    """Return bytes with one of them inverted."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


ROWS = {"explode": {"shown": ("item_id", "label")}}
ISO = {"timestamp_unit": "iso"}
LONG = "x" * 10_000_000
NEWLINE = "\n"
CASES = [
    case("a directory", {"logs/a.csv": GOOD}, "'logs' is a directory", "logs/*.parquet", events="logs"),
    case("no file", {}, "'clicks/*.csv' matches no file; check the path", events="clicks/*.csv"),
    log("a format", "log.xlsx", b"PK", "unknown (log.xlsx)", ".parquet"),
    case("two formats", {"b.parquet": parquet()}, "CSV, Parquet", "one format", events="clicks.csv,b.parquet"),
    *(
        case(f"half a place, {place}", {}, f"fetch.table.events: {place!r}: not a place", "s3://", events=place)
        for place in ("reference://a.csv", "dir://a.csv")
    ),
    case("a file system", {}, "fetch.table.events", "nosuch", events="nosuch://a/b.csv"),
    log("an empty file", "bad.csv", b"", "bad.csv: empty (0 bytes)", "expected a CSV", "again"),
    log(
        "a missing column", "bad.csv", "uid,item_id,timestamp,label\n1,2,3,0\n",
        "no column 'user_id'", "uid, item_id, timestamp, label", "fetch.table.columns", "{user_id: uid}",
    ),
    *(
        log(says[0], "bad.csv", f"user_id,timestamp,shown\n1,{T},a-1\n2,{T},{cell}\n", *says, **ROWS)
        for cell, says in {
            "N1-0 N2": ("row 2: an entry of shown is 'N2'; expected an item, a minus and a label", "correct it"),
            "": ("row 2: shown is missing; expected at least one impression", "leave the row out"),
            "N1-0 N2-7": ("row 2: label is '7'; expected 0 or 1",),
            "N1-0 " * 5000: ("the number of impressions in shown is 5000; expected at most 4096", "several rows"),
        }.items()
    ),
    log(
        "a click elsewhere", "bad.csv", f"user_id,timestamp,shown,label\n1,{T},a b,b\n2,{T},a b,a c\n",
        "row 2: an entry of label is 'c'; expected an item of shown", "correct it", **ROWS,
    ),
    case("no cell", {}, "clicks.csv: no column 'shown'", "fetch.table.explode", "{impressions: [item, click]}", **ROWS),
    case("a cell", {}, "column 'label' exists", "two new names", explode={"tab": ("label", "item_id")}),
    case("a kept column", {}, "clicks.csv: no column 'page' for page", "its columns:", keep=("page",)),
    case("a key", {}, "fetch.table.columns: 'usr'", "user_id, item_id", "keep", columns={"usr": "user_id"}),
    case("a reserved name", {}, "fetch.table.keep: 'Label'", "another name", keep=("Label",)),
    case("no label", {}, "fetch.table.label: 'clicked'", "clicks.csv", "rating >= 4", label="clicked"),
    case("a rule on text", {}, "clicks.csv row 1: tab is 'a'", "tab >= 4", "expected numbers", label="tab >= 4"),
    events("a word as label", f"1,10,{T},pv", "label is 'pv'; expected 0 or 1", "e.g. label == pv"),
    events("a user that pandas lacks", f"1.0,10,{T},0\nNaN,10,{T},0", "row 2: user_id is missing"),
    events("several bad rows", f"1,1,0,0\n1,1,{T},0\n1,1,9,0\n1,1,7,0", "timestamp is 0;", "; 2 more rows have such"),
    log("a user that is no number", "bad.parquet", parquet(user_id=[float("nan")]), "row 1: user_id is missing"),
    *(
        events(f"a missing rating, {mark}", f"1,10,{T},5\n1,10,{T},{mark}", "row 2: label is missing", label=rule)
        for mark, rule in (("", "label >= 4"), ("NaN", "label >= 4"), ("NA", "label < 4"), ("null", "label != 5"))
    ),
    events("ms as s", f"1,10,{T}000,0", f"row 1: timestamp is {T}000", "unit=s", "1990 to 2100", "unit to ms"),
    events("s as iso", f"1,10,{T},0", f"timestamp is '{T}'; expected ISO 8601", "unit to s", **ISO),
    events("a 13th month", "1,10,2023-12-01,0\n1,10,2023-13-01,0", "row 2: timestamp is '2023-13-01'", **ISO),
    events("a German date", "1,10,31.05.2024 12:30,0", 'fetch.table.timestamp_unit to "%d.%m.%Y %H:%M"', **ISO),
    events("another form", "1,10,31.05.2024,0", "form '%m/%d/%Y'", 'unit to "%d.%m.%Y"', timestamp_unit="%m/%d/%Y"),
    case("a form that nobody knows", {}, "timestamp_unit: '%Q'", "such as %d.%m.%Y", timestamp_unit="%Q"),
    log("semicolons", "bad.csv", "a;b\n1;2\n", "its only column is 'a;b'", "set csv.delimiter to ';' in fetch.table"),
    events(
        "a sequence twice", f"1,2,{T},0,7\n1,3,{T},0,8\n1,4,{T},0,7",
        "bad.csv row 3: duplicate sequence 7: first seen in bad.csv row 1", "number each event once", more="sequence",
    ),
    events("a sequence", f"1,3,{T},0,x", "row 1: sequence is 'x'; expected a whole number", more="sequence"),
    events(
        "a behaviour", f"1,2,{T},0,yes", "row 1: seen is 'yes'; expected 0 or 1", "set fetch.table.behaviour to a rule",
        more="seen", behaviour="seen",
    ),
    side("an item twice", "items", "item_id,c\n7,x\n8,y\n7,z\n", "row 3: duplicate item_id 7: first seen in side.csv"),
    side(
        "a name twice", "items", "sku,item_id\n1,2\n", "column 'item_id' collides with", "{other_item_id: item_id}",
        items_columns={"item_id": "sku"},
    ),
    side(
        "a name in two cases", "items", "item_id,tag,Tag\n1,2,3\n",
        "column 'Tag': the name differs from 'tag' by case only; rename the column", "fetch.table.items_columns",
    ),
    side("no item_id", "items", "sku,c\n7,x\n", "no column 'item_id'", "sku, c", "items_columns", "{item_id: sku}"),
    side(
        "lists of two lengths", "history", f"user_id,item_id,timestamp,r\n1,2|3,{T},5|4\n1,4|5,{T},5\n",
        "side.csv row 2: the number of values in r is 1; expected as many as in item_id",
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
        "b.parquet: column 'item_id' is string, but int64 in a.parquet; expected one type", events="*.parquet",
    ),
    case(
        "numbers that only integers hold", {"a.parquet": parquet(w=[2**60 + 1]), "b.parquet": parquet(w=[0.5])},
        "a.parquet: column 'w' is int64, which double can't hold (Integer value", events="*.parquet", keep=("w",),
    ),
    log(
        "ids beyond 64 bits", "b.parquet", parquet(user_id=pa.array([2**64 - 1], pa.uint64())),
        "b.parquet: column 'user_id' is uint64, which int64 can't hold (Integer value", "store it as text in all files",
    ),
    log(
        "ids that a float rounds", "bad.jsonl",
        "".join(f'{{"user_id": {user}, "item_id": 1, "timestamp": {T}, "label": 0}}\n' for user in (2**53 + 1, "7.0")),
        "user_id is of type double; expected integers or text: store all ids as one of them",
    ),
    case(
        "ids of another type in the item table", {"log.parquet": parquet(), "items.csv": "item_id,c\nx7,1\n"},
        "items.csv: item_id is string", "'x7'", "log.parquet it is int64", "10", "both as text",
        events="log.parquet", items="items.csv",
    ),
    log("ids with fractions", "b.parquet", parquet(user_id=[1.5]), "user_id is of type double; expected integers or"),
    side("structs", "items", '{"item_id": 1, "c": {"d": 1}}\n', "column 'c' is of type struct", "expected numbers"),
    side("UTF-8 JSON", "items", b'{"item_id": 1}\n{"c": "\xe9"}\n', "side.jsonl: not UTF-8 text (line 2", "iconv"),
    log("a JSON array of two types", "bad.json", '[{"a": 1},\n {"a": {}}]', "object 2: ", "correct that object"),
    log("half of a JSON array", "bad.json", '[{"a": 1},', "the JSON array does not end", "export it again"),
    log("two JSON arrays", "bad.json", '[{"a": 1}]\n[{"a": 1}]', "follows the JSON array"),
    log("an array of arrays", "bad.json", "[[1, 2]]", "object 1: ", "expected a JSON object"),
    log("blank JSON lines", "bad.json", '{"a": 1}\n\n\n5\n', "line 4: ", "in '5'; expected a JSON object"),
    log("numbers in JSON lines", "bad.json", '{"a": 1}\n5\n', "line 2: ", "in '5'; expected a JSON object"),
    log(
        "Excel's line", "bad.csv", f"sep=,\n{GOOD}",
        "cannot be read", "line 2: Expected 2 columns, got 4", "or the first line if it is not the header",
    ),
    case(
        "a row counts from the start of its file, over all batches",
        {"a.csv": GOOD, "b.csv": f"{HEADER}\n{f'1,10,{T},0{NEWLINE}' * 300_000}1,10,{T},7\n"},
        "b.csv row 300001: label is '7'", events="[ab].csv",
    ),
    log("a long cell", "bad.csv", f"{GOOD}1,11,{T},0\n1,{LONG},{T},1\n", "row 3 has more than 4 MB, beginning with"),
    log(
        "an open quote", "bad.csv", f'{GOOD}1,"11,{T},0\n' + f"1,12,{T},0\n" * 500_000,
        "row 2 has more than 4 MB, beginning with '1,\"11", "is a quote left open there? Correct the row",
    ),
    log(
        "a long cell after quotes", "bad.csv", f'{HEADER}\n1,"a\nb",{T},0\n1,"a ""b"" {LONG}",{T},0\n',
        "row 2 has more than 4 MB, beginning with '1,",
    ),
    log("a column twice", "bad.csv", f"{HEADER},label\n1,10,{T},0,1\n", "'label' appears twice in the header"),
    log("half of a gzip file", "bad.csv.gz", GZIPPED[:-20], "cannot be read (", "export it again"),
    log("a damaged gzip file", "bad.csv.gz", flipped(GZIPPED), "cannot be read (zlib"),
    log("gzip without its suffix", "bad.csv", GZIPPED,
        "bad.csv: compressed, although its name does not end in .gz; rename it to bad.csv.gz"),
    log("gzip without its suffix as JSON", "bad.jsonl", GZIPPED, "rename it to bad.jsonl.gz"),
    log("half of a Parquet file", "bad.parquet", parquet()[:100], "is damaged or of another format: export it again"),
    log("Latin-1", "bad.csv", f"{HEADER}\n1,caf\xe9,{T},0\n".encode("latin-1"), "not UTF-8 text", "set csv.encoding"),
    log("a block of zeros", "bad.csv", GOOD.encode() + bytes(512), "or export it again if it is damaged"),
    log("half a JSON object", "bad.jsonl", '{"label": 0}\n{"user_id": 2, "it', "line 2: ", "correct that line"),
    events("no time", "1,10,,0", "row 1: timestamp is missing"),
    events("no label", f"1,10,{T},", "row 1: label is missing"),
    events("a word as time", "1,10,dawn,0", "timestamp is 'dawn'; expected a number", "timestamp_unit to iso where"),
    events("an infinite number", f"1,10,{T},0,inf", "w is inf; expected a finite number", more="w", keep=("w",)),
    side("no items", "items", "item_id,c\n", "no rows"),
    log("a long header", "bad.csv", f"{HEADER},{LONG}\n1,10,{T},0,1\n", "header has more than 4 MB"),
]  # fmt: skip


@pytest.fixture
def refusal(workspace: Workspace, table_params: Build) -> Callable[..., str]:
    """Return a function that fetches a table source that can't be used, and returns its message of one line."""

    def run(**table: Any) -> str:
        with pytest.raises(InputError) as error:
            fetch(workspace, table_params(**table))
        assert "\n" not in str(error.value) and len(str(error.value)) < 500
        return str(error.value)

    return run


@pytest.mark.parametrize(("files", "says", "table"), CASES)
def test_bad_input(
    workspace: Workspace,
    files: dict[str, str | bytes],
    says: tuple[str, ...],
    table: dict[str, Any],
    refusal: Callable[..., str],
) -> None:
    """The message names the file, the row or key, the value and what to do."""
    for name, content in files.items():
        (workspace.root / name).parent.mkdir(exist_ok=True)
        (workspace.root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    message = refusal(**table)
    assert [part for part in says if part not in message] == []


def test_a_refused_log_leaves_the_earlier_one(
    workspace: Workspace, table_params: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outcome is 2, the message has no traceback, and `data/raw/` stays as it was."""
    fetch(workspace, table_params())
    before = snapshot(workspace)
    capsys.readouterr()
    (workspace.root / "clicks.csv").write_text(f"{GOOD}1,10,{T},2\n")
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, table_params())) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert read_json(workspace.outcome("fetch"))["exit_code"] == 2
    assert snapshot(workspace) == before
    assert [path.name for path in (workspace.root / "data").iterdir()] == ["raw"]


@pytest.mark.parametrize("target", ["a pipe", "/dev/zero", "no_such_file"])
def test_a_file_that_never_ends_is_not_read(target: str, workspace: Workspace, refusal: Callable[..., str]) -> None:
    """A pipe, whose writer may never come, a device and a broken link are named at once."""
    path = workspace.root / "odd.csv"
    os.mkfifo(path) if target == "a pipe" else path.symlink_to(target)
    assert "odd.csv is a pipe, a device or a broken link; replace it" in refusal(events="*.csv")


def test_a_cell_of_megabytes_is_read(workspace: Workspace, fetch_table: Callable[..., Any]) -> None:
    """A long cell alone is not an error."""
    (workspace.root / "long.csv").write_text(f"{GOOD}1,{'x' * 3_000_000},{T},1\n")
    assert len(fetch_table(events="long.csv")["events"]["item_id"][1].as_py()) == 3_000_000


def test_a_line_of_another_width_without_a_header(workspace: Workspace, refusal: Callable[..., str]) -> None:
    """No line is taken for the header, so the message names none."""
    (workspace.root / "bad.csv").write_text(f"1,10,{T},0\n1,10,{T},0,5\n")
    message = refusal(events="bad.csv", csv=Csv(names=tuple(HEADER.split(","))))
    assert "line 2: Expected 4 columns, got 5" in message and "header" not in message


@pytest.mark.parametrize("quote", ['"', None])
def test_a_row_broken_at_a_quote(workspace: Workspace, refusal: Callable[..., str], quote: Literal['"'] | None) -> None:
    """The advice to read quotes as text is given only where they are not read so already."""
    (workspace.root / "bad.csv").write_text(f'{GOOD}1,"a "b", c",{T},0\n')
    message = refusal(events="bad.csv", csv=Csv(quote=quote))
    assert "line 3: Expected 4 columns, got 5" in message
    assert ("set csv.quote to null" in message) == (quote is not None)
