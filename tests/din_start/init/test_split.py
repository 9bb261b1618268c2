"""The split that `din init` chooses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from din.base.errors import InputError
from din_start.init import split
from din_start.init.choice import Choice
from din_start.init.fields import Events
from din_start.params.recipes import RECIPES


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
