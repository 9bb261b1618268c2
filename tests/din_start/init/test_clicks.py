"""Clicks, rows without a click, and rows that repeat."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from din.base.errors import InputError
from din.base.workspace import Workspace
from din_start.init import clicks
from din_start.init.guess import guess
from tests.din_start.init.made_up_logs import HEADER, looks, write

Guessed = Callable[..., dict[str, Any]]


def test_a_log_of_purchases(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """If every row is a click, negatives are sampled, which softmax suits; days as times are no repeated events."""
    rows = [f"c{e['user']},s{e['item']},2024-05-{1 + e['time'] % 28:02}" for e in log]
    found = guessed(write(tmp_path, "customer,sku,date", rows))
    assert found["featurize.protocol"] == "leave_last_out"
    assert (found["train.model.softmax"], found["train.learning.average"]) == (True, 0.25)
    assert not {"validate_raw.max_duplicate_rate", "fetch.table.behaviour"} & found.keys()
    repeated = guessed(write(tmp_path, "customer,sku,date", [*rows, *rows[:199]]))
    assert repeated["validate_raw.max_duplicate_rate"] == 0.07


def test_repeated_events(tmp_path: Path, plain: list[str], guessed: Guessed) -> None:
    """If events of the same moment repeat, only the first of them shall count."""
    found = guessed(write(tmp_path, HEADER, [*plain, *plain[:200]]))
    assert found["fetch.table.drop_duplicates"] is True
    assert "validate_raw.max_duplicate_rate" not in found


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
    monkeypatch.setattr(clicks, "_FEW", 5000)
    rows = [f"u{row % 997},i{row % 89},{1_700_000_000 + 180 * row},{int(row % every == 0)}" for row in range(5000)]
    write(tmp_path, HEADER, rows)
    assert guessed("log.csv").get("featurize.keep_negatives") == keep
