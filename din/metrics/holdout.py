"""Decide whether a model may have learned a held-out row: one rule for evaluation, comparisons and starts.

    temporal          a row is unseen if it is later than the last row that the model has learned
    by_user           every held-out row is unseen: equal seeds and fractions hold out the same users at any time
    leave_last_out    every held-out row is unseen if the model's log was not later: a user's last row today was also
                      the user's last row then, if it was there at all

If the two logs were split differently, or the model saw more than today's log, every row counts as learned. This is
strict: even a fraction that a protocol does not use must be equal.
"""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from din.errors import InputError
from din.facts import Facts
from din.features.days import microseconds
from din.features.reader import Features


@dataclass(frozen=True, kw_only=True)
class Training:
    """The split of a model's log, and its last times.

    Attributes:
        protocol: the name of the split.
        seed: with the two fractions, decides which users are held out.
        valid_fraction: the share of users that validate.
        test_fraction: the share of users that test.
        until: the day of the last impression of any split.
        seen_until: the time of the last row that was learned.
    """

    protocol: str
    seed: int
    valid_fraction: float
    test_fraction: float
    until: date
    seen_until: datetime

    @classmethod
    def of_bundle(cls, facts: Facts) -> "Training":
        """Return the training of a bundle."""
        split = facts.protocol
        return cls(
            protocol=split.name,
            seed=split.seed,
            valid_fraction=split.valid_fraction,
            test_fraction=split.test_fraction,
            until=date.fromisoformat(facts.until),
            seen_until=datetime.fromisoformat(facts.seen_until),
        )

    @classmethod
    def of_features(cls, features: Features, seen_until: datetime | None = None) -> "Training":
        """Return the training that these features are for.

        Args:
            features: the features.
            seen_until: the time of the last row that was learned. None: the last row of the training split.
        """
        params = features.manifest.params
        return cls(
            protocol=features.manifest.protocol,
            seed=params["seed"],
            valid_fraction=params["valid_fraction"],
            test_fraction=params["test_fraction"],
            until=features.last_day(),
            seen_until=seen_until or features.train_until,
        )

    @property
    def first_held_out(self) -> NDArray[np.int64]:
        """The earliest time that a held-out row can have under `temporal`, in µs. Shape [1]."""
        return np.array([microseconds(self.seen_until) + 1])


def unseen(earlier: Training, today: Training, timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark today's held-out rows that a model can't have learned.

    Args:
        earlier: the training of the model.
        today: the training that holds the rows out.
        timestamps: the times of the rows in µs, [B].

    Returns:
        A mask [B].

    Raises:
        InputError: the two were split differently, so it can't be decided. The message names the differences.
    """
    differing = _differences(earlier, today)
    if differing:
        raise InputError("; ".join(differing))
    if today.protocol != "temporal":
        return np.ones(len(timestamps), dtype=bool)
    return timestamps > microseconds(earlier.seen_until)


def _differences(earlier: Training, today: Training) -> list[str]:
    if earlier.protocol != today.protocol:
        return [f"name {earlier.protocol!r} there, {today.protocol!r} here"]
    if today.protocol == "temporal":
        return []
    found = []
    for key in ("seed", "valid_fraction", "test_fraction"):
        there = getattr(earlier, key)
        here = getattr(today, key)
        if there != here:
            found.append(f"{key} {there!r} there, {here!r} here")
    if today.protocol == "leave_last_out":
        if earlier.until > today.until:
            found.append(f"data until {earlier.until} there, {today.until} here")
        if earlier.seen_until > today.seen_until:
            found.append(f"trained until {earlier.seen_until} there, {today.seen_until} here")
    return found
