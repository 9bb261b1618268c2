"""The columns that `din init` takes for time, user, item and label, and what it says where none can be."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from din.base.errors import InputError
from din.data import values
from din.data.files import File
from din.data.readers import Dialect
from din.data.rows import Rows
from din.data.rules import Rule
from din_start.init.look import Column, Look
from din_start.init.roles import guess

Value = Callable[[int, int], Any]  # of a row, from its number and its click

ROWS = 600
CLICKS = [int(at % 3 == 0) for at in range(ROWS)]
KEYS: dict[str, Value] = {
    "user": lambda at, _: at % 40,
    "item": lambda at, _: at * 7 % 30,
    "ts": lambda at, _: 1_700_000_000 + 1000 * at,
}


def log_of(columns: dict[str, Value], headed: bool = True) -> Look:
    """Return the first rows of a log with these columns."""
    table = {name: pa.chunked_array([[*map(value, range(ROWS), CLICKS)]]) for name, value in columns.items()}
    files = (File(None, "log.csv", "log.csv"),)
    return Look(
        "log.csv",
        files,
        Dialect(names=() if headed else (*table,)),
        {name: Column(name, table[name]) for name in table},
    )


def clicks(log: Look, rule: str) -> list[int]:
    """Return the labels that a fetch gives by a rule."""
    if rule == "all":
        return [1] * ROWS
    rows = Rows.of("log.csv", {name: column.values for name, column in log.columns.items()})
    parsed = Rule.parse("--label", rule, rows.names, "log.csv")
    answer, checks = parsed.of(rows, values.forms(rows, {})[parsed.column])
    rows.require(checks)
    return rows.select({"label": answer}).table["label"].to_pylist()


def time_of(click: int, otherwise: Any) -> Any:
    """Return a time if the row is a click."""
    return datetime(2024, 5, 1, 12, tzinfo=UTC).isoformat() if click else otherwise


LABELS: list[tuple[dict[str, Value], str]] = [
    ({"clicks": lambda at, click: click * (1 + at % 2)}, "clicks > 0"),
    ({"label": lambda _, click: 2 * click - 1}, "label == 1"),
    ({"clicks": lambda at, click: 2 * click - 1 if at != 1 else 0}, "clicks > 0"),
    ({"is_booking": lambda _, click: click, "is_mobile": lambda at, _: at % 2}, "is_booking"),
    ({"event": lambda _, click: ["view", "addtocart"][click]}, "event != view"),
    ({"Gekauft": lambda _, click: ["nein", "ja"][click]}, "Gekauft == ja"),
    ({"Geklickt": lambda _, click: ["FALSCH", "WAHR"][click]}, "Geklickt == WAHR"),
    ({"purchased": lambda _, click: ["", "yes"][click]}, "purchased == yes"),
    ({"user_star_level": lambda at, _: at % 5, "label": lambda _, click: click}, "label"),
    # An answer that is the same in all rows comes after one that varies.
    ({"click": lambda *_: 1, "conversion": lambda _, click: click}, "conversion"),
    ({"purchased": lambda *_: 1, "rating": lambda at, click: 1 + 3 * click + at % 2}, "rating >= 4"),
    ({"like": lambda *_: 0, "event_type": lambda _, click: ["view", "click"][click]}, "event_type != view"),
    # A count of likes is an answer to the review.
    ({"likes": lambda at, _: at % 4, "rating": lambda at, click: 1 + 3 * click + at % 2}, "rating >= 4"),
]
ALL_CLICKS: list[tuple[dict[str, Value], str]] = [
    ({"click": lambda *_: 1}, "click"),
    ({"click": lambda *_: "ja"}, "click == ja"),
    # A column's name may hold the word for buying, and describe the purchase.
    ({"purchase_discount": lambda at, _: [0, 5, 10][at % 3]}, "all"),
    ({"purchase_method": lambda at, _: ["card", "cash", "sepa"][at % 3]}, "all"),
    ({"buyer_country": lambda at, _: ["DE", "FR", "IT"][at % 3]}, "all"),
    ({"click_environment": lambda at, _: [4, 2, 1][at % 3], "click_os": lambda at, _: at % 20}, "all"),
]


@pytest.mark.parametrize(
    ("beside", "rule", "expected"),
    [*((*label, CLICKS) for label in LABELS), *((*label, [1] * ROWS) for label in ALL_CLICKS)],
)
def test_labels(beside: dict[str, Value], rule: str, expected: list[int]) -> None:
    """The column or rule tells the clicks. If none does, every row is one."""
    log = log_of(KEYS | beside)
    assert guess(log, {})["label"].value == rule
    assert clicks(log, rule) == expected


ASKED: list[tuple[str, Value, str, str]] = [
    ("purchases", lambda at, click: click * (1 + at % 2), "purchases > 0", "0 (400×)"),
    ("clicked", lambda at, click: "unknown" if at == 1 else ["no", "yes"][click], "clicked == yes", "no (399×)"),
    ("click", lambda _, click: 1 + click, "click > 1", "1 (400×)"),
    ("clicked_at", lambda _, click: time_of(click, "none"), "clicked_at != none", "none (400×)"),
    ("label", lambda _, click: ["neg", "pos"][click], "label != neg", "neg (400×)"),
    ("behavior_type", lambda at, click: 1 + click * (1 + at % 3), "behavior_type > 1", "1 (400×)"),
]


@pytest.mark.parametrize(("name", "value", "rule", "counted"), ASKED)
def test_other_values_are_asked_for(name: str, value: Value, rule: str, counted: str) -> None:
    """The message counts the values, and proposes a rule that tells the clicks."""
    log = log_of(KEYS | {name: value})
    with pytest.raises(InputError) as error:
        guess(log, {})
    message = str(error.value)
    assert message.startswith(f"log.csv: {name} should say whether the item was clicked, but its values are ")
    assert counted in message and f"e.g. --label '{rule}'" in message
    assert clicks(log, rule) == CLICKS


def test_two_values_under_another_name_are_asked_for() -> None:
    """A column such as `is_promoted` may describe the row; only without a header does it stand for the clicks."""
    log = log_of(KEYS | {"is_promoted": lambda _, click: click})
    with pytest.raises(InputError, match="its name means no click; if it is one, give --label is_promoted; if every"):
        guess(log, {})
    nameless = replace(log, dialect=Dialect(names=(*log.columns,)))
    assert guess(nameless, {"user": "user", "item": "item", "time": "ts"})["label"].value == "is_promoted"


@pytest.mark.parametrize("value", [lambda at, click: click if at % 9 else None, lambda _, click: time_of(click, None)])
def test_missing_answers_are_not_guessed(value: Value) -> None:
    """No rule can judge them, so the message says how to fill them; a like does not replace an unclear click."""
    log = log_of(KEYS | {"clicked": value, "is_like": lambda at, _: at % 2})
    with pytest.raises(InputError, match=r"clicked should say.* missing \(.*write 1 for a click and 0 for none"):
        guess(log, {})
    with pytest.raises(InputError, match="clicked is missing; expected a value for"):
        clicks(log, "clicked == 1")


@pytest.mark.parametrize(
    ("columns", "given", "columns_of_roles"),
    [
        (KEYS, {}, ("user", "item", "ts")),
        ({**KEYS, "user": lambda at, _: (at % 40 - 20) << 58}, {}, ("user", "item", "ts")),  # hashes of 64 bits
        ({"client_id": lambda at, _: at % 40 + 0.25, **KEYS, "user": lambda *_: 7}, {}, ("client_id", "item", "ts")),
        # Ids that look like times are none.
        (
            {"member": lambda at, _: 1_500_000_000 + at % 40, "item": KEYS["item"], "shown_at": KEYS["ts"]},
            {},
            ("member", "item", "shown_at"),
        ),
        # The time of a click is missing in other rows, so it can't say when the item was shown.
        (
            {"user": KEYS["user"], "item": KEYS["item"], "click_time": lambda _, click: time_of(click, None)}
            | {"time": lambda *_: time_of(1, None)},
            {},
            ("user", "item", "time"),
        ),
        (
            {"click_time": lambda at, click: click * (1_700_000_000 + at), **KEYS, "ts": lambda *_: 0}
            | {"shown_time": KEYS["ts"]},
            {},
            ("user", "item", "shown_time"),
        ),
        # A person may name ids of which hardly any repeats, or a handful, and titles as ids.
        (KEYS | {"item": lambda at, _: f"Film {at % 500}"}, {"item": "item"}, ()),
        (KEYS | {"user": lambda at, _: at, "item": lambda at, _: at % 5}, {"user": "user", "item": "item"}, ()),
        ({"a": KEYS["user"], "b": KEYS["item"], "c": KEYS["ts"]}, {"user": "a"}, ("a", "b", "c")),
    ],
)
def test_user_item_and_time(
    columns: dict[str, Value], given: dict[str, str], columns_of_roles: tuple[str, ...]
) -> None:
    """Names decide among the columns whose values fit; what a person named need not look like ids."""
    found = guess(log_of(columns | {"click": lambda _, click: click}), given)
    assert tuple(found[role].value for role in ("user", "item", "time")) == (columns_of_roles or tuple(KEYS))


@pytest.mark.parametrize(
    "form",
    ["%b %d %Y %I:%M %p", "%d %b %Y %H:%M", "%B %d, %Y", "%a %b %d %H:%M:%S +0000 %Y", "%Y-%m-%d %H", "%H:%M %d.%m.%y"],
)
def test_times_in_words_or_in_a_form_that_is_named(form: str) -> None:
    """The unit is the form, guessed where it is common."""
    start = datetime(2024, 4, 20, tzinfo=UTC)
    log = log_of(KEYS | {"ts": lambda at, _: (start + timedelta(hours=at)).strftime(form).replace(" PM", "PM")})
    given = {"unit": form} if form.startswith("%H") else {}
    assert guess(log, given)["unit"].value == form.replace("+0000", "%z")


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S.%f UTC", "%Y-%m-%d %H:%M:%S.%f %z"])
def test_times_as_warehouses_export_them(form: str) -> None:
    """A blank before the zone is not in ISO 8601, but common."""
    start = datetime(2024, 5, 1, tzinfo=UTC)
    log = log_of(KEYS | {"ts": lambda at, _: (start + timedelta(hours=at)).strftime(form)})
    assert guess(log, {})["unit"].value == "iso"


@pytest.mark.parametrize(("unit", "per"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_numbers_since_1970(unit: str, per: int) -> None:
    """Their size tells the unit."""
    assert guess(log_of(KEYS | {"ts": lambda at, _: (1_700_000_000 + at) * per}), {})["unit"].value == unit


@pytest.mark.parametrize("form", ["%Y%m%d", "%Y%m%d%H", "%y%m%d%H", "%Y%m%d%H%M%S"])
def test_whole_numbers_that_are_written_times(form: str) -> None:
    """Digits that are a time in all rows are no count, though 2024050100 could be a second of the year 2034."""
    start = datetime(2024, 5, 1, tzinfo=UTC)
    log = log_of(KEYS | {"ts": lambda at, _: int((start + timedelta(hours=at)).strftime(form))})
    assert guess(log, {})["unit"].value == form


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M"])
def test_days_within_the_first_twelve_of_a_month(form: str) -> None:
    """Both forms fit; nine days are likelier than the same day of nine months, and a person shall check it."""
    start = datetime(2024, 5, 1, tzinfo=UTC)
    unit = guess(log_of(KEYS | {"ts": lambda at, _: (start + timedelta(days=at % 10)).strftime(form)}), {})["unit"]
    assert unit.value == form
    assert f"(or {form.translate(str.maketrans('dm', 'md'))}: check it)" in unit.reason


@pytest.mark.parametrize(
    ("bad", "form"), [(0, "s"), (None, "s"), ("31.12.9999", "%d.%m.%Y"), ("0000-00-00", "iso"), ("unknown", "iso")]
)
def test_some_impossible_times(bad: Any, form: str) -> None:
    """They don't change what the column is, nor does another one replace it; a fetch names the first of them."""
    start = datetime(2024, 5, 1, tzinfo=UTC)

    def time(at: int, _: int) -> Any:
        day = start + timedelta(days=at)
        times = {"s": int(day.timestamp()), "iso": f"{day:%Y-%m-%d}"}
        return bad if at % 20 == 9 else times.get(form, day.strftime(form))

    found = guess(log_of(KEYS | {"ts": time, "modified": KEYS["ts"]}), {})
    assert (found["time"].value, found["unit"].value) == ("ts", form)


def test_a_day_and_a_time_of_day() -> None:
    """In two columns, they are two halves of the time; the reason says so."""
    columns = {"ts": lambda at, _: f"2024-05-{1 + at % 28:02}", "clock": lambda at, _: f"12:{at % 60:02}:00"}
    assert "to use the time of day in clock as well" in guess(log_of(KEYS | columns), {})["time"].reason


@pytest.mark.parametrize("unit", ["days since 2000-01-01", "s since 2017-05-31"])
def test_a_count_since_a_day_that_a_person_names(unit: str) -> None:
    """A known unit is taken as written. An unknown one is refused, and the message gives an example."""
    columns = KEYS | {"ts": lambda at, _: at % 90}
    choices = guess(log_of(columns), {"time": "ts", "unit": unit})
    assert (choices["time"].value, choices["unit"].value) == ("ts", unit)
    with pytest.raises(InputError, match=r"'weeks since 2000-01-01'.*or days since 2000-01-01"):
        guess(log_of(columns), {"time": "ts", "unit": "weeks since 2000-01-01"})


def test_missing_times_beside_a_unit_that_is_named() -> None:
    """Missing times do not speak against the unit that a person named."""
    log = log_of(KEYS | {"ts": lambda at, _: None if at % 9 == 0 else f"2024-05-01T12:00:{at % 60:02}Z"})
    assert guess(log, {"time": "ts", "unit": "iso"})["unit"].value == "iso"


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (["pv", "cart", "fav", "buy"], "column_3 != pv"),
        (["impression", "click"], "column_3 != impression"),
        ([-1, 1], "column_3 == 1"),
        (["news", "play", "sports", "finance"], "all"),  # categories, one of which is like an answer
    ],
)
def test_a_file_without_a_header(values: list[Any], rule: str) -> None:
    """The first two columns that repeat like ids are the user and the item; known values make a column of actions."""
    columns = {**KEYS, "x": lambda at, click: values[click * (1 + at % (len(values) - 1))]}
    log = log_of({f"column_{at}": value for at, value in enumerate(columns.values())}, headed=False)
    found = guess(log, {})
    assert [found[role].value for role in ("user", "item", "time")] == ["column_0", "column_1", "column_2"]
    assert found["label"].value == rule


REFUSED: dict[str, tuple[dict[str, Value], dict[str, str], tuple[str, ...]]] = {
    "a user with gaps": (
        {"user": lambda at, _: at % 40 if at % 50 else None, "session_id": lambda at, _: at // 9},
        {},
        ("user means the user, but 12 of the first 600 values are missing; fill them",),
    ),
    "the same, given": (
        {"user": lambda at, _: at % 40 if at % 50 else None},
        {"user": "user"},
        ("--user user: 12 of the first 600 values are missing",),
    ),
    "users once": ({"user": lambda at, _: at}, {}, ("user means the user, but hardly any user repeats: 600 values",)),
    "few items": ({"item": lambda at, _: at % 5}, {}, ("item means the item, but it has only 5 values (0, 1, 2)",)),
    "a click as user": (
        {"click": lambda _, click: click},
        {"user": "click"},
        ("--user click: its only values are 1, 0",),
    ),
    "a price as item": ({"p": lambda at, _: at / 7}, {"item": "p"}, ("--item p: its values are of type double",)),
    "two users": (
        {"user": lambda *_: 0, "a": lambda at, _: at % 40, "b": lambda at, _: at % 50},
        {},
        ("user means the user, but its only values are 0", "b, a. If one is, name it with --user"),
    ),
    "impressions in a cell as item": (
        {"shown": lambda at, _: " ".join(f"N{at * step % 31}-{(at + step) % 2}" for step in range(1, 2 + at % 9))},
        {"item": "shown"},
        ("--item shown: its values are lists, such as 'N0-1,", "expected one item: write a row for each"),
    ),
    "an id like a time": (
        {"ts": lambda at, _: -at, "category_id": lambda at, _: 2_053_013_555_631_882_655 + at % 9},
        {},
        ("no column holds times",),
    ),
    "a user in an object": (
        {"user": lambda at, _: {"id": at % 40}},
        {},
        ("user means the user, but its values are objects (struct<id: int64>)", "jq -c '.user_id = .user.id'"),
    ),
    "places of clicks in a list": (
        {
            "shown": lambda at, _: " ".join(f"D{at // 20**digit % 20}" for digit in range(3)),
            "clicked": lambda at, _: f"{at % 6} {at % 5}" if at % 9 else None,
        },
        {},
        ("but its values are ", "if it says which elements of shown were clicked, list these themselves"),
    ),
    "no such column": ({}, {"user": "usr"}, ("--user 'usr': no such column", "user, item, ts")),
    "no time": (
        {"ts": lambda at, _: -at},
        {},
        ("no column holds times", "one of user, item, ts. ", "--time", "the same day"),
    ),
    **{
        f"times in {unit} since an unknown day": (
            {"ts": lambda at, _, step=step: at * step},
            {},
            ("ts holds no times since 1970 (0, ", f"give --time ts --unit '{unit} since 2000-01-01'"),
        )
        for unit, step in {"days": 1, "s": 5000, "ms": 900_000}.items()
    },
    "times in lists": (
        {"ts": lambda at, _: [{"time": 1_700_000_000 + at}]},
        {},
        ("one of user, item. ", "instead of lists or objects in ts"),
    ),
    "a list as time": ({"e": lambda at, _: [{"t": at}]}, {"time": "e"}, ("--time e: its values, such as list<",)),
    "two times": ({"ts": KEYS["item"], "a": KEYS["ts"], "b": KEYS["ts"]}, {}, ("a, b all hold times", "--time")),
    "another form": (
        {"ts": lambda *_: "00:01 31.05.24"},
        {"time": "ts", "unit": "%d.%m.%y %H:%M"},
        ("--time ts", "such as 00:01 31.05.24, are not times; expected %d.%m.%y %H:%M", "--unit"),
    ),
    "an unknown unit": ({}, {"unit": "sec"}, ("--unit 'sec': expected s, ms",)),
    "a day that doesn't exist": (
        {},
        {"unit": "days since 2000-02-30"},
        ("fetch.table.timestamp_unit: 'days since 2000-02-30': no such day",),
    ),
    "two labels": (
        {"a": lambda at, _: at % 2, "b": lambda _, click: click},
        {},
        ("a, b all hold two values", "--label"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_guessed_is_said(case: str) -> None:
    """The message blames the values, names the candidates, and gives the option that decides."""
    columns, given, parts = REFUSED[case]
    with pytest.raises(InputError) as error:
        guess(log_of(KEYS | columns), given)
    assert [part for part in parts if part not in str(error.value)] == []
