"""Compare each day with the days before it: rows, CTR, users, items, hours, and which users and items are clicked.

A day is compared with its trailing days (validation/trailing.py), so that weeks and growth raise no alarm. The noise of
a figure depends on the size of the day. It is the noise between users, because rows of one user are alike. Days whose
reference has few users are not judged. Only the newest days of a temporal split, which validate and test, can close the
gate.

This takes one GROUP BY of the events by day and user, one by day and item, and two joins for the agreement of labels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from din.schema import ITEM_ID, LABEL, TIMESTAMP, USER_ID
from validation.checks import Check
from validation.log import Log
from validation.strange import Judged, by_day
from validation.totals import HOURS, Totals, totals
from validation.trailing import deviation, distance, profiles, shares

_FEW_USERS = 30  # if a usual day has fewer, single users decide its figures
_VOLUME_FLOOR = 0.1
_CTR_FLOOR = 0.05
_AGREEMENT_FLOOR = 0.01
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
_TINY = 1e-12  # a smaller variance counts as zero
_SMOOTHING = 10  # each id's CTR is smoothed with this number of impressions of the mean CTR
_AGREEMENT_SCORE = 4.0
_AGREEMENT_LEFT = 0.5  # the share of the usual correlation
_EXTREME_AGREEMENT_LEFT = 0.25
_LEAST_AGREEMENT = 0.08  # a lower usual correlation can't show a change


def by_figures(log: Log, users: Totals, hours: np.ndarray) -> Iterator[Check]:
    """Compare rows, CTR, users, items and hours of each day with the days before; `hours` has the rows, [D, 24]."""
    items = totals(log, ITEM_ID)
    trusted = log.calendar.usual(users.ids) >= _FEW_USERS
    chance = 1 / np.sqrt(users.independent)
    yield from _volume(log, "rows", users.rows, chance, trusted)
    yield from _volume(log, "users", users.ids, 1 / np.sqrt(users.ids), trusted)
    yield from _volume(log, "items", items.ids, chance, trusted)
    if log.labels_vary():
        yield from _ctr(log, users, trusted)
    yield from _hours(log, users, hours, trusted)


def by_agreement(log: Log, users: Totals) -> Iterator[Check]:
    """Compare how well each day's labels agree with the CTR that its items, and its users, have on other days.

    Flipped labels reverse the sign of this correlation. Random labels, or ids with another meaning, remove it.
    """
    calendar = log.calendar
    if calendar.newest in (0, len(calendar.days)) or not log.labels_vary():
        return
    trusted = calendar.usual(users.ids) >= _FEW_USERS
    for key in (ITEM_ID, USER_ID):
        agreement, rows = _agreement(log, key)
        found = deviation(calendar, agreement, 1 / np.sqrt(rows), _AGREEMENT_FLOOR)
        with np.errstate(invalid="ignore"):
            judged = trusted & (found.usual >= _LEAST_AGREEMENT) & ~np.isnan(agreement)
            less = judged & (found.score <= -_AGREEMENT_SCORE)
            left = agreement / found.usual
        yield from by_day(
            log,
            f"labels_follow_{key}",
            [
                Judged(
                    judged=judged,
                    strange=less & (left <= _AGREEMENT_LEFT),
                    extreme=less & (left <= _EXTREME_AGREEMENT_LEFT),
                    evidence=_correlation(agreement, found.usual),
                )
            ],
            column=LABEL,
            advice=f"these days' labels do not follow the CTR that each {key} has on other days: are labels flipped, "
            f"filled in or joined to the wrong rows, or does {key} mean something else on these days?",
        )


def _correlation(agreement: np.ndarray, usual: np.ndarray) -> Callable[[int], dict[str, Any]]:
    return lambda row: {"correlation": round(float(agreement[row]), 3), "usual": round(float(usual[row]), 3)}


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
        advice=f"these days have far more or fewer {name} than the days before: is each day complete, and was every "
        "file delivered once? End the log before a day that is not complete (data.until)",
    )


def _ctr(log: Log, users: Totals, trusted: np.ndarray) -> Iterator[Check]:
    ctr = (users.clicks + 0.5) / (users.rows + 1)
    between = users.clicks_squared - 2 * ctr * users.rows_clicks + ctr**2 * users.rows_squared
    variance = np.maximum(between, users.rows * ctr * (1 - ctr)) / users.rows**2
    deviance = np.sqrt(variance * users.independent) / (ctr * (1 - ctr))  # of the logit of one independent row
    # The noise is that of a usual day of this size, since a day without clicks has no variance of its own.
    chance = log.calendar.usual(deviance) / np.sqrt(users.independent)
    found = deviation(log.calendar, np.log(ctr / (1 - ctr)), chance, _CTR_FLOOR)
    yield from by_day(
        log,
        "ctr",
        [
            Judged(
                judged=trusted,
                strange=found.beyond(_ODDS, _SCORE),
                extreme=found.beyond(_EXTREME_ODDS, _EXTREME_SCORE),
                evidence=lambda row: {
                    "rows": int(users.rows[row]),
                    "ctr": round(float(users.clicks[row] / users.rows[row]), 4),
                    "usual": round(float(1 / (1 + np.exp(-found.usual[row]))), 4),
                },
            )
        ],
        column=LABEL,
        advice="these days have another CTR than the days before: are clicks still to arrive, is the label's rule "
        "wrong (fetch.table.label), are labels flipped or filled in?",
    )


def _hours(log: Log, users: Totals, counts: np.ndarray, trusted: np.ndarray) -> Iterator[Check]:
    compared = profiles(log.calendar, counts, users.independent)
    usual_rows = log.calendar.usual(users.rows)
    extreme = np.zeros(len(counts), bool)
    shifts: dict[int, int] = {}
    for row in np.flatnonzero(trusted & compared.beyond(_SHIFT_MOVED)).tolist():
        found = shifted(counts[row], compared.usual[row], usual_rows[row])
        if found.explains:
            shifts[row] = found.hours
        extreme[row] = found.explains or found.moved >= _EXTREME_HOURS

    def evidence(row: int) -> dict[str, Any]:
        held = np.flatnonzero(counts[row])
        shift = {"looks_shifted_by_hours": shifts[row]} if row in shifts else {}
        moved = {"rows_in_other_hours": round(float(compared.distance[row]), 2)}
        return moved | {"hours": f"{held[0]} to {held[-1]}"} | shift

    yield from by_day(
        log,
        "hours",
        [Judged(judged=trusted, strange=compared.beyond(_HOURS_MOVED), extreme=extreme, evidence=evidence)],
        column=TIMESTAMP,
        advice="these days' rows lie in other hours than the rows of the days before: is the time zone the same "
        "(fetch.table.utc_offset_hours), and is each day complete? End the log before one that is not (data.until)",
    )


@dataclass(frozen=True)
class Shift:
    """The difference between a day's hours and the usual ones.

    Attributes:
        moved: the share of rows that lie in other hours than usual.
        hours: the shift that explains most of the difference.
        left: the share that still lies in other hours after the usual profile is shifted.
    """

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


def _agreement(log: Log, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Correlate each day's labels with the CTR of their ids on all other days before the newest.

    Only the day itself is left out. If later days were left out as well, early days would know less about their ids.

    Returns:
        The correlation [D], NaN if labels or CTRs are all equal, and the rows [D].
    """
    older = f"date < '{log.calendar.days[log.calendar.newest]}'"
    found = log.arrays(
        f"""
        WITH by_id AS (
            SELECT date, {key}, count(*) AS n, sum({LABEL})::BIGINT AS c FROM events GROUP BY ALL
        ), known AS (
            SELECT date, n, c, sum(n) FILTER ({older}) OVER ids - CASE WHEN {older} THEN n ELSE 0 END AS seen,
                sum(c) FILTER ({older}) OVER ids - CASE WHEN {older} THEN c ELSE 0 END AS clicked
            FROM by_id WINDOW ids AS (PARTITION BY {key})
        ), scored AS (
            SELECT date, n, c,
                (coalesce(clicked, 0) + {_SMOOTHING} * ctr) / (coalesce(seen, 0) + {_SMOOTHING}) - ctr AS score
            FROM known, (SELECT avg({LABEL}) AS ctr FROM events WHERE {older})
        )
        SELECT date, sum(n) AS rows, sum(c) AS clicks, sum(n * score) AS score, sum(c * score) AS clicked_score,
            sum(n * score * score) AS score_squared
        FROM scored GROUP BY date ORDER BY date
        """
    )
    rows = found["rows"].astype(float)
    ctr = found["clicks"] / rows
    score = found["score"] / rows
    variance = (found["score_squared"] / rows - score**2) * ctr * (1 - ctr)
    covariance = found["clicked_score"] / rows - ctr * score
    correlation = covariance / np.sqrt(np.maximum(variance, _TINY))
    return np.where(variance > _TINY, correlation, np.nan).round(6), rows
