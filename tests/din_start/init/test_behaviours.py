"""Tests of what `din init` says about earlier behaviours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from din.base.workspace import Workspace
from din.data.tabular import TableSource
from din.params.fetch import Table
from din.params.overlays import nested
from din_start.init.guess import guess
from tests.din_start.init.made_up_logs import HEADER, looks, write

Guessed = Callable[..., dict[str, Any]]


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
