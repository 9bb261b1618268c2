"""Logs that a stranger tried with `din init`: each is read, or refused with its cause and the way out."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from din import cli
from din.base.workspace import Workspace
from din.data import files
from din.params.reading import load
from din_start.init.look import look

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command of `din`, checks its exit code, and returns its output."""
    (tmp_path / "pipeline").mkdir()
    monkeypatch.chdir(tmp_path / "pipeline")

    def of(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.app, [*words])
        assert done.exit_code == code, done.output
        return done.output

    return of


def clicks(log: list[dict[str, Any]], **further: Callable[[int], Any]) -> str:
    """Return a log as CSV, with further columns as functions of the row's number."""
    rows = [[e["user"], e["item"], e["time"], e["click"]] for e in log]
    cells = [[*row, *(of(at) for of in further.values())] for at, row in enumerate(rows)]
    return "\n".join(",".join(map(str, row)) for row in [["user", "item", "ts", "click", *further], *cells]) + "\n"


def guessed() -> dict[str, Any]:
    """Return the last guess by dotted key."""
    return {key: one["value"] for key, one in json.loads(Path(".din-init/guess.json").read_text()).items()}


def put(place: Path, text: str) -> Path:
    """Write a file, and its folders."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def test_recboles_files_reach_a_fetch(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Their headers have colons, as in user_id:token, which YAML permits between braces only in quotes."""
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float", "place:token", "tags:token_seq"]
    rows = [[e["user"], e["item"], 2 + 3 * e["click"], e["time"], e["place"], f"a{e['place']} b"] for e in log]
    place = put(tmp_path / "ml.inter", "\n".join("\t".join(map(str, row)) for row in [header, *rows]))
    run("init", str(place))
    table = load(Path("params.yaml")).fetch.table
    assert table.columns["user_id"] == "user_id:token"
    assert "place:token" in table.keep
    run("fetch")


@pytest.mark.parametrize(
    "day", [lambda at: "2024-05-07" if at % 2 else "2024-05-08T10:00:00", lambda at: "20240507" if at else "unknown"]
)
def test_days_that_some_rows_lack(
    tmp_path: Path, log: list[dict[str, Any]], run: Run, day: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column of which a value is no day tells nothing about the time zone, wherever that value is."""
    monkeypatch.setattr("din_start.init.look._ROWS", len(log) - 10)
    place = put(tmp_path / "clicks.csv", clicks(log, day=lambda at: day(len(log) - 1 - at)))
    output = run("init", str(place))
    assert "utc_offset_hours" not in output


@pytest.mark.parametrize(
    "row",
    [
        lambda at: {"user": at, "ts": 1_714_953_500, "parts": [{"id": at}]},
        lambda at: {"user": {"id": at}, "ts": 1_714_953_500, "parts": [at]},
        lambda at: {"item": {"id": at}, "price": at % 7},
    ],
)
def test_objects_are_neither_ids_nor_lists_of_ids(
    tmp_path: Path, log: list[dict[str, Any]], run: Run, row: Callable[[int], Any]
) -> None:
    """A table with objects beside the events is not used, since a fetch would refuse it."""
    put(tmp_path / "shop" / "clicks.csv", clicks(log))
    put(tmp_path / "shop" / "meta.jsonl", "\n".join(json.dumps(row(at)) for at in range(150)))
    output = run("init", str(tmp_path / "shop"))
    assert "holds objects; write one value per row" in output
    assert not {"fetch.table.items", "fetch.table.users", "fetch.table.history"} & guessed().keys()
    run("init", "--events", f"{tmp_path}/shop/clicks.csv", "--history", f"{tmp_path}/shop/meta.jsonl", code=2)


def test_objects_in_the_log(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Columns of objects, and of lists of them, are no fields, nor the clicks of a list, and the reason says so."""
    objects = [{"parts": [{"id": e["item"]}], "shown": {"at": e["place"]}, "click_info": {"x": 1}} for e in log]
    rows = [{**e, **further, "tags": [f"t{e['place']}"]} for e, further in zip(log, objects, strict=True)]
    place = put(tmp_path / "clicks.jsonl", "\n".join(map(json.dumps, rows)))
    output = run("init", str(place))
    for name in ("parts", "shown", "click_info"):
        assert name not in str(guessed()) and f"{name} is left out: its values are objects" in output


def test_objects_without_keys(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """No engine can keep them."""
    place = put(tmp_path / "clicks.jsonl", "\n".join(json.dumps({**e, "more": {}}) for e in log))
    output = run("init", str(place), code=2)
    assert "leave that column out" in output


@pytest.mark.parametrize(("name", "chosen"), [("users.csv", "users"), ("items.csv", "items")])
def test_numbers_that_are_users_and_items(
    tmp_path: Path, log: list[dict[str, Any]], run: Run, name: str, chosen: str
) -> None:
    """If a table may be either, the name of its file decides."""
    numbered = [{**e, "user": at % 150, "item": at * 7 % 150} for at, e in enumerate(log)]
    put(tmp_path / "shop" / "clicks.csv", clicks(numbered))
    put(tmp_path / "shop" / name, "\n".join(["key,size", *(f"{at},{at % 5}" for at in range(150))]))
    run("init", str(tmp_path / "shop"))
    assert f"fetch.table.{chosen}" in guessed()


def test_two_tables_with_a_column_of_the_same_name(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """The second one is left out with a reason, where the validation would end."""
    put(tmp_path / "shop" / "clicks.csv", clicks(log, size=lambda at: at % 3))
    for key in ("user", "item"):
        ids = sorted({e[key] for e in log})
        put(tmp_path / "shop" / f"{key}s.csv", "\n".join([f"{key},size", *(f"{one},{one % 5}" for one in ids)]))
    output = run("init", str(tmp_path / "shop"))
    assert output.count("size is left out: another table has a field of this name") == 2
    assert guessed()["featurize.fields"]["item"] == {"size": "categorical"}
    run("fetch")


def test_two_tables_of_items(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """The smaller one is named, with the option that chooses it."""
    put(tmp_path / "shop" / "clicks.csv", clicks(log))
    items = sorted({e["item"] for e in log})
    put(tmp_path / "shop" / "a.csv", "\n".join(["item,size,more", *(f"{item},{item % 5},much" for item in items)]))
    put(tmp_path / "shop" / "b.csv", "\n".join(["item,size", *(f"{item},{item % 5}" for item in items)]))
    output = run("init", str(tmp_path / "shop"))
    assert "shop/a.csv is a larger table of items; name the right one with --items" in output


def test_rows_in_order_without_times(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """With the same day in all of them, as the message advises, their order counts, also for a log with a label."""
    rows = [f"{e['user']},{e['item']},{e['click']}" for e in log]
    place = put(tmp_path / "shop.csv", "\n".join(["user,item,click", *rows]) + "\n")
    output = run("init", str(place), code=2)
    assert "the same day in all rows, such as 2000-01-01" in output
    put(place, "\n".join(["user,item,click,timestamp", *(f"{row},2000-01-01" for row in rows)]) + "\n")
    run("init", str(place))
    assert guessed()["featurize.order"] == "sequence"


def test_a_later_file_with_another_time(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Before there is a params.yaml, the message names the option that decides."""
    for number, day in enumerate(["05/05/2024"] * 3 + ["13/05/2024"]):
        rows = [f"{e['user']},{e['item']},{day},{e['click']}" for e in log]
        put(tmp_path / "shop" / f"part-{number}.csv", "\n".join(["user,item,ts,click", *rows]))
    output = run("init", f"{tmp_path}/shop", code=2)
    assert 'set --unit to "%d/%m/%Y"' in " ".join(output.split()) and "fetch.table" not in output
    run("init", f"{tmp_path}/shop", "--unit", "%d/%m/%Y")


def test_a_table_of_sums_of_answers_beside_the_items(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """It is larger, but its sums hold answers of the whole log; alone, it is the table of the items."""
    put(tmp_path / "shop" / "clicks.csv", clicks(log))
    items = sorted({e["item"] for e in log})
    put(tmp_path / "shop" / "a.csv", "item,size\n" + "".join(f"{item},{item % 5}\n" for item in items))
    sums = "".join(f"{item},{item * 7},{item * 9},{item * 3}.25\n" for item in items)
    put(tmp_path / "shop" / "sums.csv", f"item,likes,play_count,share_count\n{sums}")
    output = run("init", str(tmp_path / "shop"))
    assert guessed()["fetch.table.items"].endswith("shop/a.csv")
    assert "sums.csv: most of its columns sum up answers, including later ones" in output
    (tmp_path / "shop" / "a.csv").unlink()
    run("init", str(tmp_path / "shop"))
    assert guessed()["fetch.table.items"].endswith("shop/sums.csv")


def test_a_column_that_is_never_known(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Spark and polars write NaN where pandas reads a missing value; a column of nothing else is left out."""
    table = pa.Table.from_pylist(log).append_column("discount", pa.array([float("nan")] * len(log)))
    pq.write_table(table, tmp_path / "clicks.parquet")
    run("init", str(tmp_path / "clicks.parquet"))
    assert "discount" not in str(guessed())


def test_files_of_all_folders_are_found(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """A README above the log doesn't hide it, and hidden files are no part of it."""
    put(tmp_path / "shop" / "README.txt", "A shop\n")
    put(tmp_path / "shop" / "data" / "clicks.csv", clicks(log))
    put(tmp_path / "shop" / ".cache" / "more.csv", clicks(log * 2))
    put(tmp_path / "shop" / "__MACOSX" / "._clicks.csv", "\0\5\26\7")
    output = run("init", f"{tmp_path}/shop")
    assert guessed()["fetch.table.events"] == f"{tmp_path}/shop/data/clicks.csv"
    assert "._clicks" not in output


def test_a_look_around_the_pipeline_finds_no_outputs(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Below a workspace lies what its pipeline wrote. Other folders of it may hold the log, none that DVC empties."""
    put(Path("events/clicks.csv"), clicks(log))
    put(Path("data/raw/x.csv"), clicks(log * 2))
    for place, found in ((".", "events/clicks.csv"), ("..", "events/clicks.csv")):
        run("init", place)
        assert guessed()["fetch.table.events"] == found
    Path("events/clicks.csv").rename(tmp_path / "clicks.csv")
    run("init", "..")
    assert guessed()["fetch.table.events"] == "../clicks.csv"
    (tmp_path / "other/.din-init").mkdir(parents=True)
    put(tmp_path / "other/data/raw/x.csv", clicks(log * 2))
    put(tmp_path / "other/log/clicks.csv", clicks(log))
    run("init", "../other")
    assert guessed()["fetch.table.events"] == "../other/log/clicks.csv"
    assert "Found data/raw/x.csv: convert or rename it, or move it" in run("init", ".", code=2)
    assert "a folder that the pipeline writes and DVC empties" in run("init", "data/raw/x.csv", code=2)


def shown_rows(log: list[dict[str, Any]]) -> list[str]:
    """Return rows of impressions whose clicks are in another file."""
    return [f"r{at},{e['user']},{e['item']},{e['time']}" for at, e in enumerate(log)]


def joined(output: str) -> None:
    """Run the command of a message, which joins two files."""
    command = output[output.index("python -c ") : output.index(", and name it")]
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True)


def test_clicks_in_a_file_of_their_own(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Impressions are not taken for clicks, and the message has the command that joins both."""
    put(Path("sam's/shown.csv"), "\n".join(["request_id,user,item,ts", *shown_rows(log)]))
    clicked = [f"{1_800_000_000 + at},r{at}" for at, e in enumerate(log) if e["click"]]
    put(Path("sam's/clicks.csv"), "\n".join(["ts,request_id", *clicked, "1800000000,"]))
    output = run("init", "sam's", code=2)
    assert "clicks.csv says by request_id which rows of sam's/shown.csv were clicked" in output
    joined(output)
    run("init", "log.parquet")
    assert guessed()["fetch.table.label"] == "click"
    assert sum(pq.read_table("log.parquet")["click"].to_pylist()) == len(clicked)


@pytest.mark.parametrize(
    ("name", "no", "yes"), [("clicked", "0", "1"), ("bought", "no", "yes"), ("click", "False", "True")]
)
def test_answers_in_a_file_of_their_own(
    name: str, no: str, yes: str, tmp_path: Path, log: list[dict[str, Any]], run: Run
) -> None:
    """Rows of the other file that say themselves that nothing was clicked are no clicks after the join."""
    put(Path("of/shown.csv"), "\n".join(["request_id,user,item,ts", *shown_rows(log)]))
    answers = [f"r{at},{yes if e['click'] else no}" for at, e in enumerate(log)]
    put(Path("of/clicks.csv"), "\n".join([f"request_id,{name}", *answers]))
    joined(run("init", "of", code=2))
    assert sum(pq.read_table("log.parquet")["click"].to_pylist()) == sum(e["click"] for e in log)


def test_other_clicks_of_the_same_days_are_no_history(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Behaviours from before the log are, as the events' times say in whatever form."""
    views = [f"{e['user']},{e['item']},{datetime.fromtimestamp(e['time'], UTC):%d.%m.%Y %H:%M:%S}" for e in log]
    put(tmp_path / "shop" / "views.csv", "\n".join(["user,item,ts", *views]))
    stamped = [f"{view},{e['click']}" for view, e in zip(views, log, strict=True)]
    put(tmp_path / "shop" / "clicks.csv", "\n".join(["user,item,ts,click", *stamped]))
    output = run("init", str(tmp_path / "shop"))
    assert "fetch.table.history" not in guessed()
    assert "views.csv: half of its first rows are from after the events begin (2024-05-06" in output
    earlier = [line.replace(".05.2024", ".04.2024") for line in views] + views[:1]  # a late one changes nothing
    put(tmp_path / "shop" / "views.csv", "\n".join(["user,item,ts", *earlier]))
    run("init", str(tmp_path / "shop"))
    assert guessed()["fetch.table.history"] == f"{tmp_path}/shop/views.csv"


def test_of_two_logs_without_a_label_none_is_chosen(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Views and purchases of the same days may both be the events."""
    rows = [f"{e['user']},{e['item']},{e['time']}" for e in log]
    put(tmp_path / "shop" / "views.csv", "\n".join(["user,item,ts,page", *(f"{row},3" for row in rows)]))
    put(tmp_path / "shop" / "purchases.csv", "\n".join(["user,item,ts", *rows[::2]]))
    output = run("init", str(tmp_path / "shop"), code=2)
    assert "none has a label; name one" in output and "views.csv" in output
    run("init", f"{tmp_path}/shop/purchases.csv")


def test_a_name_with_brackets(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """A second download of the same file is called clicks[1].csv, which as a glob is another name."""
    put(tmp_path / "shop[2]" / "clicks[1].csv", clicks(log))
    for place in ("shop[2]", "shop[2]/clicks[1].csv"):
        run("init", f"{tmp_path}/{place}")
        assert guessed()["promote.model_name"] == "shop-2"
    run("fetch")


def test_zips_that_are_no_log(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """A damaged one is called so, and of daily files not just one is taken."""
    put(tmp_path / "x.zip", "hi")
    output = run("init", f"{tmp_path}/x.zip", code=2)
    assert "cannot be read (File is not a zip file)" in output
    with ZipFile(tmp_path / "days.zip", "w") as archive:
        for day in range(6, 9):
            archive.writestr(f"log/c-2024-05-{day:02}.csv", clicks(log))
    output = run("init", f"{tmp_path}/days.zip", code=2)
    assert "3 files differ only in their day; unpack the zip" in output


OWN = "or name the files with --events, --items, --users and --history"


def test_own_files_named_like_a_publishers(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """The publisher's reader refuses other columns, and the message names the way out."""
    rows = [f"{e['user']},{e['item']},{2 + 3 * e['click']},{e['time']}" for e in log]
    put(tmp_path / "shop" / "ratings.csv", "\n".join(["customer,film,stars,time", *rows]))
    put(tmp_path / "shop" / "movies.csv", "\n".join(["film,name,price", *(f"{at},Film {at},3" for at in range(150))]))
    output = run("init", f"{tmp_path}/shop", code=2)
    assert "no column 'userId'" in output and OWN in output
    run("init", "--events", f"{tmp_path}/shop/ratings.csv", "--items", f"{tmp_path}/shop/movies.csv")


@pytest.mark.parametrize("words", [[""], ["--events", ""], ["clicks.csv", "--label", ""]])
def test_empty_text_is_refused(run: Run, words: list[str]) -> None:
    """A variable of the shell that isn't set doesn't stand for the root of the disk."""
    output = run("init", *words, code=2)
    assert "empty; expected a path or a column" in output


def test_tables_without_a_header(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Items and users are told apart by their ids, although both are numbers and the users' hold all items."""
    files = {
        "clicks.tsv": [[e["user"], e["item"], e["time"], e["click"]] for e in log],
        "goods.tsv": [[f"kind {at % 7}", at] for at in range(150)],
        "people.tsv": [[at, at % 3, "mf"[at % 2]] for at in range(200)],
    }
    for name, rows in files.items():
        put(tmp_path / "shop" / name, "".join("\t".join(map(str, row)) + "\n" for row in rows))
    run("init", f"{tmp_path}/shop")
    found = guessed()
    assert found["fetch.table.items_columns"] == {"item_id": "column_2"}
    assert found["fetch.table.users_columns"] == {"user_id": "column_1"}
    assert found["featurize.fields"]["item"] == {"column_1": "categorical"}
    run("fetch")


def test_quotes_that_are_part_of_the_text(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Texts of a table without a header begin with quotes; its ids N12 say that the first line is a row, too."""
    put(
        tmp_path / "shop" / "clicks.tsv",
        "".join(f"{e['user']}\tN{e['item']}\t{e['time']}\t{e['click']}\n" for e in log),
    )
    texts = ['"Open', '"Wheel" of luck', '5" wide', "Plain"]
    put(tmp_path / "shop" / "news.tsv", "".join(f"N{at}\tkind {'abc'[at % 3]}\t{texts[at % 4]}\n" for at in range(150)))
    run("init", f"{tmp_path}/shop")
    assert guessed()["fetch.table.csv.quote"] is None
    assert guessed()["fetch.table.items_columns"] == {"item_id": "column_1"}
    run("fetch")
    items = pq.read_table(Path("data/raw/items.parquet"))
    assert {*items["column_3"].to_pylist()} == {*texts}


@pytest.mark.parametrize(
    ("lines", "quote"),
    [
        ('u1,i1,"a,""b"" c"\n' * 50, '"'),
        ('u1,i1,"two\nlines"\n' * 50, '"'),
        ('u1,i1,5" wide\n' * 50, '"'),
        # A stray one inside a cell doesn't make the others part of the text.
        ('"u1","i1","a "big" one"\n' + '"u1","i2","a ""b"" c"\n' * 200, '"'),
        # It is part of the text if it never ends.
        ("u1,i1,plain\n" * 50 + 'u1,i1,"open\n' + "u1,i1,plain\n" * 50, None),
    ],
)
def test_quotes_around_cells_or_in_the_text(tmp_path: Path, lines: str, quote: str | None) -> None:
    """Quotes around cells are no part of the text."""
    put(tmp_path / "log.csv", f"user,item,text\n{lines}")
    seen = look(Workspace(tmp_path), "log.csv", "--events")
    assert ([*seen.columns], seen.dialect.quote) == (["user", "item", "text"], quote)


def test_quotes_in_the_text_of_one_table_alone(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """Another table needs the quotes around its cells."""
    put(tmp_path / "shop" / "clicks.csv", clicks(log, shelf=lambda at: f'"shelf {at % 3}, top"'))
    texts = ["Plain", '"Wheel" of luck']
    goods = "".join(f"{at},kind {'abc'[at % 3]},{texts[at % 2]}\n" for at in range(150))
    put(tmp_path / "shop" / "goods.csv", f"item,kind,title\n{goods}")
    run("init", f"{tmp_path}/shop")
    assert "fetch.table.csv.quote" not in guessed()
    run("fetch")


@pytest.mark.parametrize(("first", "headed"), [("user,item,ts,click,group1", True), ("1,7,NULL,0,group1", False)])
def test_a_header_with_a_name_like_its_values(
    tmp_path: Path, log: list[dict[str, Any]], first: str, headed: bool
) -> None:
    """A line of names above numbers is a header, though one name looks like a value. A line with a number is a row."""
    rows = clicks(log, group1=lambda at: f"group{at % 3}").partition("\n")[2]
    put(tmp_path / "log.csv", f"{first}\n{rows}")
    assert look(Workspace(tmp_path), "log.csv", "--events").headed == headed


@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("cp1251", "Книги"),
        ("gb18030", "书籍"),
        ("cp1250", "Żółw"),
        ("cp1250", "Kuře"),
        ("cp1250", "Nők"),
        ("shift_jis", "ほんだな"),
    ],
)
def test_an_encoding_that_may_be_another_is_asked(
    tmp_path: Path, log: list[dict[str, Any]], run: Run, encoding: str, says: str
) -> None:
    """The message shows a word as each candidate reads it; the option answers, and holds for the items as well."""
    text = clicks(log, shelf=lambda at: f"{says} {at % 4}")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "clicks.csv").write_bytes(text.encode(encoding))
    goods = "".join(f"{at},{says}{at % 9}\n" for at in range(150))
    (tmp_path / "shop" / "goods.csv").write_bytes(f"item,kind\n{goods}".encode(encoding))
    output = run("init", f"{tmp_path}/shop", code=2)
    assert "--encoding" in output and f"{encoding} ({says}" in output
    run("init", f"{tmp_path}/shop", "--encoding", encoding)
    assert guessed()["fetch.table.csv.encoding"] == encoding
    assert guessed()["fetch.table.items"] == f"{tmp_path}/shop/goods.csv"
    output = run("init", f"{tmp_path}/shop", "--encoding", "klingon", code=2)
    assert "--encoding 'klingon': expected one of utf-8, utf-16, cp1252" in output


def test_files_that_are_not_used_are_said_with_the_reason(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """None of them ends the guess, whatever it is; a file with the columns of the events is most likely a part."""
    shop = tmp_path / "shop"
    reasons = {
        "test.csv": "it has the same columns as the events; to read both, name both",
        "attributes.json": "12,000 columns or keys, beginning with B0, B1, B2; expected at most 2,048",
        "null.json": "cannot be read (line 1: null is no object",  # Arrow crashes there
        "blank.csv": "can't be looked at (KeyError:",
        "news.csv": "only 7% of the events' items are in its column id; expected 50% or more",
        "sold.csv": "item holds 100% of the events' items, but a table of items has one row for each",
        "people.csv": "no column holds ids of the events' users or items",
        "old.csv": "a pipe, a device or a broken link",
        "a\nb.csv": "no line of text",
        "notes.docx": "not named like a table, such as .csv",
    }
    put(shop / "train.csv", clicks(log[:4500]))
    put(shop / "test.csv", clicks(log[4500:]))
    put(shop / "attributes.json", json.dumps({f"B{at}": [at] for at in range(12_000)}))
    put(shop / "null.json", "null")
    put(shop / "blank.csv", ",,\n" + "1,2,3\n" * 9)
    put(shop / "news.csv", "id,kind\n" + "".join(f"{at * 16},k{at % 3}\n" for at in range(900)))
    put(shop / "sold.csv", "item,shop\n" + "".join(f"{at % 150},s{at % 7}\n" for at in range(900)))
    put(shop / "people.csv", "name,town\n" + "".join(f"p{at},t{at % 7}\n" for at in range(200)))
    put(shop / "a\nb.csv", "")
    put(shop / "notes.docx", "")
    (shop / "old.csv").symlink_to("gone.csv")
    lines = [line.strip() for line in run("init", str(shop)).splitlines()]
    for name, why in reasons.items():
        start = f"not used: {shop}/{name}: {why}".replace("\n", "\\n")
        assert any(line.startswith(start) for line in lines), name


def test_lists_with_commas_beside_prices_with_commas(tmp_path: Path, log: list[dict[str, Any]], run: Run) -> None:
    """A list of two numbers is no price."""
    tags = {item: ",".join(str(item * step % 21) for step in range(1, 2 + item % 4)) for item in range(150)}
    rows = [[e["user"], e["item"], e["time"], e["click"], f"{e['item'] % 9},50", tags[e["item"]]] for e in log]
    rows = [[row[-1], *row[:-1]] for row in rows]  # Excel's mark of UTF-8 is no part of the first name
    header = ["\ufefftags", "user", "item", "ts", "click", "price, net, in EUR"]
    place = put(tmp_path / "clicks.csv", "".join(";".join(map(str, row)) + "\n" for row in [header, *rows]))
    run("init", str(place))
    assert guessed()["fetch.table.separators"] == {"tags": ","}
    run("fetch")
    items = pq.read_table("data/raw/items.parquet")
    found = zip(items["item_id"].to_pylist(), items["tags"].to_pylist(), strict=True)
    assert all(parts == [*map(int, tags[item].split(","))] for item, parts in found)
    assert set(items["price, net, in EUR"].to_pylist()) <= {number + 0.5 for number in range(9)}


def test_a_disk_that_fails_at_a_later_read_is_no_traceback(
    tmp_path: Path, log: list[dict[str, Any]], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the file."""

    def fails(file: files.File) -> None:
        raise OSError(errno.EIO, "Input/output error")

    place = put(tmp_path / "clicks.csv", clicks(log))
    monkeypatch.setattr(files, "require_plain", fails)
    assert "clicks.csv: cannot be read now" in run("init", str(place), code=1)
