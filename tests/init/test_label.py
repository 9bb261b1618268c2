"""Columns whose names mean the click, but whose values are more or less than a yes and a no."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_logs import with_column

from din.errors import InputError

Guessed = Callable[..., dict[str, Any]]
Row = dict[str, Any]
Value = Callable[[Row, int], object]


def time_of(row: Row, otherwise: str) -> str:
    """Return the time of the event if it is a click."""
    return datetime.fromtimestamp(row["time"] + 5, UTC).isoformat() if row["click"] else otherwise


ASKED: dict[str, tuple[str, Value, str, str]] = {
    "purchases": ("purchases", lambda row, at: row["click"] * (1 + at % 2), "purchases > 0", "0 (4,"),
    "unknown": (
        "clicked",
        lambda row, at: "unknown" if at % 50 == 0 else ["no", "yes"][row["click"]],
        "clicked == yes",
        "no (4,",
    ),
    "a typo": ("click", lambda row, at: "oops" if at == 7 else row["click"], "click == 1", "oops (1×)"),
    "1 and 2": ("click", lambda row, _: 1 + row["click"], "click > 1", "1 (4,"),
    "a time or none": ("clicked_at", lambda row, _: time_of(row, "none"), "clicked_at != none", "none (4,"),
    "a word as label": ("label", lambda row, _: ["neg", "pos"][row["click"]], "label == pos", "neg (4,"),
}


@pytest.mark.parametrize("case", ASKED)
def test_other_values_are_asked_for(
    case: str, tmp_path: Path, log: list[Row], guessed: Guessed, fetched_clicks: Callable[..., int]
) -> None:
    """The message counts the values and proposes a rule that a fetch can read."""
    name, value, rule, counted = ASKED[case]
    path = with_column(tmp_path, log, name, value)
    with pytest.raises(InputError) as error:
        guessed(path)
    message = str(error.value)
    assert f"{name} should say whether the item was clicked, but its values are " in message
    assert counted in message and f"--label '{rule}'" in message
    assert abs(fetched_clicks(path, label=rule) - sum(row["click"] for row in log)) < len(log) / 50


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("clicks", lambda row, at: row["click"] * (1 + at % 2), "clicks > 0"),
        ("label", lambda row, _: 2 * row["click"] - 1, "label > 0"),
    ],
)
def test_more_than_0_is_a_click(
    name: str,
    value: Value,
    rule: str,
    tmp_path: Path,
    log: list[Row],
    fetched_clicks: Callable[..., int],
    guessed: Guessed,
) -> None:
    """Counts of clicks, and labels of -1 and 1, have one meaning."""
    path = with_column(tmp_path, log, name, value)
    assert guessed(path)["fetch.table.label"] == rule
    assert fetched_clicks(path) == sum(row["click"] for row in log)


@pytest.mark.parametrize(
    ("constant", "name", "value", "rule"),
    [
        ("click,1", "conversion", lambda row, _: row["click"], "conversion"),
        ("purchased,1", "rating", lambda _, at: 1 + at % 5, "rating >= 4"),
        ("saved,0", "rating", lambda _, at: 1 + at % 5, "rating >= 4"),
        ("like,0", "event_type", lambda row, _: ["view", "click"][row["click"]], "event_type != view"),
    ],
)
def test_a_column_that_varies_comes_before_a_constant_one(
    constant: str, name: str, value: Value, rule: str, tmp_path: Path, log: list[Row], guessed: Guessed
) -> None:
    """An answer that is the same in all rows tells nothing, whatever its name."""
    always, answer = constant.split(",")
    lines = [f"user,item,ts,{always},{name}"]
    lines += [f"{row['user']},{row['item']},{row['time']},{answer},{value(row, at)}" for at, row in enumerate(log)]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert guessed("log.csv")["fetch.table.label"] == rule


MISSING: dict[str, tuple[str, Value, str]] = {
    "1 %": ("click", lambda row, at: "" if at % 100 == 0 else row["click"], "or drop these rows"),
    "blank or 1": ("clicked", lambda row, _: "1" if row["click"] else "", "write 0 there if it means no click"),
    "blank or a time": ("clicked_at", lambda row, _: time_of(row, ""), "write a column that is 1 where it holds"),
    "blank or bought": ("bought", lambda row, _: "x" if row["click"] else "", "write 0 there"),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing_answers_are_not_guessed(case: str, tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """A fetch refuses a label with missing values, so the message says how to fill them."""
    name, value, part = MISSING[case]
    path = with_column(tmp_path, log, name, value)
    with pytest.raises(InputError, match=f"{name} should say") as error:
        guessed(path)
    assert part in str(error.value)
    with pytest.raises(InputError, match=r"expected 0 or 1|is missing, so"):
        guessed(path, label=name if case == "1 %" else f"{name} == 1")


def test_missing_answers_in_parquet(tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """Nulls of a typed column are missing values as well."""
    columns = {
        "user": [row["user"] for row in log],
        "item": [row["item"] for row in log],
        "ts": [row["time"] for row in log],
        "click": pa.array([bool(row["click"]) if row["click"] or row["place"] else None for row in log]),
    }
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    with pytest.raises(InputError, match=r"click should say .* missing \("):
        guessed("log.parquet")


def test_a_like_does_not_replace_an_unclear_click(tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """Without a usable click, another answer is no label."""
    lines = ["user,item,ts,click,is_like"]
    lines += [
        f"{row['user']},{row['item']},{row['time']},{row['click'] if at % 9 else ''},{int(row['dwell'] > 60)}"
        for at, row in enumerate(log)
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="click should say whether the item was clicked"):
        guessed("log.csv")


@pytest.mark.parametrize(("value", "rule"), [("1", "click"), ("ja", "click == ja")])
def test_a_log_of_nothing_but_clicks(value: str, rule: str, tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """If all rows say that they are clicks, negatives are sampled."""
    found = guessed(with_column(tmp_path, log, "click", lambda *_: value))
    assert found["fetch.table.label"] == rule
    assert found["featurize.protocol"] == "leave_last_out"


@pytest.mark.parametrize("value", ["0", "nein"])
def test_a_log_without_a_click(value: str, tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """There is nothing to learn."""
    with pytest.raises(InputError, match="is 0 in all 6,000 rows, so there is nothing to learn"):
        guessed(with_column(tmp_path, log, "click", lambda *_: value))


def test_a_rule_that_is_true_in_every_row(tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """A log of clicks alone is not made by a slip in a rule."""
    path = with_column(tmp_path, log, "rating", lambda _, at: 1 + at % 5)
    with pytest.raises(InputError, match="rating >= 1: is 1 in all 6,000 rows, so nothing tells a click"):
        guessed(path, label="rating >= 1")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("purchase_discount", [0, 5, 10]),
        ("purchase_method", ["card", "cash", "sepa"]),
        ("buyer_country", ["DE", "FR", "IT"]),
    ],
)
def test_a_purchase_may_be_described(
    name: str, values: list[object], tmp_path: Path, log: list[Row], guessed: Guessed
) -> None:
    """A log of purchases stays one, though a column's name holds the word for buying."""
    found = guessed(with_column(tmp_path, log, name, lambda _, at: values[at % 3]))
    assert found["fetch.table.label"] == "ts > 0"
    assert found["featurize.protocol"] == "leave_last_out"
    assert "fetch.table.behaviour" not in found


def test_actions_and_ratings_decide_before_unclear_reactions(tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """A rating is the label beside a count of likes, which is an answer to the review."""
    lines = ["user,item,ts,likes,rating"]
    lines += [f"{row['user']},{row['item']},{row['time']},{at % 4},{1 + at % 5}" for at, row in enumerate(log)]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert guessed("log.csv")["fetch.table.label"] == "rating >= 4"


def test_the_time_of_the_click_is_not_the_time(tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """A time that is missing in rows without a click can't say when the item was shown."""
    lines = ["user,item,click_time,time,is_click"]
    lines += [
        f"{row['user']},{row['item']},{time_of(row, '')},{time_of(row | {'click': 1}, '')},{row['click']}"
        for row in log
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    found = guessed("log.csv")
    assert found["fetch.table.columns"]["timestamp"] == "time"
    assert not {"click_time"} & {*json.dumps(found["featurize.fields"]).split('"')}
