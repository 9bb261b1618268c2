"""The guesses of `din init` for logs in files."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from din.base.errors import InputError
from din_start.init import look as look_module
from tests.din_start.init.made_up_logs import HEADER, SHAPES, write

Guessed = Callable[..., dict[str, Any]]


COLUMNS = {
    "german_shop": {"user_id": "Kundennr", "item_id": "Artikelnummer", "timestamp": "Zeitpunkt"},
    "reviews": {"user_id": "reviewerID", "item_id": "asin", "timestamp": "unixReviewTime"},
    "ratings": {"user_id": "column_1", "item_id": "column_2", "timestamp": "column_4"},
    "videos": {"user_id": "visitorId", "item_id": "videoId", "timestamp": "event_time"},
}
LABELS = {
    "german_shop": "Gekauft == ja",
    "reviews": "overall >= 5.0",
    "ratings": "column_3 >= 5",
    "videos": "is_click",
}
BEHAVIOURS = {"reviews": "all", "ratings": "all"}
UNITS = {"german_shop": "%d.%m.%Y %H:%M:%S", "reviews": "s", "ratings": "s", "videos": "iso"}
DIALECTS = {
    "german_shop": {"delimiter": ";", "encoding": "cp1252", "decimal": ","},
    "ratings": {"delimiter": "\t", "names": ("column_1", "column_2", "column_3", "column_4")},
}
FIELDS = {
    "german_shop": {
        "user": {"user_id": "id"},
        "item": {"Warengruppe": "categorical", "Preis": {"kind": "numeric", "buckets": 10}},
        "context": {"Gerät": "categorical"},
        "behaviour": {"Verweildauer": {"kind": "numeric", "buckets": 10}},
    },
    "reviews": {
        "user": {"user_id": "id"},
        "item": {"categories": "multi"},
        "behaviour": {"overall": "categorical"},
    },
    "ratings": {"user": {"user_id": "id"}, "behaviour": {"column_3": "categorical"}},
    "videos": {
        "user": {"user_id": "id"},
        "item": {"author_id": "categorical"},
        "context": {"tab": "categorical"},
        "behaviour": {"is_like": "categorical", "play_time_ms": {"kind": "numeric", "buckets": 10}},
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_log_of_each_shape(shape: str, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Columns, label, unit of time, fields and split are those that a person would choose."""
    found = guessed(SHAPES[shape](tmp_path, log))
    assert found["fetch.table.columns"] == COLUMNS[shape]
    assert found["fetch.table.label"] == LABELS[shape]
    assert found.get("fetch.table.behaviour") == BEHAVIOURS.get(shape)
    assert found["fetch.table.timestamp_unit"] == UNITS[shape]
    dialect = {key.removeprefix("fetch.table.csv."): value for key, value in found.items() if "table.csv." in key}
    assert dialect == DIALECTS.get(shape, {})
    assert found["featurize.fields"] == FIELDS[shape]
    assert found["featurize.protocol"] == "temporal"
    assert 1 <= found["featurize.valid_days"] <= found["featurize.test_days"] <= 3


def test_later_rows_count_too(tmp_path: Path, guessed: Guessed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the first rows, a user may be missing, and a row may be no click."""
    monkeypatch.setattr(look_module, "_ROWS", 800)
    rows = [f"{row % 40},{row % 31},{1_700_000_000 + 900 * row},1" for row in range(4000)]
    with pytest.raises(InputError, match=r"log\.csv row 4001: user_id is missing"):
        guessed(write(tmp_path, HEADER, [*rows, ",3,1703600000,1"]))
    found = guessed(write(tmp_path, HEADER, [*rows, *(f"{row % 40},{row % 31},1703600000,0" for row in range(400))]))
    assert (found["fetch.table.label"], found["featurize.protocol"]) == ("click", "temporal")


def test_hours_as_whole_numbers(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """A fetch reads them by their form, so the log has its days."""
    hours = [f"{datetime.fromtimestamp(e['time'], UTC):%Y%m%d%H}" for e in log]
    rows = [f"{e['user']},{e['item']},{hour},{e['click']}" for e, hour in zip(log, hours, strict=True)]
    found = guessed(write(tmp_path, HEADER, rows))
    assert (found["fetch.table.timestamp_unit"], found["featurize.protocol"]) == ("%Y%m%d%H", "temporal")


@pytest.mark.parametrize("hours", [-8, 0, 8])
def test_a_file_a_day(hours: int, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Days in the paths tell their time zone; items can't come from events that are read one by one."""
    first = log[0]["time"] // 86_400
    for day in range(12):
        events = [e for e in log if e["time"] // 86_400 - first == day]
        rows = [f"{e['user']},{e['item']},{e['time'] - hours * 3600},{e['click']},{e['category']}" for e in events]
        write(tmp_path, f"{HEADER},cat", rows, f"clicks-2024-05-{6 + day:02}.csv")
    found = guessed("clicks-{date}.csv")
    assert found.get("fetch.table.utc_offset_hours", 0) == hours
    assert found["fetch.table.daily"] is True
    assert found["featurize.fields"]["context"] == {"cat": "categorical"}
    assert "fetch.table.items_from_events" not in found


def test_lists_in_a_file_a_day(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Each row becomes several, and the paths still tell their time zone."""
    for day in range(12):
        events = [e for e in log if e["time"] // 86_400 - log[0]["time"] // 86_400 == day]
        rows = [f"{e['user']};{e['time'] - 8 * 3600};{e['item']}-{e['click']} {e['item'] + 1}-0" for e in events]
        write(tmp_path, "user;ts;list", rows, f"clicks-2024-05-{6 + day:02}.csv")
    assert guessed("clicks-{date}.csv")["fetch.table.utc_offset_hours"] == 8


RATED = [f"{at % 40},{at % 30},{1_700_000_000 + at},{1 + at % 5}" for at in range(200)]
REFUSED: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "odd separators": ("user^item^ts\n1^x^1700000000\n", {}, ("its only column is 'user^item^ts'", "convert the file")),
    "a rule that is never true": ("", {"label": "stars >= 9"}, ("stars >= 9: is 0 in all 200 rows", "--label")),
    "a rule that is always true": ("", {"label": "stars >= 1"}, ("stars >= 1: is 1 in all 200 rows", "--label")),
    "a log without a click": (
        "user,item,ts,click\n" + "".join(f"{at % 40},{at % 30},{1_700_000_000 + at},0\n" for at in range(200)),
        {},
        ("click: is 0 in all 200 rows", "--label"),
    ),
    # No reader knows them, and read as text they would break rows.
    "quotes after backslashes": (
        "user,item,text\n" + 'u1,i1,"a \\"b\\", c"\n' * 50,
        {},
        ("Expected 3 columns, got 4: ", "; correct that line"),
    ),
    "two colons": ("1::2::5::978300760\n" * 20, {}, ("log.csv: its cells end in ::", "sed 's/::/")),
    "blank lines": ("\n\n", {}, ("log.csv: no line of text", "export it again")),
    "one line, endless": ("a" * 300_000, {}, ("log.csv: no line of text that ends within 262,144 bytes",)),
    "a header alone": ("user,item,ts,click\n", {}, ("log.csv: no rows",)),
    "Turkish": (
        "user,item,ts,yer\n1,2,1700000000," + "ışık".encode("cp1254").decode("latin-1"),
        {},
        (
            "not UTF-8 text (line 2, bytes fd fe fd 6b)",
            "expected --encoding with the one that reads this right: ",
            "cp1254 (ışık)",
        ),
    ),
    "a mark of UTF-8": (
        "ï»¿user;item\n1;Käse\n",
        {},
        ("log.csv: begins with the mark", "tail -c +4 log.csv > new.csv"),
    ),
    "a line for Excel": ("sep=;\nuser;item\n1;2\n", {}, ("first line, sep=;, is", "tail -n +2 log.csv > new.csv")),
    "a picture": ("\x89PNG\r\n\x1a\n" + "".join(map(chr, range(256))) * 9, {}, ("not UTF-8 text", "export it again")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_cannot_be_guessed_are_refused(case: str, tmp_path: Path, guessed: Guessed) -> None:
    """The message says what is wrong, and what to do."""
    content, given, parts = REFUSED[case]
    content = content or "\n".join(["user,item,ts,stars", *RATED])
    (tmp_path / "log.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError) as error:
        guessed("log.csv", **given)
    assert [part for part in parts if part not in str(error.value)] == []
