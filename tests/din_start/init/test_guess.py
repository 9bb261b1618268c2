"""The guesses of `din init` for logs in files."""

import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import readers
from din.data.tabular import TableSource
from din.params.fetch import Table
from din.params.overlays import nested
from din.schema import Group
from din_start.init import guess as guess_module
from din_start.init import look as look_module
from din_start.init import roles, split, words
from din_start.init.choice import Choice
from din_start.init.fields import Events, kind_of, of_event, of_table
from din_start.init.guess import guess
from din_start.init.look import Column, Look, look
from din_start.params.recipes import RECIPES
from tests.din_start.init.made_up_logs import SHAPES

Guessed = Callable[..., dict[str, Any]]

HEADER = "user,item,ts,click"

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
    ("name", "meaning", "is_named"),
    [
        ("userId", "user", True),
        ("Kunden-Nr.", "user", True),
        ("Käufer", "user", True),
        ("item_id:token", "item", True),
        ("add_to_cart", "item", False),
        ("商品", "item", True),
    ],
)
def test_names_in_several_languages(name: str, meaning: str, is_named: bool) -> None:
    """A name means a role in any of the languages, whatever its case, accents and parts."""
    assert words.means(name, meaning) is is_named


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("brand", [float(17 * at % 613) if at % 7 else None for at in range(3000)], "categorical"),
        ("x", [at % 60 for at in range(3000)], "categorical"),
        ("x", [at % 60 * 97 for at in range(3000)], {"kind": "numeric", "buckets": 10}),
        ("column_3", [at % 60 * 97 for at in range(3000)], "categorical"),
        ("age", [at % 60 for at in range(3000)], {"kind": "numeric", "buckets": 10}),
        ("follow_user_num", [at % 1500 * 3 for at in range(3000)], {"kind": "numeric", "buckets": 10}),
        ("author_id", [at % 500 * 11 for at in range(3000)], "id"),
        ("name", [f"name {at % 2000}" for at in range(3000)], None),
        ("released", [f"2024-01-{1 + at % 28:02}" for at in range(3000)], None),
        ("flag", [at % 2 == 0 for at in range(3000)], "categorical"),
        ("same", ["x"] * 3000, None),
        ("a/b", ["x", "y"] * 1500, None),
        ("price", [f"{at % 20},50 €" for at in range(3000)], None),
        ("price", [f"{at % 3},{at % 700:03}.50" if at % 2 else f"{at % 90}.50" for at in range(3000)], None),
        ("size", [f"{at % 20} GB" for at in range(3000)], "categorical"),
        ("tags", [["a", "b"], ["c"]] * 1500, "multi"),
        ("content", [[0.1, 0.2, 0.3, at / 7] for at in range(3000)], "vector"),
    ],
)
def test_kinds_of_fields(name: str, values: list[Any], kind: Any) -> None:
    """Codes, numbers, ids, lists and vectors are told apart, and what nothing can be learned of has no kind."""
    assert kind_of(name, pa.chunked_array([values]))[0] == kind


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


COLUMNS_BESIDE: dict[str, tuple[Callable[[dict[str, Any], int], object], Group | None]] = {
    "brand": (lambda row, _: f"b{row['item'] % 7}" if row["item"] % 5 else None, Group.ITEM),
    "x7": (lambda row, _: row["dwell"] // 9, Group.BEHAVIOUR),  # tells the label, though its name says nothing
    "watchtime": (lambda row, at: at % 5, Group.BEHAVIOUR),
    "show_count": (lambda row, _: row["item"] * 97, None),  # of the whole log
    "clicks_today": (lambda row, at: row["click"] * (1 + at % 3), None),
    "sessionNr": (lambda row, _: row["time"] // 7200, None),  # new every day
    "follow_num": (lambda row, _: row["user"] % 40, None),  # of a user, for all days
    "page": (lambda row, _: f"p{row['place']}", Group.CONTEXT),
}


@pytest.mark.parametrize("name", COLUMNS_BESIDE)
def test_what_a_column_becomes(name: str, log: list[dict[str, Any]]) -> None:
    """An answer is never a context, a click is never a field, and what is new every day is left out."""
    value, group = COLUMNS_BESIDE[name]
    user, item, time, click = (np.array([row[key] for row in log]) for key in ("user", "item", "time", "click"))
    keys = Events(user, item, (time - time[0]) // 86_400, click)
    values = [value(row, at) for at, row in enumerate(log)]
    column = pa.chunked_array([values[:1000], values[1000:]])
    assert of_event(name, column, keys, Group.ITEM, is_graded=False).group == group


def test_sums_of_clicks_in_an_item_table() -> None:
    """They may hold clicks, answers or impressions that are later than an impression. A user's counts are a profile."""
    counts = [at % 140 * 10 for at in range(150)]
    table = pa.table({"id": [*range(150)], "ctr": counts, **dict.fromkeys(("like_cnt", "show_cnt", "views"), counts)})
    assert [found.group for found in of_table(table, Group.ITEM, "id")] == [None] * 4
    assert [found.group for found in of_table(table, Group.USER, "id")] == [None, *[Group.USER] * 3]


def looks(folder: Path, **tables: str) -> dict[str, Look]:
    """Return the first rows of tables by their names."""
    return {table: look(Workspace(folder), paths, f"--{table}") for table, paths in tables.items()}


def write(folder: Path, header: str, rows: Iterable[str], name: str = "log.csv") -> str:
    """Write a CSV, and return its name."""
    (folder / name).write_text("\n".join([header, *rows]))
    return name


@pytest.fixture
def plain(tmp_path: Path, log: list[dict[str, Any]]) -> list[str]:
    """Write log.csv with nothing but user, item, time and click, and return its rows."""
    rows = [f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log]
    write(tmp_path, HEADER, rows)
    return rows


@pytest.mark.parametrize("name", ["label", "date"])
def test_names_of_the_log_itself_are_left_out_with_a_reason(name: str, plain: list[str], tmp_path: Path) -> None:
    """No column is dropped without a word."""
    write(tmp_path, f"{HEADER},{name}", [f"{row},v{at % 3}" for at, row in enumerate(plain)])
    reason = guess(Workspace(tmp_path), looks(tmp_path, events="log.csv"), {})["featurize.fields"].reason
    assert f"{name} is left out: the raw log has a column of this name; rename it" in reason


def test_later_rows_count_too(tmp_path: Path, guessed: Guessed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the first rows, a user may be missing, and a row may be no click."""
    monkeypatch.setattr(look_module, "_ROWS", 800)
    rows = [f"{row % 40},{row % 31},{1_700_000_000 + 900 * row},1" for row in range(4000)]
    with pytest.raises(InputError, match=r"log\.csv row 4001: user_id is missing"):
        guessed(write(tmp_path, HEADER, [*rows, ",3,1703600000,1"]))
    found = guessed(write(tmp_path, HEADER, [*rows, *(f"{row % 40},{row % 31},1703600000,0" for row in range(400))]))
    assert (found["fetch.table.label"], found["featurize.protocol"]) == ("click", "temporal")


def test_a_log_of_purchases(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """If every row is a click, negatives are sampled, which softmax suits; days as times are no repeated events."""
    rows = [f"c{e['user']},s{e['item']},2024-05-{1 + e['time'] % 28:02}" for e in log]
    found = guessed(write(tmp_path, "customer,sku,date", rows))
    assert found["featurize.protocol"] == "leave_last_out"
    assert (found["train.model.softmax"], found["train.learning.average"]) == (True, 0.25)
    assert not {"validate_raw.max_duplicate_rate", "fetch.table.behaviour"} & found.keys()
    repeated = guessed(write(tmp_path, "customer,sku,date", [*rows, *rows[:199]]))
    assert repeated["validate_raw.max_duplicate_rate"] == 0.07


def test_hours_as_whole_numbers(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """A fetch reads them by their form, so the log has its days."""
    hours = [f"{datetime.fromtimestamp(e['time'], UTC):%Y%m%d%H}" for e in log]
    rows = [f"{e['user']},{e['item']},{hour},{e['click']}" for e, hour in zip(log, hours, strict=True)]
    found = guessed(write(tmp_path, HEADER, rows))
    assert (found["fetch.table.timestamp_unit"], found["featurize.protocol"]) == ("%Y%m%d%H", "temporal")


def test_repeated_events(tmp_path: Path, plain: list[str], guessed: Guessed) -> None:
    """If events of the same moment repeat, only the first of them shall count."""
    found = guessed(write(tmp_path, HEADER, [*plain, *plain[:200]]))
    assert found["fetch.table.drop_duplicates"] is True
    assert "validate_raw.max_duplicate_rate" not in found


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


def test_a_feature_of_users_is_no_user(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """It has few values, and its name says more than the role."""
    rows = [f"{e['user'] % 12},{e['user'] % 11},{e['item']},{e['time']},{e['click']}" for e in log]
    write(tmp_path, "user_feature_2,user_feature_3,item,ts,click", rows)
    with pytest.raises(InputError, match=r"no column is named like a user; .* If one is, name it with --user"):
        guessed("log.csv")


@pytest.mark.parametrize("header", ["", f"{HEADER},shown\n".replace(",", "\t")])
def test_lists_of_one_length_are_no_columns(
    header: str, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """Their commas are more than the tabs between the columns, but no list has tabs."""
    shown = ",".join(map(str, range(50)))
    rows = [f"{e['user']}\t{e['item']}\t{e['time']}\t{e['click']}\t{shown}" for e in log]
    (tmp_path / "log.csv").write_text(header + "\n".join(rows))
    assert guessed("log.csv")["fetch.table.csv.delimiter"] == "\t"


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        ("shop.csv", "shop"),
        ("clicks-{date}.csv", "my-blog"),
        ("data/train_2.csv,data/train_1.csv", "my-blog"),
        ("/logs/ml-1m/ratings.dat", "ml-1m"),
        ("s3://bücher/logs/{date}/part-0001.parquet", "buecher"),
        ("/srv/Open_Bandit-Dataset/", "open-bandit-dataset"),
        ("shop/log_standard_*_to_*.csv", "log-standard-to"),
        ("/data/*.csv", "clicks"),
    ],
)
def test_the_name_of_a_log(paths: str, name: str) -> None:
    """Words that many logs share don't name one: each needs a champion of its own."""
    assert guess_module.name_of(Workspace(Path("/srv/my blog")), paths) == name


@pytest.mark.parametrize(
    ("header", "values", "behaviour"),
    [
        ("", ["pv", "cart", "fav"], "all"),
        ("user,item,ts,event\n", ["view", "addtocart", "transaction"], "all"),
        ("user,item,ts,event\n", ["view", "click", "transaction"], None),
        ("user,item,ts,event\n", ["impression", "play", "like"], None),
    ],
)
def test_visits_are_behaviours(
    header: str, values: list[str], behaviour: str | None, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """Who views an item's page has acted, if no click says so; an item that is only shown tells nothing."""
    rows = [f"{e['user']},{e['item']},{e['time']},{values[e['click'] * (1 + e['place'] % 2)]}" for e in log]
    (tmp_path / "log.csv").write_text(header + "\n".join(rows))
    found = guessed("log.csv")
    column = "event" if header else "column_4"
    assert found["fetch.table.label"] == f"{column} != {values[0]}"
    assert found.get("fetch.table.behaviour") == behaviour
    assert found["featurize.fields"]["behaviour"] == {column: "categorical"}


@pytest.mark.parametrize("answered", [True, False])
def test_rows_without_a_click_are_behaviours_if_their_answers_differ(
    answered: bool, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """How long somebody watched before they left tells about them; a time that only clicks have does not."""
    lines = ["user,item,ts,click,play_time"]
    for e in log:
        watched = 2 + e["dwell"] + e["item"] % 3 if answered or e["click"] else 0
        lines.append(f"{e['user']},{e['item']},{e['time']},{e['click']},{watched}")
    (tmp_path / "log.csv").write_text("\n".join(lines))
    found = guessed("log.csv")
    expected = ("all", "daily") if answered else (None, None)
    assert (found.get("fetch.table.behaviour"), found.get("featurize.order")) == expected
    assert found["featurize.fields"]["behaviour"].keys() == {"play_time"}


@pytest.mark.parametrize("why", ["tells no label", "impression and click are two rows", "users are held out"])
def test_numbers_that_leave_the_histories_alone(
    why: str, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """A number with the name of an answer need not be one, and not every log is one of answered impressions by days."""
    rows = log
    if why == "impression and click are two rows":
        rows = [shown | {"click": 0} for shown in log if shown["click"]] + log
    lines = ["user,item,ts,click,play_time"]
    for at, e in enumerate(rows):
        watched = at % 90 if why == "tells no label" else 2 + 90 * e["click"] + e["item"] % 3
        time = 1_715_000_000 + e["time"] % 864 if why == "users are held out" else e["time"]
        lines.append(f"{e['user']},{e['item']},{time},{e['click']},{watched}")
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert not {"fetch.table.behaviour", "featurize.order"} & guessed("log.csv").keys()


@pytest.mark.parametrize(
    ("name", "form", "hours"), [("day", "%Y%m%d", 8), ("date", "%d.%m.%Y", -5), ("date", "%Y-%m-%d", 0)]
)
def test_days_in_a_column_tell_the_time_zone(
    name: str, form: str, hours: int, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """A day beside the time cuts the log where its publisher cut it, even under a name that the raw log uses itself."""
    rows = [
        f"{e['user']},{e['item']},{e['time'] - hours * 3600},{e['click']},2024-05-{6 + e['item'] % 12:02},"
        f"{datetime.fromtimestamp(e['time'], UTC):{form}}"
        for e in log
    ]
    found = guessed(write(tmp_path, f"{HEADER},released,{name}", rows))
    assert found.get("fetch.table.utc_offset_hours", 0) == hours
    assert (found["featurize.test_days"], found["featurize.valid_days"]) == (2, 1)
    assert found["featurize.fields"].keys() == {"user"}


@pytest.mark.parametrize(("start", "ahead"), [(0, 8), (16, -8), (7, None), (10, None)])
def test_a_quiet_noon_is_asked_about(start: int, ahead: int | None, tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """If nobody clicks at noon in UTC, days are likely to begin at another hour; quiet nights are usual."""
    day = 86_400
    times = [e["time"] // day * day + start * 3600 + e["time"] % day * 2 // 3 for e in log]  # sixteen hours awake
    rows = [f"{e['user']},{e['item']},{time},{e['click']}" for e, time in zip(log, times, strict=True)]
    write(tmp_path, HEADER, rows)
    zone = guess(Workspace(tmp_path), looks(tmp_path, events="log.csv"), {}).get("fetch.table.utc_offset_hours")
    assert (zone.value, f"set {ahead}." in zone.reason) == (0, True) if zone else ahead is None


HISTORIES: dict[str, tuple[list[str], dict[str, str], str]] = {
    "a behaviour a row": (
        ["visitor,item,ts", *(f"{at},{at % 150},1714950000" for at in range(200))],
        {"user_id": "visitor"},
        "",
    ),
    "lists": (
        ["user,seen_n,last,seen,liked,tags"]
        + [
            f"{at},9,1714950000,{at % 150}|{at % 7}|{at % 50},{at % 7}|{at % 50},x{at % 3}|y{at % 5}"
            for at in range(200)
        ],
        {"user_id": "user", "timestamp": "last", "item_id": "liked"},
        "liked",
    ),
}


@pytest.mark.parametrize("form", HISTORIES)
def test_earlier_behaviours(form: str, tmp_path: Path, plain: list[str], guessed: Guessed) -> None:
    """The longest list of a history may hold all items that were shown, so the second longest is taken."""
    (header, *rows), columns, lists = HISTORIES[form]
    found = guessed("log.csv", history=write(tmp_path, header, rows, "before.csv"))
    assert found["fetch.table.history_columns"].items() >= columns.items()
    assert found.get("fetch.table.separators", {}) == ({lists: "|"} if lists else {})
    with pytest.raises(InputError, match=r"--history bad\.csv: no column holds times as the events do \(s\)"):
        guessed(
            "log.csv",
            history=write(tmp_path, header, [row.replace("1714950000", "2024-05-01") for row in rows], "bad.csv"),
        )


def test_what_the_tables_beside_the_events_know_is_said(tmp_path: Path, plain: list[str]) -> None:
    """So that a table of other items is seen before the run that would refuse it."""
    write(tmp_path, "item,price", [f"{at},{at * 1.5}" for at in range(100, 400)], "items.csv")
    found = guess(Workspace(tmp_path), looks(tmp_path, events="log.csv", items="items.csv"), {})
    known = sum(int(row.split(",")[1]) >= 100 for row in plain) / len(plain)
    reason = found["fetch.table.items"].reason
    assert f"300 rows; {known:.1%} of events have their item here; {1 - known:.1%} are of unknown items" in reason


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


@pytest.mark.parametrize(
    ("events", "history", "why"),
    [
        ("clicks-{date}.csv", "", "a log in files of days can't be its own history"),
        ("clicks-2024-05-06.csv", "old.csv", "a table is the history already"),
    ],
)
def test_lists_of_earlier_items_that_cannot_be_the_history(
    events: str, history: str, why: str, plain: list[str], tmp_path: Path
) -> None:
    """They are left out with a reason, and a fetch reads the log."""
    rows = [f"{row},{at % 150}|{at % 149}" for at, row in enumerate(plain)]
    write(tmp_path, f"{HEADER},history", rows, "clicks-2024-05-06.csv")
    write(tmp_path, "user,item,ts", ["1,2,1600000000"], "old.csv")
    tables = looks(tmp_path, events=events, **({"history": history} if history else {}))
    found = guess(Workspace(tmp_path), tables, {})
    assert f"history is left out: it lists earlier items, but {why}" in found["featurize.fields"].reason
    table = nested({key: choice.value for key, choice in found.items()})["fetch"]["table"]
    assert TableSource(Workspace(tmp_path), Table(**table), None).read().events.count == len(rows)


@pytest.mark.parametrize("header", ["", f"{HEADER},history\n"])
def test_items_shown_together_are_no_history(header: str, plain: list[str], tmp_path: Path, guessed: Guessed) -> None:
    """A list that holds the row's own item says what was shown with it, which nobody knew before."""
    items = [row.split(",")[1] for row in plain]
    slates = ["|".join(items[at - at % 4 : at - at % 4 + 4]) for at in range(len(items))]
    rows = [f"{row},{slate}" for row, slate in zip(plain, slates, strict=True)]
    (tmp_path / "log.csv").write_text(header + "\n".join(rows))
    assert "fetch.table.history" not in guessed("log.csv")


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


def protocol(users: Sequence[int], days: Sequence[int], labels: Sequence[int], **named: Any) -> dict[str, Choice]:
    return split.guess(Events(np.array(users), np.array(users), np.array(days), np.array(labels)), **named)


def test_the_split_follows_from_days_and_users() -> None:
    """Without enough days, or with new users on the last ones, some users are held out; clicks alone need sampling.

    Softmax suits a split without days.
    """
    rows = range(2000)
    days = [row // 200 for row in rows]
    labels = [row % 3 == 0 for row in rows]
    for users, when, clicks, expected in (
        ([row % 150 for row in rows], days, labels, "temporal"),
        ([row // 10 for row in rows], days, labels, "by_user"),
        ([row % 150 for row in rows], [0] * 2000, labels, "by_user"),
        ([row % 150 for row in rows], days, [1] * 2000, "leave_last_out"),
    ):
        found = protocol(users, when, clicks)
        assert found["featurize.protocol"].value == expected
        assert ("train.model.softmax" in found) == (expected != "temporal")
        assert ("train.learning.initial_item_bias" in found) == (expected == "temporal")
    found = protocol([row // 10 for row in rows], days, labels)
    assert found["featurize.protocol"].reason.endswith("25% of 200 users; the log has 2,000 rows")
    with pytest.raises(InputError, match="the log has 1 day and 20 users; a test needs 4 days, or 100 users"):
        protocol([row % 20 for row in rows], [0] * 2000, labels)


def test_days_that_show_no_habit_are_not_held_out() -> None:
    """The last days have few rows, or users come on a day or two; without users enough, days are held out anyway."""
    thin = [*(row % 10 for row in range(4000)), *(10 + row % 30 for row in range(120))]
    users = [row % 150 for row in range(4120)]
    labels = [row % 3 == 0 for row in range(4120)]
    choice = protocol(users, thin, labels)["featurize.protocol"]
    assert choice.value == "by_user" and "the last 13 days have 1% of the rows: test on" in choice.reason
    rows = [(user, day) for user in range(600) for day in (user % 5, 5 + user % 5) for _ in range(3)]
    visitors, days = zip(*sorted(rows, key=lambda row: row[1]), strict=True)
    labels = [row % 3 == 0 for row in range(len(rows))]
    choice = protocol(visitors, days, labels)["featurize.protocol"]
    assert choice.value == "by_user" and "100% of the rows are of users who come on 2 days or fewer" in choice.reason
    few = [user % 90 for user in visitors]
    assert protocol(few, days, labels)["featurize.protocol"].value == "temporal"


def test_a_named_split_brings_its_recipe() -> None:
    """Whatever the log suggests; ages are left off where they would tell how long a user thought before rating."""
    users = [row % 150 for row in range(2000)]
    days = [row // 200 for row in range(2000)]
    labels = [row % 3 == 0 for row in range(2000)]
    for name, recipe in RECIPES.items():
        choices = protocol(users, days, labels, named=Choice(name, "said"), rated=True)
        assert choices["featurize.protocol"] == Choice(name, "said")
        assert {key.removeprefix("train.") for key in choices} >= recipe.keys()
        assert ("featurize.test_days" in choices) == ("train.start" in choices) == (name == "temporal")
        assert ("train.model.ages" in choices) == (name != "temporal")
    assert protocol(users, days, labels, named=Choice("by_user", ""), rated=True)["train.model.ages"].value is False
    assert protocol(users, days, labels, named=Choice("by_user", ""))["train.model.ages"].value is True
    with pytest.raises(InputError, match="by_user: every row is a click; only leave_last_out draws"):
        protocol(users, days, [1] * 2000, named=Choice("by_user", ""))
    with pytest.raises(InputError, match="temporal: the log has 1 day; a test needs 4"):
        protocol(users, [0] * 2000, labels, named=Choice("temporal", ""))


@pytest.mark.parametrize(("rows", "day"), [(split.CHALLENGING - 1, None), (split.CHALLENGING, "sunday")])
def test_a_challenger_needs_rows_that_can_judge_it(rows: int, day: str | None) -> None:
    """On a smaller log each Sunday would end at an undecided gate."""
    count = 4 * rows
    found = protocol([row % 150 for row in range(count)], [row // rows for row in range(count)], [0, 1] * (count // 2))
    assert found["train.scratch_day"].value == day


def test_a_gap_before_the_last_day() -> None:
    """The validation days reach back over days without rows; a test needs days before it to learn from."""
    days = [*(row // 200 for row in range(1000)), *[20] * 200]
    users = [row % 150 for row in range(1200)]
    labels = [row % 3 == 0 for row in range(1200)]
    found = protocol(users, days, labels)
    assert (found["featurize.test_days"].value, found["featurize.valid_days"].value) == (1, 16)
    assert found["featurize.valid_days"].reason == "200 rows, 17% of all"
    assert protocol(users, [20 * (day == 20) for day in days], labels)["featurize.protocol"].value == "by_user"


def test_clicks_and_a_short_last_day_are_said() -> None:
    """The reasons tell what a person knows of the log, so that a slip is seen before the run."""
    days = [*(row // 400 for row in range(4000)), *[10] * 20]
    found = protocol([row % 150 for row in range(4020)], days, [row % 4 == 0 for row in range(4020)])
    assert "the last day has 20 rows where 400 are usual" in found["featurize.protocol"].reason
    found = protocol(
        [row % 150 for row in range(4020)], [10 - day for day in days], [row % 4 == 0 for row in range(4020)]
    )
    assert "the first day has 20 rows where 400 are usual" in found["featurize.protocol"].reason
    assert found["featurize.test_days"].reason == "800 rows, 20% of all"


def test_few_users_with_both_labels() -> None:
    """Where most users always or never click, GAUC is noise, and AUC alone judges."""
    users = [row % 300 for row in range(3000)]
    found = protocol(users, [row // 300 for row in range(3000)], [user % 9 == 0 for user in users])
    assert found["gate.metrics"].value == ["auc"]


@pytest.mark.parametrize(
    ("name", "whose", "value"),
    [
        ("is_premium", "user", lambda e: e["user"] % 4 == 0),
        ("is_premium", "user", lambda e: e["user"] % 4 == 0 or (e["user"] == 7 and e["time"] % 2)),  # becomes one
        ("in_stock", "item", lambda e: e["item"] % 9 > 0),
        ("is_weekend", "day", lambda e: datetime.fromtimestamp(e["time"], UTC).weekday() > 4),
    ],
)
def test_what_describes_users_items_or_days_is_no_click(
    name: str, whose: str, value: Callable[..., bool], tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed
) -> None:
    """A column of two values need not be the label, whether it has a name or not; --label may say so all the same."""
    rows = [f"{e['user']},{e['item']},{e['time']},{int(value(e))}" for e in log]
    write(tmp_path, rows[0], rows[1:])
    with pytest.raises(InputError, match=rf"is the same in nearly all rows of each {whose}.* is a click, give --label"):
        guessed("log.csv")
    write(tmp_path, f"user,item,ts,{name}", rows)
    with pytest.raises(InputError, match="its name means no click"):
        guessed("log.csv")
    assert guessed("log.csv", label="all")["featurize.protocol"] == "leave_last_out"
    assert guessed("log.csv", label=name)["fetch.table.label"] == name


def test_an_impression_and_its_click_in_two_rows(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    """The reason of the label says that the clicks have rows without a click beside them."""
    rows = [(e, "view") for e in log] + [(e, "click") for e in log if e["click"]]
    write(tmp_path, "user,item,ts,event", [f"{e['user']},{e['item']},{e['time']},{kind}" for e, kind in rows])
    found = guess(Workspace(tmp_path), looks(tmp_path, events="log.csv"), {})
    assert "100% of the clicks have a row without a click of the same user" in found["fetch.table.label"].reason
    assert "fetch.table.drop_duplicates" not in found


@pytest.mark.parametrize(("every", "keep"), [(200, 0.05), (50, None)])
def test_rare_clicks_need_few_others(
    every: int, keep: float | None, tmp_path: Path, guessed: Guessed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large log whose clicks are rare, ten other rows are kept for each click."""
    monkeypatch.setattr(guess_module, "_FEW", 5000)
    rows = [f"u{row % 997},i{row % 89},{1_700_000_000 + 180 * row},{int(row % every == 0)}" for row in range(5000)]
    write(tmp_path, HEADER, rows)
    assert guessed("log.csv").get("featurize.keep_negatives") == keep


def test_item_and_user_tables(tmp_path: Path, plain: list[str], guessed: Guessed) -> None:
    """Columns of the tables become fields by their values, and lists in text are split."""
    items = [
        {"item": at, "title": f"Item {at}", "price": at * 1.5, "tags": f"a{at % 3}|b{at % 5}"} for at in range(150)
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    write(tmp_path, "user,gender", [f"{at},{'mf'[at % 2]}" for at in range(200)], "users.csv")
    found = guessed("log.csv", items="items.jsonl", users="users.csv")
    assert found["fetch.table.items_columns"] == {"item_id": "item"}
    assert found["fetch.table.separators"] == {"tags": "|"}
    assert found["featurize.fields"] == {
        "user": {"user_id": "id", "gender": "categorical"},
        "item": {"price": {"kind": "numeric", "buckets": 10}, "tags": "multi"},
    }
    write(tmp_path, "0,x,3", [f"x{at % 3},{at},{at}" for at in range(500, 900)], "items.csv")
    with pytest.raises(InputError, match=r"--items items\.csv: it has no header, and none of its columns holds the ev"):
        guessed("log.csv", items="items.csv")


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
