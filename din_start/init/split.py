"""Guess how a log is split into training, validation and test rows, from its days, users and clicks.

Some parameters of learning and judging depend on the split, and are guessed with it.
"""

from dataclasses import dataclass

import numpy as np

from din.base.errors import InputError
from din.params.featurize import Featurize
from din_start.init.choice import Choice
from din_start.init.fields import Events
from din_start.params.recipes import ALWAYS, RECIPES

_TEST, _VALID = 0.15, 0.08  # shares of the rows
_KNOWN = 0.5  # least share of test rows of users that training has seen, under temporal
_DAYS = 4
_LEAST_TEST = 0.05  # of the rows, under temporal
_VISITS = 2  # days; users who come on no more of them leave no habit that a later day could show
_SHORT = 0.5  # rows of the last day, as a share of the median day
_USERS = 100
_BOTH = 0.3  # least share of rows of users with both labels, for a metric within users
_WHY = {
    "temporal": "items start without a bonus for past clicks: it gained 0.005 and 0.002 AUC on two logs split by days",
    "leave_last_out": "negatives are sampled: softmax and averaged weights gained 0.008 and 0.013 AUC on two such logs",
    "by_user": "users are new: values tuned on one such log gained 0.005 AUC there, and 0.006 on another",
}
"""Why each recipe is better than the defaults."""
CHALLENGING = 8_000
"""The rows of a usual day that can show that a challenger from scratch is as good as the champion.

Two trainings from scratch differ by chance alone. On 2,360 rows of 1,022 users the standard error of their difference
in AUC was 0.0054, which can't exclude `gate.max_margin`; on 9,442 rows of 3,628 users it was 0.0021, which does.
"""


@dataclass(frozen=True)
class _Days:
    """A log by days, and the last of them held out.

    Attributes:
        counts: the rows of each day.
        test, valid: the number of last days to test on, and of those before them to tune on.
        is_test, is_valid: whether a row is of these days.
        known: the share of the rows to test on whose users have earlier rows to train on.
    """

    counts: np.ndarray
    test: int
    valid: int
    is_test: np.ndarray
    is_valid: np.ndarray
    known: float

    @classmethod
    def of(cls, events: Events) -> "_Days":
        """Hold out the last days of a log."""
        counts = np.bincount(events.days)
        test = _last(counts, _TEST, len(counts) // 3)
        valid = _last(counts[:-test], _VALID, len(counts) // 4) if test < len(counts) else 0
        is_test = events.days >= len(counts) - test
        is_later = events.days >= len(counts) - test - valid
        known = np.isin(events.users[is_test], events.users[~is_later]).mean()
        return cls(counts, test, valid, is_test, is_later & ~is_test, known)

    @property
    def span(self) -> str:
        """The number of days, in words."""
        return "1 day" if len(self.counts) == 1 else f"{len(self.counts)} days"


def guess(events: Events, named: Choice | None = None, *, rated: bool = False) -> dict[str, Choice]:
    """Return the parameters of the split, and those that depend on it.

    Args:
        named: the protocol that a person or the source names. None: guess it.
        rated: whether a row's time is when the user rated the item.

    Raises:
        InputError: the log has too few users or days for the split, or for any.
    """
    days = _Days.of(events)
    protocol = named or _protocol(events, days)
    if events.labels.all() and protocol.value != "leave_last_out":
        raise InputError(f"{protocol.value}: every row is a click; only leave_last_out draws rows without one")
    if protocol.value == "temporal" and len(days.counts) < _DAYS:
        raise InputError(f"temporal: the log has {days.span}; a test needs {_DAYS}: split it by_user")
    parameters = {"featurize.protocol": protocol, **_recipe(protocol.value)}
    if protocol.value == "temporal":
        parameters |= _by_days(days)
    else:
        parameters |= _ages(events, rated and protocol.value == "by_user")  # a drawn negative shares its click's time
    if protocol.value == "leave_last_out":
        return parameters
    judged = days.is_test if protocol.value == "temporal" else np.full(len(events.users), True)
    rows = np.bincount(events.users[judged])
    clicks = np.bincount(events.users[judged], events.labels[judged])
    both = rows[(clicks > 0) & (clicks < rows)].sum() / rows.sum()
    if both < _BOTH:
        why = f"only {both:.0%} of the judged rows are of users with both labels, so GAUC would be noise"
        parameters["gate.metrics"] = Choice(["auc"], why)
    return parameters


def _protocol(events: Events, days: _Days) -> Choice:
    """Return the protocol that suits a log.

    Raises:
        InputError: there are too few users and days for any.
    """
    counts = days.counts
    people = len(np.unique(events.users))
    if events.labels.all():
        why = "every row is a click: each user's last one is held out, with a sampled negative for each click"
        why += f"\n{people:,} users, so the test has at most one click per user"
        return Choice("leave_last_out", why)
    suits = days.is_test.mean() >= _LEAST_TEST and _returning(events) >= _KNOWN
    if len(counts) >= _DAYS and days.known >= _KNOWN and (suits or people < _USERS):
        why = f"{days.span} of rows, and {days.known:.0%} of the last days' rows are of users seen before: "
        why += "test on the last days"
        if counts[-1] < _SHORT * np.median(counts):
            usual = f"{np.median(counts):,.0f} are usual"
            why += f"\nthe last day has {counts[-1]:,} rows where {usual}: leave it out by data.until if it isn't over"
        if counts[0] < _SHORT * np.median(counts):
            why += f"\nthe first day has {counts[0]:,} rows where {np.median(counts):,.0f} are usual"
        return Choice("temporal", why)
    if people >= _USERS:
        if len(counts) < _DAYS:
            why = f"only {days.span}"
        elif days.known < _KNOWN:
            why = f"{1 - days.known:.0%} of the last days' rows are of new users"
        elif days.is_test.mean() < _LEAST_TEST:
            why = f"the last {days.test} days have {days.is_test.mean():.0%} of the rows"
        else:
            why = f"{1 - _returning(events):.0%} of the rows are of users who come on {_VISITS} days or fewer"
        why += ": test on users that training has not seen"
        why += f"\n{Featurize.test_fraction:.0%} of {people:,} users; the log has {len(events.labels):,} rows"
        return Choice("by_user", why)
    raise InputError(
        f"the log has {days.span} and {people} users; a test needs {_DAYS} days, or {_USERS} users: bring a longer log"
    )


def _returning(events: Events) -> float:
    """Return the share of the rows whose users come on more than `_VISITS` days."""
    users, _ = np.unique(np.stack([events.users, events.days]), axis=1)
    visits = np.bincount(users)
    return (visits[events.users] > _VISITS).mean()


def _by_days(days: _Days) -> dict[str, Choice]:
    """Return which days are held out, and where the run of a day starts."""
    return {
        "featurize.test_days": Choice(days.test, _sized(days.is_test)),
        "featurize.valid_days": Choice(days.valid, _sized(days.is_valid)),
        "train.start": Choice("champion", "a champion learns a new day in seconds; before a run, `din pin` names it"),
        "train.champion": Choice("none", "the first run has none to continue"),
        "train.scratch_day": _scratch_day(np.median(days.counts)),
    }


def _scratch_day(rows: float) -> Choice:
    """Return the weekday of a challenger from scratch, or None if a day of that many rows can't judge one."""
    if rows >= CHALLENGING:
        return Choice("sunday", "a challenger from scratch, in case the champion has drifted")
    why = f"a usual day has {rows:,.0f} rows; to judge a challenger from scratch, the gate needs about {CHALLENGING:,}"
    return Choice(None, why)


def _recipe(protocol: str) -> dict[str, Choice]:
    """Return the choices for any log, and those of a recipe. Its first one has the reason, and the others name it."""
    changes = RECIPES[protocol]
    first = next(iter(changes))
    reasons = {first: _WHY[protocol], "model.blend": "gained AUC and GAUC on four public logs; see docs/tuning.md"}
    return {
        f"train.{key}": Choice(value, reasons.get(key, f"tuned with {first}"))
        for key, value in (changes | ALWAYS).items()
    }


def _ages(events: Events, rated: bool) -> dict[str, Choice]:
    """Let the model read how old behaviours are, if the log has several days and requests can know it."""
    if events.days.max() == 0:
        return {}
    if rated:
        why = (
            "a row's time is the rating's, so the newest age would tell how long the user thought; no request knows it"
        )
        return {"train.model.ages": Choice(False, why)}
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
