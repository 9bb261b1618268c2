"""A value whose clicks are lost or made is named, and on days like those before no field alarms."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from din_loop.watch.outcomes import Outcome
from din_loop.watch.slices import checks

ROWS = 1000
CTR = 0.2


def outcome(number: int, rng: np.random.Generator) -> Outcome:
    """Return a day with ten categories, of which the model finds the first half as good as it is."""
    category = rng.integers(0, 10, ROWS)
    item = category * 10 + rng.integers(0, 10, ROWS)
    rate = np.full(ROWS, CTR)
    labels = (rng.random(ROWS) < rate).astype(float)
    scores = np.where(category == 0, rate / 2, rate)
    fields = {"category": [f"c{value}" for value in category], "item_id": [f"i{value}" for value in item]}
    return Outcome(date(2026, 1, 1) + timedelta(days=number), "v", labels, scores, rng.integers(0, 200, ROWS), fields)


def days(seed: int) -> list[Outcome]:
    """Return clean days."""
    rng = np.random.default_rng(seed)
    return [outcome(number, rng) for number in range(15)]


def test_clean_days() -> None:
    """Small p-values are as rare as they claim, with a category that the model misjudges and a day of few clicks."""
    p_values = []
    for seed in range(150):
        clean = days(seed)
        clean[-1].labels[::3] = 0  # a fault of the whole day is none of a value
        p_values += [check.p for check in checks(clean, ()) if check.p is not None]
    assert len(p_values) == 300
    assert (np.array(p_values) < 0.02).mean() < 0.04
    assert min(p_values) > 1e-5


@pytest.mark.parametrize(
    ("field", "value", "change"),
    [
        ("category", "c3", lambda labels, chosen: np.where(chosen, 0, labels)),
        ("category", "c0", lambda labels, chosen: np.where(chosen, 1, labels)),
        ("item_id", "i42", lambda labels, chosen: np.where(chosen, 1, labels)),
    ],
)
def test_a_value_whose_clicks_differ(field: str, value: str, change: Callable[..., np.ndarray]) -> None:
    """The value is named: one whose join fails, and one on which somebody clicks each time."""
    faulty = days(1)
    chosen = np.array(faulty[-1].fields[field]) == value
    repeated = np.concatenate([np.flatnonzero(chosen)] * 3 + [np.arange(ROWS)])  # enough of an item to be a common one
    last = faulty[-1]
    fields = {name: [values[at] for at in repeated] for name, values in last.fields.items()}
    labels = change(last.labels, chosen)[repeated]
    faulty[-1] = replace(last, labels=labels, scores=last.scores[repeated], users=last.users[repeated], fields=fields)
    by_name = {check.figure: check for check in checks(faulty, ())}
    check = by_name[f"clicks by {field}"]
    assert check.value == value and check.p is not None and check.p < 1e-5


def test_a_new_value_is_expected_to_click_as_promised() -> None:
    """A value without a past has the calibration of all rows."""
    renamed = days(1)
    last = renamed[-1]
    category = ["new" if value == "c3" else value for value in last.fields["category"]]
    renamed[-1] = replace(last, fields={**last.fields, "category": category})
    by_name = {check.figure: check for check in checks(renamed, ())}
    p = by_name["clicks by category"].p
    assert p is not None and p > 0.01


def test_too_few() -> None:
    """Few days, few users and few clicks are said."""
    clean = days(0)
    few = [replace(day, labels=np.zeros(ROWS)) for day in clean]
    alone = [*clean[:-1], replace(clean[-1], users=np.zeros(ROWS, np.int64))]
    for short, reason in ((clean[-5:], "days"), (alone, "users"), (few, "clicks")):
        assert {(check.p, reason in (check.problem or "")) for check in checks(short, ())} == {(None, True)}
