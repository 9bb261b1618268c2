"""Tables beside the events."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from din.base.errors import InputError
from din.base.workspace import Workspace
from din_start.init.guess import guess
from tests.din_start.init.made_up_logs import looks, write

Guessed = Callable[..., dict[str, Any]]


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
