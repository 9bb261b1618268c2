"""Guess how a log is split into training, validation and test rows, from its days, users and clicks."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from din import documents
from din.errors import InputError
from din.init.fields import Events

_TEST, _VALID = 0.15, 0.08  # shares of the rows
_KNOWN = 0.5  # least share of test rows of users that training has seen, under temporal
_DAYS = 4
_SHORT = 0.5  # rows of the last day, as a share of the median day
_USERS = 100
_BOTH = 0.3  # least share of rows of users with both labels, for a metric within users


@dataclass(frozen=True)
class Set:
    """A parameter to set, and why."""

    __pydantic_config__ = documents.STRICT

    key: str
    value: Any
    reason: str

    @property
    def lines(self) -> list[str]:
        """The reason line by line; names from the log may hold codes that would steer a terminal or break YAML."""
        return ["".join(map(_printable, line)) for line in self.reason.splitlines()]


def guess(events: Events) -> list[Set]:
    """Return the parameters of the split.

    Raises:
        InputError: there are too few users and days for any split.
    """
    if events.labels.all():
        why = "every row is a click: each user's last one is held out, with a sampled negative for each click"
        return [Set("featurize.protocol", "leave_last_out", why)]
    days = events.days
    users = events.users
    counts = np.bincount(days)
    people = len(np.unique(users))
    span = "1 day" if len(counts) == 1 else f"{len(counts)} days"
    found = []
    test = _last(counts, _TEST, len(counts) // 3)
    earlier = counts[: len(counts) - test]
    valid = _last(earlier, _VALID, len(counts) // 4) if len(earlier) else 0
    held = days >= len(counts) - test
    tuned = days >= len(counts) - test - valid
    known = np.isin(users[held], np.unique(users[~tuned])).mean() if held.any() else 0.0
    if len(counts) >= _DAYS and known >= _KNOWN:
        why = f"{span} of rows, and {known:.0%} of the last days' rows are of users seen before"
        usual = np.median(counts)
        short = f"\nthe last day has {counts[-1]:,} rows where {usual:,.0f} are usual: leave it out if it isn't over"
        note = short if counts[-1] < _SHORT * usual else ""
        found += [
            Set("featurize.protocol", "temporal", f"{why}: test on the last days, as in production{note}"),
            Set("featurize.test_days", test, f"{np.mean(held):.0%} of the rows"),
            Set("featurize.valid_days", valid, f"{np.mean(tuned & ~held):.0%} of the rows"),
        ]
        judged = held
    elif people >= _USERS:
        new = f"{1 - known:.0%} of the last days' rows are of new users"
        why = f"only {span}" if len(counts) < _DAYS else new
        found.append(Set("featurize.protocol", "by_user", f"{why}: test on users that training has not seen"))
        judged = np.ones(len(users), dtype=bool)
    else:
        raise InputError(
            f"the log has {span} and {people} users; a test needs {_DAYS} days, or {_USERS} users: bring a longer log"
        )
    both = _share_of_both(users[judged], events.labels[judged])
    if both < _BOTH:
        why = f"only {both:.0%} of the judged rows are of users with a click and without one, so GAUC would be noise"
        found.append(Set("gate.metrics", ["auc"], why))
    return found


def _last(counts: np.ndarray, share: float, most: int) -> int:
    """Return the number of last days that hold a share of the rows."""
    within = np.cumsum(counts[::-1]) >= share * counts.sum()
    return int(np.clip(np.argmax(within) + 1, 1, max(most, 1)))


def _share_of_both(users: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose user has clicked at least once and not always."""
    rows = np.bincount(users)
    clicks = np.bincount(users, labels)
    mixed = (clicks > 0) & (clicks < rows)
    return float(rows[mixed].sum() / max(rows.sum(), 1))


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
