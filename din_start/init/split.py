"""Guess how a log is split into training, validation and test rows, from its days, users and clicks.

Some parameters of learning and judging depend on the split, and are guessed with it.
"""

import numpy as np

from din.base.errors import InputError
from din.params.featurize import Featurize
from din_start.init.choice import Choice
from din_start.init.fields import Events
from din_start.params.recipes import RECIPES

_TEST, _VALID = 0.15, 0.08  # shares of the rows
_KNOWN = 0.5  # least share of test rows of users that training has seen, under temporal
_DAYS = 4
_SHORT = 0.5  # rows of the last day, as a share of the median day
_USERS = 100
_BOTH = 0.3  # least share of rows of users with both labels, for a metric within users
CHALLENGING = 8_000
"""The rows of a usual day that can show that a challenger from scratch is as good as the champion.

Two trainings from scratch differ by chance alone. On 2,360 rows of 1,022 users the standard error of their difference
in AUC was 0.0054, which can't exclude `gate.max_margin`; on 9,442 rows of 3,628 users it was 0.0021, which does.
"""


def guess(events: Events) -> dict[str, Choice]:
    """Return the parameters of the split, and those that depend on it.

    Raises:
        InputError: there are too few users and days for any split.
    """
    if events.labels.all():
        why = "every row is a click: each user's last one is held out, with a sampled negative for each click"
        why += f"\n{len(np.unique(events.users)):,} users, so the test has at most one click per user"
        better = "negatives are sampled: softmax and averaged weights gained 0.008 and 0.013 AUC on two such logs"
        return {
            "featurize.protocol": Choice("leave_last_out", why),
            **_recipe("leave_last_out", better),
            **_ages(events),
        }
    counts = np.bincount(events.days)
    people = len(np.unique(events.users))
    span = "1 day" if len(counts) == 1 else f"{len(counts)} days"
    test = _last(counts, _TEST, len(counts) // 3)
    valid = _last(counts[:-test], _VALID, len(counts) // 4) if test < len(counts) else 0
    held = events.days >= len(counts) - test
    tuned = events.days >= len(counts) - test - valid
    seen = np.isin(events.users[held], events.users[~tuned]).mean()
    if len(counts) >= _DAYS and seen >= _KNOWN:
        why = f"{span} of rows, and {seen:.0%} of the last days' rows are of users seen before: test on the last days"
        if counts[-1] < _SHORT * np.median(counts):
            usual = f"{np.median(counts):,.0f} are usual"
            why += f"\nthe last day has {counts[-1]:,} rows where {usual}: leave it out by data.until if it isn't over"
        if counts[0] < _SHORT * np.median(counts):
            why += f"\nthe first day has {counts[0]:,} rows where {np.median(counts):,.0f} are usual"
        sets = {
            "featurize.protocol": Choice("temporal", why),
            "featurize.test_days": Choice(test, _sized(held)),
            "featurize.valid_days": Choice(valid, _sized(tuned & ~held)),
            **_recipe(
                "temporal",
                "what was clicked last week is a poor start: zero gained 0.005 and 0.002 AUC on two such logs",
            ),
            "train.start": Choice(
                "champion", "a champion learns a new day in seconds; before a run, `din pin` names it"
            ),
            "train.champion": Choice("none", "the first run has none to continue"),
            "train.scratch_day": _scratch_day(np.median(counts)),
        }
        judged = held
    elif people >= _USERS:
        new = f"{1 - seen:.0%} of the last days' rows are of new users"
        why = f"{f'only {span}' if len(counts) < _DAYS else new}: test on users that training has not seen"
        why += f"\n{Featurize.test_fraction:.0%} of {people:,} users; the log has {len(events.labels):,} rows"
        better = "users are new: values tuned on one such log gained 0.005 AUC there, and 0.006 on another"
        sets = {"featurize.protocol": Choice("by_user", why), **_recipe("by_user", better), **_ages(events)}
        judged = np.full(len(held), True)
    else:
        raise InputError(
            f"the log has {span} and {people} users; a test needs {_DAYS} days, or {_USERS} users: bring a longer log"
        )
    rows = np.bincount(events.users[judged])
    clicks = np.bincount(events.users[judged], events.labels[judged])
    both = rows[(clicks > 0) & (clicks < rows)].sum() / rows.sum()
    if both < _BOTH:
        why = f"only {both:.0%} of the judged rows are of users with both labels, so GAUC would be noise"
        sets["gate.metrics"] = Choice(["auc"], why)
    return sets


def _scratch_day(rows: float) -> Choice:
    """Return the weekday of a challenger from scratch, or None if a day of that many rows can't judge one."""
    if rows >= CHALLENGING:
        return Choice("sunday", "a challenger from scratch, in case the champion has drifted")
    why = f"a usual day has {rows:,.0f} rows; to judge a challenger from scratch, the gate needs about {CHALLENGING:,}"
    return Choice(None, why)


def _recipe(protocol: str, why: str) -> dict[str, Choice]:
    """Return the choices of a recipe. The first one has the reason, and the others name the first."""
    changes = RECIPES[protocol]
    first = next(iter(changes))
    reasons = {first: why}
    return {f"train.{key}": Choice(value, reasons.get(key, f"tuned with {first}")) for key, value in changes.items()}


def _ages(events: Events) -> dict[str, Choice]:
    """Let the model read how old behaviours are, if the log has several days."""
    if events.days.max() == 0:
        return {}
    why = "gained 0.016 and 0.008 AUC on two public logs, and nothing on a third; requests need times"
    return {"train.model.ages": Choice(True, why)}


def _sized(rows: np.ndarray) -> str:
    return f"{np.sum(rows):,} rows, {np.mean(rows):.0%} of all"


def _last(counts: np.ndarray, share: float, most: int) -> int:
    """Return the number of last days that hold a share of the rows: at most `most`, unless these have no rows."""
    last = counts[::-1]
    enough = np.argmax(np.cumsum(last) >= share * last.sum()) + 1
    any_rows = np.argmax(last > 0) + 1
    return int(max(min(enough, most), any_rows))
