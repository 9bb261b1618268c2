"""Columns whose names mean the user or the item, but whose values are not what the role needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from din.errors import InputError

Guessed = Callable[..., dict[str, Any]]
Row = dict[str, Any]


def lines_of(log: list[Row], header: str, cells: Callable[[Row, int], str]) -> str:
    """Return a CSV of events."""
    return "\n".join([header, *(cells(row, at) for at, row in enumerate(log))])


def gaps(row: Row, at: int) -> str:
    """Return the cells of an event; every fiftieth lacks its user."""
    return f"{row['user'] if at % 50 else ''},{row['item']},{row['time']},{row['click']},{at // 9},{row['item'] * 1.5}"


HEADER = "user_id,item_id,ts,click,session_id,price"
IDS: dict[str, tuple[str, Callable[[Row, int], str], dict[str, str], str]] = {
    "missing": (HEADER, gaps, {}, "user_id means the user, but 120 of the first 6,000 values are missing; fill them"),
    "missing, given": (HEADER, gaps, {"user": "user_id"}, "--user user_id: 120 of the first 6,000 values are missing"),
    "once": (
        "user,item_id,ts,click",
        lambda row, at: f"{at},{row['item']},{row['time']},{row['click']}",
        {},
        "user means the user, but hardly any user repeats: 6,000 values in the first 6,000 rows",
    ),
    "few": (
        "user,item_id,ts,click",
        lambda row, at: f"{row['user']},{at % 5},{row['time']},{row['click']}",
        {},
        "item_id means the item, but it has only 5 values (0, 1, 2), fewer than 10",
    ),
    "a click": (HEADER, gaps, {"user": "click"}, "--user click: its only values are"),
    "a price": (HEADER, gaps, {"user": "session_id", "item": "price"}, "--item price: its values are real numbers"),
}


@pytest.mark.parametrize("case", IDS)
def test_values_that_are_no_ids(case: str, tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """The message blames the values of a column whose name is right, or that somebody named."""
    header, cells, given, part = IDS[case]
    (tmp_path / "log.csv").write_text(lines_of(log, header, cells))
    with pytest.raises(InputError) as error:
        guessed("log.csv", **given)
    assert part in str(error.value)


def test_doubtful_ids_may_be_named(tmp_path: Path, log: list[Row], guessed: Guessed) -> None:
    """Users without a history, and a handful of items, are accepted from a person."""
    (tmp_path / "log.csv").write_text(
        lines_of(log, "user,item,ts,click", lambda row, at: f"{at},{at % 5},{row['time']},{row['click']}")
    )
    found = guessed("log.csv", user="user", item="item")
    assert found["fetch.table.columns"] == {"user_id": "user", "item_id": "item", "timestamp": "ts"}
