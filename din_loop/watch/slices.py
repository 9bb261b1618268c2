"""Whether the clicks on some values of a field are unlike those on the others, as when a join fails for one category.

For each of the values that have the most predicted clicks on the newest day, and all other values together:

    expected   the predictions of the day, times the value's clicks per prediction on the 7 usual days before, scaled
               so that all values together have the clicks of the day
    z          the normal score of the clicks under a binomial distribution, divided by its root mean square on earlier
               days if that is above 1

A field has one p-value: twice the smaller one of the largest |z|, corrected for the number of values, and of Σz².
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, chdtrc, ndtr, ndtri

from din.metrics.estimates import MIN_USERS
from din_loop.watch.alarms import CLICKS_BY, OTHERS
from din_loop.watch.outcomes import Outcome
from din_loop.watch.significance import FEW_DAYS, LEAST, WEEK, Check, few_users, usual_days

MOST_VALUES = 20
FEWEST_CLICKS = 1.0
"""The expected clicks below which a value says nothing."""
_WEIGHT = 5.0
"""The predicted clicks by which a value's usual ratio is drawn to that of all values."""


def checks(days: Sequence[Outcome], alarms: Collection[tuple[date, str]]) -> list[Check]:
    """Return a check for each field of the newest day.

    Args:
        alarms: the days and figures that alarmed before.
    """
    return [_check(days, field, alarms) for field in days[-1].fields]


def _check(days: Sequence[Outcome], field: str, alarms: Collection[tuple[date, str]]) -> Check:
    name = f"{CLICKS_BY}{field}"
    usual = usual_days([day.day for day in days], name, alarms) & np.array([len(day.labels) > 0 for day in days])
    usual[-1] = True
    users = len(np.unique(days[-1].users))
    if users < MIN_USERS:
        return Check(name, None, problem=few_users(users))
    if usual.sum() <= WEEK + LEAST:
        return Check(name, None, problem=FEW_DAYS)
    promised: Counter[str] = Counter()
    for value, score in zip(days[-1].fields[field], days[-1].scores.tolist(), strict=True):
        promised[value] += score
    places = {value: at for at, (value, _) in enumerate(promised.most_common(MOST_VALUES))}
    values = [*places, OTHERS]
    compared = [day for day, is_usual in zip(days, usual, strict=True) if is_usual]
    sums = np.array([_sums(day, field, places) for day in compared])  # [D, 3, values]
    week = [slice(at - WEEK, at) for at in range(WEEK, len(compared))]  # before each day from the eighth on
    before = np.array([sums[days_before].sum(axis=0) for days_before in week])
    level = before[:, 1].sum(axis=1, keepdims=True) / before[:, 2].sum(axis=1, keepdims=True)
    rates = (before[:, 1] + _WEIGHT * level) / (before[:, 2] + _WEIGHT)
    shown, clicks, scores = sums[WEEK:, 0], sums[WEEK:, 1], sums[WEEK:, 2]
    expected = scores * rates
    expected *= (clicks.sum(axis=1) / np.maximum(expected.sum(axis=1), 1e-9))[:, None]
    expected = np.minimum(expected, shown * (before[:, 0] + 1) / (before[:, 0] + 2))  # a week makes no click certain
    can_tell = expected >= FEWEST_CLICKS
    if not can_tell[-1].any():
        return Check(name, None, problem="too few clicks to tell")
    squares = np.where(can_tell, _z(clicks, shown, expected) ** 2, 0.0)
    squares /= max(1.0, squares[:-1].sum() / max(1, can_tell[:-1].sum()))
    worst = int(squares[-1].argmax())
    count = int(can_tell[-1].sum())
    largest = count * 2 * float(ndtr(-np.sqrt(squares[-1, worst])))
    p = min(1.0, 2 * min(largest, float(chdtrc(count, squares[-1].sum()))))
    return Check(name, float(clicks[-1, worst] / expected[-1, worst]), p=p, value=values[worst])


def _z(clicks: NDArray[np.float64], shown: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal scores of counts, each in the middle of its step of the binomial distribution."""
    rates = expected / np.maximum(shown, 1)
    rows = shown.astype(np.int64)
    below = np.where(clicks > 0, bdtr(np.maximum(clicks - 1, 0), rows, rates), 0.0)
    return ndtri(np.clip((below + bdtr(clicks, rows, rates)) / 2, 1e-15, 1 - 1e-15))


def _sums(day: Outcome, field: str, places: Mapping[str, int]) -> NDArray[np.float64]:
    """Return the impressions, clicks and predicted clicks of each value, and of all others together, [3, values]."""
    size = len(places) + 1
    missing = [OTHERS] * len(day.labels)
    at = np.array([places.get(value, len(places)) for value in day.fields.get(field, missing)], np.int64)
    ones = np.ones(len(at))
    return np.array([np.bincount(at, each, size) for each in (ones, day.labels, day.scores)], np.float64)
