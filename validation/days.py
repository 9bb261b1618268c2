"""Compare each day with the days before it: rows, CTR, users, items and hours.

A day is compared with its trailing days (validation/trailing.py), so that weeks and growth raise no alarm. The noise of
a figure depends on the size of the day. It is the noise between users, because rows of one user are alike. Days whose
reference has few users are not judged. Only the newest days of a temporal split, which validate and test, can close the
gate.

This takes one GROUP BY of the events by day and user, and one by day and item.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from din.schema import ITEM_ID, LABEL, TIMESTAMP
from validation.checks import Check
from validation.composition import by_composition
from validation.log import Log
from validation.strange import Judged, by_day
from validation.totals import HOURS, Totals, ctr_deviation, ctr_evidence, totals
from validation.trailing import deviation, distance, profiles, shares

_FEW_USERS = 30  # if a usual day has fewer, single users decide its figures
_VOLUME_FLOOR = 0.1
_SCORE = 6.0
_EXTREME_SCORE = 8.0
_VOLUME = np.log(2)  # half or double
_EXTREME_VOLUME = np.log(5)
_ODDS = np.log(1.5)
_EXTREME_ODDS = np.log(2)
_HOURS_MOVED = 0.15  # the share of rows in other hours than usual
_EXTREME_HOURS = 0.3
_SHIFT_MOVED = 0.1  # enough if a shift by hours explains most of it
_LEAST_SHIFT = 3  # weekends move hours by one or two
_PART = 0.9  # a day that ends early holds less than this share of a usual day's rows
_FULLER = 1.5  # a day with this many times the usual rows of its hours has not ended early


def by_figures(log: Log, users: Totals, hours: np.ndarray) -> Iterator[Check]:
    """Compare rows, CTR, users, items and hours of each day with the days before; `hours` has the rows, [D, 24]."""
    items = totals(log, ITEM_ID)
    trusted = log.calendar.usual(users.ids) >= _FEW_USERS
    chance = 1 / np.sqrt(users.independent)
    yield from _volume(log, "rows", users.rows, chance, trusted)
    yield from _volume(log, "users", users.ids, 1 / np.sqrt(users.ids), trusted)
    yield from _volume(log, "items", items.ids, chance, trusted)
    yield from _hours(log, users, hours, trusted)
    ctr = _ctr(log, users, trusted) if log.labels_vary() else None
    yield from by_day(
        log,
        "ctr",
        [ctr] if ctr else [],
        column=LABEL,
        advice="these days have another CTR than the days before: are clicks still to arrive, is the label's rule "
        "wrong (fetch.table.label), are labels flipped or filled in, or are rows without a click lost?",
    )
    yield from by_composition(log, users, trusted, ctr)


def _volume(log: Log, name: str, count: np.ndarray, chance: np.ndarray, trusted: np.ndarray) -> Iterator[Check]:
    usual_chance = log.calendar.usual(chance)  # a day's own noise would excuse a day that is too small
    found = deviation(log.calendar, np.log(count), usual_chance, _VOLUME_FLOOR)
    yield from by_day(
        log,
        name,
        [
            Judged(
                judged=trusted,
                strange=found.beyond(_VOLUME, _SCORE),
                extreme=found.beyond(_EXTREME_VOLUME, _EXTREME_SCORE),
                evidence=lambda row: {
                    name: int(count[row]),
                    "usual": round(float(np.exp(found.usual[row]))),
                    "times": round(float(np.exp(found.difference[row])), 3),
                },
            )
        ],
        advice=f"these days have far more or fewer {name} than the days before: is each day complete, was every file "
        "delivered once, and are all clocks right? A few users on the last days alone may have clocks that are days "
        "ahead. Correct the rows, or end the log before a day that is not complete (data.until)",
    )


def _ctr(log: Log, users: Totals, trusted: np.ndarray) -> Judged:
    found = ctr_deviation(log.calendar, users)
    growth = users.ids / log.calendar.usual(users.ids)
    return Judged(
        judged=trusted,
        strange=found.beyond(_ODDS, _SCORE),
        extreme=found.beyond(_EXTREME_ODDS, _EXTREME_SCORE),
        evidence=lambda row: ctr_evidence(log.calendar, users, row, growth[row]),
    )


def _hours(log: Log, users: Totals, counts: np.ndarray, trusted: np.ndarray) -> Iterator[Check]:
    usual, away, least = profiles(log.calendar, counts, users.independent)
    usual_rows = log.calendar.usual(users.rows)
    far = trusted & (away >= least)  # False for NaN
    extreme = np.zeros(len(counts), bool)
    shifts: dict[int, int] = {}
    for row in np.flatnonzero(far & (away >= _SHIFT_MOVED)).tolist():
        found = shifted(counts[row], usual[row], usual_rows[row])
        if found.explains:
            shifts[row] = found.hours
        extreme[row] = found.explains or found.moved >= _EXTREME_HOURS

    def evidence(row: int) -> dict[str, Any]:
        held = np.flatnonzero(counts[row])
        shift = {"looks_shifted_by_hours": shifts[row]} if row in shifts else {}
        return {"rows_in_other_hours": round(float(away[row]), 2), "hours": f"{held[0]} to {held[-1]}"} | shift

    yield from by_day(
        log,
        "hours",
        [Judged(judged=trusted, strange=far & (away >= _HOURS_MOVED), extreme=extreme, evidence=evidence)],
        column=TIMESTAMP,
        advice="these days' rows lie in other hours than the rows of the days before: is the time zone the same "
        "(fetch.table.utc_offset_hours), and is each day complete? End the log before one that is not (data.until)",
    )


@dataclass(frozen=True)
class Shift:
    """How a day's hours differ: the share of rows `moved`, the shift in `hours`, and the share `left` after it."""

    moved: float
    hours: int
    left: float

    @property
    def explains(self) -> bool:
        """True if the clock was shifted; weekends move hours as well, but only by one or two."""
        return abs(self.hours) >= _LEAST_SHIFT and self.moved >= _SHIFT_MOVED and self.left <= self.moved / 2


def shifted(counts: np.ndarray, usual: np.ndarray, usual_rows: float) -> Shift:
    """Find the shift in hours that best explains how a day differs.

    A day that begins late or ends early, and therefore has fewer rows, is compared within its own hours.

    Args:
        counts: [24] rows by hour.
        usual: [24] the usual share of each hour.
        usual_rows: rows of a usual day.
    """
    hours = np.flatnonzero(counts)
    held = np.zeros(HOURS, bool)
    held[hours[0] : hours[-1] + 1] = True
    covered = usual[held].sum()
    if covered >= _PART or counts.sum() > _FULLER * covered * usual_rows:
        held[:] = True
    own = shares(counts[held])

    def moved(shift: int) -> float:
        return float(distance(own, shares(np.roll(usual, shift)[held])))

    best = min(range(1 - HOURS // 2, HOURS // 2 + 1), key=lambda shift: (moved(shift), abs(shift)))
    return Shift(moved(0), best, moved(best))
