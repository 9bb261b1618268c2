"""The guesses of `din init` for logs of different shapes."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import SHAPES

from din.errors import InputError
from din.init import guess as guess_module
from din.init import look as look_module
from din.init import split, words
from din.init.fields import Events, kind_of, of_event, of_table
from din.init.guess import guess, roles
from din.init.look import Column, look
from din.params import Params
from din.schema import Group
from din.sources import readers
from din.workspace import Workspace

Guessed = Callable[..., dict[str, Any]]

COLUMNS = {
    "german_shop": {"user_id": "Kundennr", "item_id": "Artikelnummer", "timestamp": "Zeitpunkt"},
    "ads": {"user_id": "cookie_id", "item_id": "ad_id", "timestamp": "ts"},
    "reviews": {"user_id": "reviewerID", "item_id": "asin", "timestamp": "unixReviewTime"},
    "ratings": {"user_id": "column_1", "item_id": "column_2", "timestamp": "column_4"},
    "videos": {"user_id": "visitorId", "item_id": "videoId", "timestamp": "event_time"},
}
LABELS = {
    "german_shop": "Gekauft == ja",
    "ads": "click",
    "reviews": "overall >= 5.0",
    "ratings": "column_3 >= 5",
    "videos": "is_click",
}
BEHAVIOURS = {"reviews": "overall >= 1.0", "ratings": "column_3 >= 1"}
UNITS = {"german_shop": "%d.%m.%Y %H:%M:%S", "ads": "ms", "reviews": "s", "ratings": "s", "videos": "iso"}
FIELDS = {
    "german_shop": {
        "user": {"user_id": "id"},
        "item": {"Warengruppe": "categorical", "Preis": {"kind": "numeric", "buckets": 10}},
        "context": {"Gerät": "categorical"},
        "behaviour": {"Verweildauer": {"kind": "numeric", "buckets": 10}},
    },
    "ads": {
        "user": {"user_id": "id"},
        "item": {"campaign_id": "categorical"},
        "context": {"site": "categorical"},
        "behaviour": {"conversion": "categorical"},
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
    assert found["featurize.fields"] == FIELDS[shape]
    assert found["featurize.protocol"] == "temporal"
    assert 1 <= found["featurize.valid_days"] <= found["featurize.test_days"] <= 3


def test_how_a_german_file_is_written(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Delimiter, encoding and the comma in numbers are found."""
    found = guessed(SHAPES["german_shop"](tmp_path, log))
    assert [found[f"fetch.table.csv.{key}"] for key in ("delimiter", "encoding", "decimal")] == [";", "cp1252", ","]
    assert found["promote.model_name"] == "bestellungen"


@given(
    delimiter=st.sampled_from((";", "\t", "|", ",")),
    encoding=st.sampled_from(("utf-8", "cp1252", "utf-16")),
    headed=st.booleans(),
    names=st.permutations(["Kunde", "Artikel", "Zeit", "Geklickt", "Straße"]),
)
@settings(max_examples=15)
def test_any_dialect_is_found(
    tmp_path_factory: pytest.TempPathFactory, delimiter: str, encoding: str, headed: bool, names: list[str]
) -> None:
    """Any delimiter, encoding and order of columns, with a header or without, gives the same columns."""
    folder = tmp_path_factory.mktemp("log")
    rows = [
        {
            "Kunde": f"k{at % 17}",
            "Artikel": f"Ä{at % 13}",
            "Zeit": str(1_700_000_000 + 60 * at),
            "Geklickt": str(at % 2),
        }
        | {"Straße": f"Öde {at % 3}"}
        for at in range(60)
    ]
    lines = [delimiter.join(names)] if headed else []
    lines += [delimiter.join(row[name] for name in names) for row in rows]
    (folder / "log.csv").write_bytes("\n".join(lines).encode(encoding))
    seen = look(Workspace(folder), "log.csv", "--events")
    assert seen.headed == headed
    assert [[*map(str, column.values.to_pylist())] for column in seen.columns.values()] == [
        [row[name] for row in rows] for name in names
    ]
    if headed:
        found = roles(seen, {})
        assert (found.user.value, found.item.value, found.time.value) == ("Kunde", "Artikel", "Zeit")
        assert found.label.value == "Geklickt"


@pytest.mark.parametrize(
    ("name", "entries", "is_named"),
    [
        ("userId", words.USER, True),
        ("Kunden-Nr.", words.USER, True),
        ("utilisateur", words.USER, True),
        ("Käufer", words.USER, True),
        ("użytkownik", words.USER, True),
        ("item_id:token", words.ITEM, True),
        ("add_to_cart", words.ITEM, False),
        ("nonclk", words.CLICK, False),
        ("unixReviewTime", words.TIME, True),
        ("Überweisung", words.TIME, False),
        ("商品", words.ITEM, True),
    ],
)
def test_names_in_several_languages(name: str, entries: tuple[str, ...], is_named: bool) -> None:
    """A name means a role in any of the languages, whatever its case, accents and parts."""
    assert words.means(name, entries) is is_named


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("brand", [float(17 * at % 613) if at % 7 else None for at in range(3000)], "categorical"),
        ("x", [at % 60 for at in range(3000)], "categorical"),
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
    ],
)
def test_amounts_are_no_lists(values: list[str], separator: str | None) -> None:
    """A comma in an amount separates nothing; one between codes does."""
    assert Column("x", pa.chunked_array([values])).separator == separator


def test_nested_columns_have_no_examples(tmp_path: Path, guessed: Guessed) -> None:
    """A column of objects that is named as the time is refused by its type."""
    rows = [{"user": at % 5, "events": [{"item": at, "time": 1_700_000_000 + at}]} for at in range(20)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"--time events: its values, such as list<.*struct<"):
        guessed("log.jsonl", time="events")
    with pytest.raises(InputError, match=r"in one of user\. .*; events holds lists or objects: write one row per"):
        guessed("log.jsonl")


COLUMNS_BESIDE: dict[str, tuple[Callable[[dict[str, Any], int], object], Group | None]] = {
    "brand": (lambda row, _: f"b{row['item'] % 7}" if row["item"] % 5 else None, Group.ITEM),
    "x7": (lambda row, _: row["dwell"] // 9, Group.BEHAVIOUR),  # tells the label, though its name says nothing
    "watchtime": (lambda row, at: at % 5, Group.BEHAVIOUR),
    "clicks_today": (lambda row, at: row["click"] * (1 + at % 3), None),
    "sessionNr": (lambda row, _: row["time"] // 7200, None),  # new every day
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
    assert of_event(name, column, keys, has_items=False, is_graded=False).group == group


def test_sums_of_clicks_in_an_item_table() -> None:
    """They may hold clicks that are later than an impression."""
    table = pa.table({"item_id": [*range(150)], "clicks": [at % 40 for at in range(150)]})
    (found,) = of_table(table, Group.ITEM, "item_id")
    assert found.group is None


@pytest.mark.parametrize("name", ["label", "date"])
def test_names_of_the_log_itself_are_left_out_with_a_reason(
    name: str, tmp_path: Path, log: list[dict[str, Any]], params: Params
) -> None:
    """No column is dropped without a word."""
    lines = [f"user,item,ts,click,{name}"]
    lines += [f"{e['user']},{e['item']},{e['time']},{e['click']},v{e['place']}" for e in log]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    found = guess(Workspace(tmp_path), params, {"events": "log.csv"}, {})
    (reason,) = [one.reason for one in found if one.key == "featurize.fields"]
    assert f"{name} is left out: the log itself uses this name; rename the column" in reason


def test_later_rows_count_too(tmp_path: Path, guessed: Guessed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the first rows, a user may be missing, and a row may be no click."""
    monkeypatch.setattr(look_module, "_ROWS", 800)
    rows = [f"{row % 40},{row % 31},{1_700_000_000 + 900 * row},1" for row in range(4000)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,ts,click", *rows, ",3,1703600000,1"]))
    with pytest.raises(InputError, match=r"log\.csv row 4001: user_id is missing"):
        guessed("log.csv")
    others = [f"{row % 40},{row % 31},1703600000,0" for row in range(400)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,ts,click", *rows, *others]))
    found = guessed("log.csv")
    assert (found["fetch.table.label"], found["featurize.protocol"]) == ("click", "temporal")


def test_actions_make_a_rule(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """A column of actions gives the rule that everything but the view is a click."""
    lines = ["timestamp,visitorid,event,itemid"]
    lines += [f"{e['time']}000,{e['user']},{['view', 'addtocart'][e['click']]},{e['item']}" for e in log]
    (tmp_path / "events.csv").write_text("\n".join(lines))
    assert guessed("events.csv")["fetch.table.label"] == "event != view"


def test_a_log_of_purchases(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """If every row is a click, negatives are sampled, and each user's last click is held out."""
    lines = ["customer,sku,date"] + [f"c{e['user']},s{e['item']},2024-05-{1 + e['time'] % 28:02}" for e in log]
    (tmp_path / "sales.csv").write_text("\n".join(lines))
    found = guessed("sales.csv")
    assert found["featurize.protocol"] == "leave_last_out"
    assert "validate_raw.max_duplicate_rate" not in found
    assert "fetch.table.behaviour" not in found
    (tmp_path / "sales.csv").write_text("\n".join(lines + lines[1:200]))
    assert guessed("sales.csv")["validate_raw.max_duplicate_rate"] == 0.07


def test_repeated_events(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """If events of the same moment repeat, only the first of them shall count."""
    lines = [f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,ts,click", *lines, *lines[:200]]))
    found = guessed("log.csv")
    assert found["fetch.table.drop_duplicates"] is True
    assert "validate_raw.max_duplicate_rate" not in found


@pytest.mark.parametrize("hours", [-8, 0, 8])
def test_a_file_a_day(hours: int, tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Days in the paths tell their time zone; items can't come from events that are read one by one."""
    first = log[0]["time"] // 86_400
    for day in range(12):
        rows = [e for e in log if e["time"] // 86_400 - first == day]
        lines = [
            "user,item,ts,click,cat",
            *(f"{e['user']},{e['item']},{e['time'] - hours * 3600},{e['click']},{e['category']}" for e in rows),
        ]
        (tmp_path / f"clicks-2024-05-{6 + day:02}.csv").write_text("\n".join(lines))
    found = guessed("clicks-{date}.csv")
    assert found.get("fetch.table.utc_offset_hours", 0) == hours
    assert found["fetch.table.daily"] is True
    assert found["featurize.fields"]["context"] == {"cat": "categorical"}
    assert "fetch.table.items_from_events" not in found
    assert found["promote.model_name"] == "clicks"


def protocol(users: Sequence[int], days: Sequence[int], labels: Sequence[int]) -> str:
    keys = Events(np.array(users), np.array(users), np.array(days), np.array(labels))
    return next(one.value for one in split.guess(keys) if one.key == "featurize.protocol")


def test_the_split_follows_from_days_and_users() -> None:
    """Without enough days, or with new users on the last ones, some users are held out; clicks alone need sampling."""
    rows = range(2000)
    days = [row // 200 for row in rows]
    labels = [row % 3 == 0 for row in rows]
    assert protocol([row % 150 for row in rows], days, labels) == "temporal"
    assert protocol([row // 10 for row in rows], days, labels) == "by_user"
    assert protocol([row % 150 for row in rows], [0] * 2000, labels) == "by_user"
    assert protocol([row % 150 for row in rows], days, [1] * 2000) == "leave_last_out"
    with pytest.raises(InputError, match="the log has 1 day and 20 users; a test needs 4 days, or 100 users"):
        protocol([row % 20 for row in rows], [0] * 2000, labels)


def test_rows_clicks_and_a_short_last_day_are_said(tmp_path: Path, params: Params) -> None:
    """The reasons tell what a person knows of the log, so that a slip is seen before the run."""
    days = [*(row // 400 for row in range(4000)), *[10] * 20]
    lines = ["user,item,ts,click"]
    lines += [f"{at % 150},{at % 37},{86_400 * (19_700 + day) + at},{int(at % 4 == 0)}" for at, day in enumerate(days)]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    reasons = {one.key: one.reason for one in guess(Workspace(tmp_path), params, {"events": "log.csv"}, {})}
    assert "4,020 rows, 1,005 clicks: a CTR of 25.0%" in reasons["fetch.table.label"]
    assert "the last day has 20 rows where 400 are usual" in reasons["featurize.protocol"]


@pytest.mark.parametrize(("every", "keep"), [(200, 0.05), (50, None)])
def test_rare_clicks_need_few_others(
    every: int, keep: float | None, tmp_path: Path, guessed: Guessed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large log whose clicks are rare, ten other rows are kept for each click."""
    monkeypatch.setattr(guess_module, "_FEW", 5000)
    lines = ["user,item,ts,click"]
    lines += [f"u{row % 997},i{row % 89},{1_700_000_000 + 180 * row},{int(row % every == 0)}" for row in range(5000)]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert guessed("log.csv").get("featurize.keep_negatives") == keep


def test_item_and_user_tables(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Columns of the tables become fields by their values, and lists in text are split."""
    (tmp_path / "log.csv").write_text(
        "\n".join(["user,item,ts,click"] + [f"{e['user']},{e['item']},{e['time']},{e['click']}" for e in log])
    )
    items = [
        {"item": at, "title": f"Item {at}", "price": at * 1.5, "tags": f"a{at % 3}|b{at % 5}"} for at in range(150)
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (tmp_path / "users.csv").write_text("\n".join(["user,gender"] + [f"{at},{'mf'[at % 2]}" for at in range(200)]))
    found = guessed("log.csv", items="items.jsonl", users="users.csv")
    assert found["fetch.table.items_columns"] == {"item_id": "item"}
    assert found["fetch.table.separators"] == {"tags": "|"}
    assert found["featurize.fields"] == {
        "user": {"user_id": "id", "gender": "categorical"},
        "item": {"price": {"kind": "numeric", "buckets": 10}, "tags": "multi"},
    }


def test_an_item_table_without_a_header(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """Without names, nobody can tell which column is the item, so the message asks for a header."""
    (tmp_path / "log.csv").write_text("\n".join(f"{e['user']},{e['item']},{e['click']},{e['time']}" for e in log))
    (tmp_path / "items.csv").write_text("\n".join(f"{at},Item {at}" for at in range(150)))
    with pytest.raises(InputError, match=r"--items items\.csv: its first line is a row.* with item_id among them"):
        guessed("log.csv", items="items.csv")


REFUSED = {
    "no time": ("user,item,click\n" + "1,2,0\n" * 20, {}, ("no column holds times", "--time")),
    "two users": (
        "".join(["a,b,ts,click\n", *(f"{at % 40},{at % 30},{1_700_000_000 + at},{at % 2}\n" for at in range(200))]),
        {},
        ("no name of a column means the user", "a, b", "--user"),
    ),
    "a wrong column": ("user,item,ts,click\n1,2,1700000000,0\n", {"user": "usr"}, ("--user 'usr'", "user, item, ts")),
    "a wrong time": ("user,item,ts,click\n1,x,1700000000,0\n", {"time": "item"}, ("--time item", "such as x")),
    "a wrong unit": (
        "user,item,ts,click\n1,x,00:01 31.05.24,0\n",
        {"time": "ts", "unit": "%d.%m.%y %H:%M"},
        ("--time ts", "such as 00:01 31.05.24", "expected %d.%m.%y %H:%M", "--unit"),
    ),
    "an unknown unit": ("user,item,ts,click\n1,x,1700000000,0\n", {"unit": "sec"}, ("--unit 'sec'", "expected s, ms")),
    "odd separators": ("user^item^ts\n1^x^1700000000\n", {}, ("its only column is 'user^item^ts'", "convert the file")),
    "two labels": (
        "".join(
            ["user,item,ts,a,b\n", *(f"{at % 40},{at % 30},{at + 10**9},{at % 2},{at % 3 % 2}\n" for at in range(99))]
        ),
        {},
        ("a, b all hold two values", "--label"),
    ),
    "a wrong rule": (
        "".join(["user,item,ts,c\n", *(f"{at % 40},{at % 30},{1_700_000_000 + at},{at % 7}\n" for at in range(200))]),
        {"label": "c >= 9"},
        ("c >= 9", "is 0 in all 200 rows", "--label"),
    ),
    "two colons": ("1::2::5::978300760\n" * 20, {}, ("log.csv: its cells end in ::", "sed 's/::/")),
    "an empty file": ("", {}, ("log.csv: empty", "export it again")),
    "blank lines": ("\n\n", {}, ("log.csv: no line of text", "export it again")),
    "one line, endless": ("a" * 300_000, {}, ("log.csv: no line of text that ends within 262,144 bytes",)),
    "a header longer than what is read": (",".join(f"column_{at}" for at in range(30_000)), {}, ("no line of text",)),
    "zero bytes": ("\0" * 300_000, {}, ("log.csv: no line of text",)),
    "a header alone": ("user,item,ts,click\n", {}, ("log.csv: no rows",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_guessed_is_said(case: str, tmp_path: Path, guessed: Guessed) -> None:
    """The message names the candidates, and the option that decides."""
    content, given, parts = REFUSED[case]
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(InputError) as error:
        guessed("log.csv", **given)
    assert [part for part in parts if part not in str(error.value)] == []


def test_a_binary_file_is_no_log(tmp_path: Path, guessed: Guessed) -> None:
    """Bytes that no usual encoding has are not taken for text."""
    (tmp_path / "log.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9)
    with pytest.raises(InputError, match=r"log\.csv: neither UTF-8 nor cp1252 text"):
        guessed("log.csv")


def test_a_cell_may_be_long(tmp_path: Path, guessed: Guessed) -> None:
    """A text of 140,000 characters among the first rows is read like any other."""
    rows = [f"u{at % 60},i{at % 40},{1_700_000_000 + at * 1400},{at * 7 % 3 % 2},text" for at in range(600)]
    rows[1] += "x" * 140_000
    (tmp_path / "log.csv").write_text("\n".join(["user,item,ts,click,said", *rows]))
    assert guessed("log.csv")["fetch.table.columns"]["item_id"] == "item"


@pytest.mark.parametrize(
    ("form", "unit"),
    [("%b %d %Y %I:%M %p", {}), ("%d %b %Y %H:%M", {}), ("%H:%M %d.%m.%y", {"unit": "%H:%M %d.%m.%y"})],
)
def test_times_in_words_or_in_a_form_that_is_named(
    form: str, unit: dict[str, str], tmp_path: Path, guessed: Guessed
) -> None:
    """The unit is the form, guessed where it is common."""
    start = datetime(2024, 5, 1, tzinfo=UTC)
    times = [(start + timedelta(hours=at)).strftime(form).replace(" PM", "PM") for at in range(400)]
    rows = [f'{at % 40},{at % 30},"{time}",{at * 7 % 5 // 3}' for at, time in enumerate(times)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,ts,click", *rows]))
    assert guessed("log.csv", **unit)["fetch.table.timestamp_unit"] == form


def test_long_rows_are_read_up_to_a_number_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of long rows is looked at through fewer of them, so that memory has a bound."""
    monkeypatch.setattr(readers, "_HEAD", 1 << 16)
    rows = "".join(f"{number % 9},{number % 7},{number},{'x' * 2000}\n" for number in range(5000))
    (tmp_path / "log.csv").write_text(f"user,item,time,text\n{rows}")
    seen = look(Workspace(tmp_path), "log.csv", "--events")
    assert 0 < seen.columns["user"].rows < 5000
