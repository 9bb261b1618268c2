"""Tests of the field that a column without a role becomes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.schema import Group
from din_start.init.fields import Events, kind_of, of_event, of_table
from din_start.init.guess import guess
from tests.din_start.init.made_up_logs import HEADER, looks, write

Guessed = Callable[..., dict[str, Any]]


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


@pytest.mark.parametrize("name", ["label", "date", "Behaviour", "value", "sampled"])
def test_names_that_are_taken_are_left_out_with_a_reason(name: str, plain: list[str], tmp_path: Path) -> None:
    """No column is dropped without a word, and none of them fails in a later stage."""
    write(tmp_path, f"{HEADER},{name}", [f"{row},v{at % 3}" for at, row in enumerate(plain)])
    reason = guess(Workspace(tmp_path), looks(tmp_path, events="log.csv"), {})["featurize.fields"].reason
    taken = "the raw log or the feature files have a column of this name; rename it"
    assert f"{name} is left out: {taken}" in reason


def test_names_that_differ_by_case_only_are_one_field(plain: list[str], tmp_path: Path) -> None:
    """The first of a table's columns, and the column of the item table before the one of the events."""
    write(tmp_path, f"{HEADER},tab,TAB,brand", [f"{row},t{at % 3},u{at % 4},b{at % 5}" for at, row in enumerate(plain)])
    items = [f"{item},B{item % 6},v{item % 4}\n" for item in range(150)]
    (tmp_path / "items.csv").write_text("item,Brand,value\n" + "".join(items))
    tables = looks(tmp_path, events="log.csv", items="items.csv")
    reason = guess(Workspace(tmp_path), tables, {})["featurize.fields"].reason
    assert "TAB is left out: its name differs from 'tab' by case only" in reason
    assert "brand is left out: another table has a field of this name" in reason
    assert "value is left out: the feature files have a column of this name" in reason


def test_a_feature_of_users_is_no_user(tmp_path: Path, log: list[dict[str, Any]], guessed: Guessed) -> None:
    """It has few values, and its name says more than the role."""
    rows = [f"{e['user'] % 12},{e['user'] % 11},{e['item']},{e['time']},{e['click']}" for e in log]
    write(tmp_path, "user_feature_2,user_feature_3,item,ts,click", rows)
    with pytest.raises(InputError, match=r"no column is named like a user; .* If one is, name it with --user"):
        guessed("log.csv")
