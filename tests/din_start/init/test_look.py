"""The first rows of a log, and how its files are written."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import readers
from din_start.init import roles
from din_start.init.look import Column, look
from tests.din_start.init.made_up_logs import HEADER, write

Guessed = Callable[..., dict[str, Any]]


@given(
    delimiter=st.sampled_from((";", "\t", "|", ",", " ")),
    encoding=st.sampled_from(("utf-8", "cp1252", "utf-16")),
    headed=st.booleans(),
    zipped=st.booleans(),
    names=st.permutations(["Kunde", "Artikel", "Zeit", "Geklickt", "Straße"]),
)
@settings(max_examples=15)
def test_any_dialect_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    delimiter: str,
    encoding: str,
    headed: bool,
    zipped: bool,
    names: list[str],
) -> None:
    """Any delimiter, encoding and order of columns, with a header or without, compressed or not, gives the same."""
    folder = tmp_path_factory.mktemp("log")
    rows = [
        {"Kunde": f"k{at % 17}", "Artikel": f"Ä{at % 13}", "Zeit": str(1_700_000_000 + 60 * at)}
        | {"Geklickt": str(at % 2), "Straße": f"Öde-{at % 3}"}
        for at in range(60)
    ]
    lines = [delimiter.join(names)] if headed else []
    lines += [delimiter.join(row[name] for name in names) for row in rows]
    content = "\n".join(lines).encode(encoding)
    name = "log.csv.gz" if zipped else "log.csv"
    (folder / name).write_bytes(gzip.compress(content) if zipped else content)
    seen = look(Workspace(folder), name, "--events")
    assert seen.headed == headed
    assert [[*map(str, column.values.to_pylist())] for column in seen.columns.values()] == [
        [row[name] for row in rows] for name in names
    ]
    if headed:
        found = roles.guess(seen, {})
        assert tuple(found[role].value for role in ("user", "item", "time")) == ("Kunde", "Artikel", "Zeit")
        assert found["label"].value == "Geklickt"


@pytest.mark.parametrize(
    ("values", "separator"),
    [
        ([f"{at % 100},50 €" for at in range(300)], None),
        ([f"{1 + at % 9},{at:03}.50" for at in range(300)], None),
        ([f"{at % 7},{at % 11},{at % 13}" if at % 3 else f"{at % 7}" for at in range(300)], ","),
        ([str([at % 7, at % 11, at % 13][: 1 + at % 3]) for at in range(300)], ","),
    ],
)
def test_amounts_are_no_lists(values: list[str], separator: str | None) -> None:
    """A comma in an amount separates nothing; one between codes does, also in brackets."""
    assert Column("x", pa.chunked_array([values])).separator == separator


@pytest.mark.parametrize("header", ["", f"{HEADER},shown\n".replace(",", "\t")])
def test_lists_of_one_length_are_no_columns(
    header: str, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """Their commas are more than the tabs between the columns, but no list has tabs."""
    shown = ",".join(map(str, range(50)))
    rows = [f"{e['user']}\t{e['item']}\t{e['time']}\t{e['click']}\t{shown}" for e in log]
    (tmp_path / "log.csv").write_text(header + "\n".join(rows))
    assert guessed("log.csv")["fetch.table.csv.delimiter"] == "\t"


@pytest.mark.parametrize("header", ["", "impression_id\tuser\ttime\thistory\tshown\n"])
def test_impressions_in_a_cell(header: str, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Items with their labels become rows, in which the number of a list repeats, but is no user; codes are a list."""
    rows = []
    for number, first in enumerate(range(0, len(log), 5)):
        user, time = log[first]["user"], log[first]["time"]
        before = " ".join(f"N{(user + 1) * at % 150}" for at in range(1, 2 + user % 9))
        shown = " ".join(f"N{e['item']}-{e['click']}" for e in log[first : first + 5])
        rows.append(f"{number}\tU{user}\t{time}\t{before}\t{shown}")
    (tmp_path / "log.tsv").write_text(header + "\n".join(rows))
    found = guessed("log.tsv")
    _, user, time, history, shown = header.split() if header else (f"column_{at}" for at in range(1, 6))
    assert found["fetch.table.explode"] == {shown: ["item", "click"]}
    assert found["fetch.table.columns"] == {"user_id": user, "item_id": "item", "timestamp": time}
    assert found["fetch.table.label"] == "click"
    assert found["fetch.table.separators"] == {history: " "}
    assert found["featurize.fields"] == {"user": {"user_id": "id"}}
    assert found["fetch.table.history"] == "log.tsv"
    assert found["fetch.table.history_columns"] == {"user_id": user, "item_id": history, "timestamp": time}


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_lists_of_candidates_and_clicks(name: str, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """The label of a candidate is whether a column with a fitting name lists it in the same row."""
    requests = [log[first : first + 4] for first in range(0, len(log), 4)]
    columns = {
        "user": [events[0]["user"] for events in requests],
        "ts": [events[0]["time"] for events in requests],
        "inview": [[event["item"] for event in events] for events in requests],
        "clicked": [[event["item"] for event in events if event["click"]][:1] for events in requests],
    }
    if name == "log.csv":
        (tmp_path / name).write_text(as_text(columns))
    else:
        pq.write_table(pa.table(columns), tmp_path / name)
    found = guessed(name)
    assert found["fetch.table.explode"] == {"inview": ["item", "clicked"]}
    assert found["fetch.table.label"] == "clicked"
    assert found["fetch.table.columns"] == {"user_id": "user", "item_id": "item", "timestamp": "ts"}
    lists = {"inview": ";", "clicked": ";"} if name == "log.csv" else None
    assert found.get("fetch.table.separators") == lists


def as_text(columns: dict[str, list[Any]]) -> str:
    """Return a table as CSV, with a semicolon between the elements of a list."""
    rows = zip(*columns.values(), strict=True)
    cells = ((";".join(map(str, one)) if isinstance(one, list) else str(one) for one in row) for row in rows)
    return "\n".join(",".join(row) for row in [[*columns], *cells]) + "\n"


def test_tables_in_several_encodings(plain: list[str], tmp_path: Path, guessed: Guessed) -> None:
    """One encoding reads all tables, or the message names that of each."""
    goods = "item,kind\n" + "".join(f"{at},Käse für {at % 9} €\n" for at in range(150))
    people = "user,town\n" + "".join(f"{at},Köln {at % 9}\n" for at in range(200))
    (tmp_path / "goods.csv").write_bytes(goods.encode("utf-16"))
    with pytest.raises(InputError, match=r"log\.csv is utf-8, goods\.csv is utf-16; .* convert all to UTF-8"):
        guessed("log.csv", items="goods.csv")
    (tmp_path / "goods.csv").write_bytes(goods.encode("cp1252"))
    assert guessed("log.csv", items="goods.csv")["fetch.table.csv.encoding"] == "cp1252"  # the log is ASCII
    (tmp_path / "people.csv").write_text(people, "utf-8")
    with pytest.raises(InputError, match=r"^goods\.csv is cp1252, people\.csv is utf-8; "):
        guessed("log.csv", items="goods.csv", users="people.csv")
    user, item, ts, click = (
        pa.array([int(cell) for cell in cells]) for cells in zip(*(row.split(",") for row in plain), strict=True)
    )
    rooms = ["Küche", "Bad"] * (len(plain) // 2)
    pq.write_table(
        pa.table({"user": user, "item": item, "ts": ts, "click": click, "room": rooms}), tmp_path / "log.parquet"
    )
    assert guessed("log.parquet", items="goods.csv")["fetch.table.csv.encoding"] == "cp1252"


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    """A text of 140,000 characters among the first rows is read like any other."""
    name = write(tmp_path, "user,said", ["u1,text", f"u2,{'x' * 140_000}"])
    assert len(look(Workspace(tmp_path), name, "--events").columns["said"].different[1].as_py()) == 140_000


def test_long_rows_are_read_up_to_a_number_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of long rows is looked at through fewer of them, so that memory has a bound."""
    monkeypatch.setattr(readers, "_HEAD", 1 << 16)
    rows = [f"{number % 9},{number % 7},{number},{'x' * 2000}" for number in range(5000)]
    seen = look(Workspace(tmp_path), write(tmp_path, HEADER, rows), "--events")
    assert 0 < len(seen.columns["user"].values) < 5000
