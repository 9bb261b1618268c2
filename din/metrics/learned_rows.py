"""Decide whether a model may have learned a held-out row. Evaluation and the gates share this rule.

    temporal          a row is unseen if it is later than the last row that the model has learned. If that model's log
                      was split otherwise, the row must come after that log: rows held out there chose the model's epoch
                      and the weights of its blend
    by_user           every held-out row is unseen: equal seeds and fractions hold out the same users at any time
    leave_last_out    every held-out row is unseen if the model's log was not later: a user's last row today was also
                      the user's last row then, if it was in that log at all

If rows are not held out by time, and the two logs were split differently or the model saw more than today's log,
`unseen` raises InputError. This is strict: under leave_last_out even test_fraction, which it does not use, must be
equal.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray

from din.base.errors import InputError
from din.contracts.facts import Facts
from din.features.day_rows import microseconds
from din.features.reader import Features

_SPLIT = ("seed", "valid_fraction", "test_fraction")


@dataclass(frozen=True, kw_only=True)
class TrainingExtent:
    """How a model's log was split, and how far the model has learned it.

    Attributes:
        protocol: the name of the split.
        split: the seed and the two fractions, which decide which users are held out.
        until: the day of the last impression of any split.
        seen_until: the time of the last row that was learned.
    """

    protocol: str
    split: dict[str, float]
    until: date
    seen_until: datetime

    @classmethod
    def of_bundle(cls, facts: Facts) -> "TrainingExtent":
        """Return the training that produced a bundle."""
        return cls(
            protocol=facts.protocol.name,
            split={key: getattr(facts.protocol, key) for key in _SPLIT},
            until=date.fromisoformat(facts.until),
            seen_until=datetime.fromisoformat(facts.seen_until),
        )

    @classmethod
    def of_features(cls, features: Features, seen_until: datetime | None = None) -> "TrainingExtent":
        """Return a training on these features up to a time, by default the last row of the training split."""
        return cls(
            protocol=features.manifest.protocol,
            split={key: features.manifest.params[key] for key in _SPLIT},
            until=features.last_day(),
            seen_until=seen_until or features.train_until,
        )


def unseen(earlier: TrainingExtent, today: TrainingExtent, timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark today's held-out rows that a model can't have learned.

    Args:
        earlier: the training of the model.
        today: the training that holds the rows out.
        timestamps: the times of the rows in µs, [B].

    Returns:
        A mask [B].

    Raises:
        InputError: the question can't be decided, because the two were split differently or, under leave_last_out, the
            model's log is later. The message names the differences.
    """
    differing = differences(earlier, today)
    if differing:
        raise InputError("; ".join(differing))
    if today.protocol != "temporal":
        return np.ones(len(timestamps), dtype=bool)
    if earlier.protocol != "temporal":
        after = datetime.combine(earlier.until + timedelta(days=1), time(), UTC)
        return timestamps >= microseconds(after)
    return timestamps > microseconds(earlier.seen_until)


def differences(earlier: TrainingExtent, today: TrainingExtent) -> list[str]:
    """Return why it can't be decided which of today's held-out rows a model has learned: nothing if it can."""
    if today.protocol == "temporal":
        return []
    if earlier.protocol != today.protocol:
        return [f"name {earlier.protocol!r} there, {today.protocol!r} here"]
    pairs = ((key, earlier.split[key], today.split[key]) for key in _SPLIT)
    reasons = [f"{key} {there!r} there, {here!r} here" for key, there, here in pairs if there != here]
    if today.protocol == "leave_last_out":
        if earlier.until > today.until:
            reasons.append(f"data until {earlier.until} there, {today.until} here")
        if earlier.seen_until > today.seen_until:
            reasons.append(f"trained until {earlier.seen_until} there, {today.seen_until} here")
    return reasons
