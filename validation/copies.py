"""Detect files that were delivered twice: yesterday's as today's, or the same day's file a moment later.

A copy of another day shows the same users the same items at the same time of day. A copy within the day shows them
again after one constant gap. Both are compared with the log's other days, because some logs repeat themselves by
nature: logs of few items, of times without hours, or of mails sent every morning. Exact duplicates are counted by day,
because one day that arrives twice is a small share of a long log.

This takes one join of each day's pairs of user and item with the pairs of the week before, one window over the events,
and one GROUP BY.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from validation.checks import SAMPLE, Check, Severity, statistic
from validation.log import Log
from validation.strange import Judged, by_day

_BACK_DAYS = 7
_NEAR_SECONDS = 5
_LEAST_ROWS = 30  # a day with fewer rows gives no evidence
_LEAST_DAYS = 4  # with fewer days, nothing tells what is usual
_TIMES_USUAL = 2  # a day that arrives twice exceeds the usual share of duplicates by more


@dataclass(frozen=True)
class Limit:
    """The shares of a day that are too large if the usual day has at most the share `usual`."""

    same_time: float
    same_pairs: float
    again: float
    usual: float


_WHOLE = Limit(same_time=0.8, same_pairs=0.9, again=0.8, usual=0.3)
_PART = Limit(same_time=0.2, same_pairs=0.5, again=0.3, usual=0.1)


def copied_days(log: Log) -> Iterator[Check]:
    """Expect no day to be a copy of one of the week before it."""
    found = log.arrays(
        f"""
        WITH pairs AS (
            SELECT date::DATE AS day, {USER_ID}, {ITEM_ID}, min({TIMESTAMP}) AS first FROM events GROUP BY ALL
        ), sizes AS (
            SELECT day, count(*) AS pairs FROM pairs GROUP BY day HAVING pairs >= {_LEAST_ROWS}
        ), shared AS (
            SELECT later.day AS day, earlier.day AS source, count(*) AS same,
                count(*) FILTER (abs(epoch(later.first) - epoch(earlier.first) - 86400 * (later.day - earlier.day))
                    <= {_NEAR_SECONDS}) AS timed
            FROM pairs AS later JOIN pairs AS earlier USING ({USER_ID}, {ITEM_ID})
            WHERE later.day > earlier.day AND later.day - earlier.day <= {_BACK_DAYS}
            GROUP BY ALL
        ), shares AS (
            SELECT shared.day, source, same / least(own.pairs, other.pairs) AS same,
                timed / least(own.pairs, other.pairs) AS timed
            FROM shared JOIN sizes AS own USING (day) JOIN sizes AS other ON source = other.day
        )
        SELECT day, coalesce(max(same), 0) AS same, coalesce(max(timed), 0) AS timed,
            coalesce(arg_max(source, (timed, same, source)), day) AS source
        FROM sizes LEFT JOIN shares USING (day) GROUP BY day ORDER BY day
        """
    )
    same = found["same"].astype(float)
    timed = found["timed"].astype(float)
    if len(same) < _LEAST_DAYS:
        yield statistic("copied_days", 0, maximum=0, advice="too few days with enough rows to know a copy")
        return

    def beyond(limit: Limit) -> np.ndarray:
        by_time = (timed >= limit.same_time) & (np.median(timed) <= limit.usual)
        by_pairs = (same >= limit.same_pairs) & (np.median(same) <= limit.usual)
        return by_time | by_pairs

    def evidence(row: int) -> dict[str, object]:
        return {
            "date": _day(found["day"][row]),
            "as_on": _day(found["source"][row]),
            "same_users_and_items": round(float(same[row]), 3),
            "at_the_same_time": round(float(timed[row]), 3),
        }

    advice = (
        "users saw the same items as on an earlier day, most at the same time of day: was a day's file delivered "
        "again under another date? Fetch the right one"
    )
    whole = beyond(_WHOLE)
    yield _none("copied_days", whole, "critical", advice, evidence)
    yield _none("partly_copied_days", beyond(_PART) & ~whole, "warning", advice, evidence)


def delivered_twice(log: Log) -> Iterator[Check]:
    """Expect no day on which users see the same items again after one constant gap."""
    found = log.arrays(
        f"""
        WITH gaps AS (
            SELECT date::DATE AS day, ceil(epoch({TIMESTAMP} - lag({TIMESTAMP}) OVER again)) AS gap FROM events
            WINDOW again AS (PARTITION BY date, {USER_ID}, {ITEM_ID} ORDER BY {TIMESTAMP})
        ), counted AS (
            SELECT day, gap, count(*) AS n FROM gaps GROUP BY ALL
        )
        SELECT day, sum(n) AS rows, coalesce(max(n) FILTER (gap > 0), 0) AS again,
            coalesce(arg_max(gap, (n, -gap)) FILTER (gap > 0), 0) AS gap
        FROM counted GROUP BY day HAVING sum(n) >= {_LEAST_ROWS} ORDER BY day
        """
    )
    if not len(found["day"]):
        yield statistic("delivered_twice", 0, maximum=0, advice="too few rows a day to know a copy")
        return
    share = 2 * found["again"] / found["rows"]  # counts both the copies and their originals
    gap = found["gap"].astype(float)

    def beyond(limit: Limit) -> np.ndarray:
        at_once = gap <= _NEAR_SECONDS
        return (share >= limit.again) & (at_once | (np.median(share) <= limit.usual))

    def evidence(row: int) -> dict[str, object]:
        return {
            "date": _day(found["day"][row]),
            "rows": int(found["rows"][row]),
            "share_again": round(float(share[row]), 3),
            "seconds_later": int(gap[row]),
        }

    advice = (
        "users see the same items again after the same number of seconds: was the day's file delivered twice, with "
        "times that differ? Keep one of them"
    )
    whole = beyond(_WHOLE)
    yield _none("delivered_twice", whole, "critical", advice, evidence)
    yield _none("partly_delivered_twice", beyond(_PART) & ~whole, "warning", advice, evidence)


def duplicates_by_day(log: Log, maximum: float) -> Iterator[Check]:
    """Expect no day with a larger share of exact duplicates than `maximum`, unless half of it is usual."""
    by_event = f"SELECT date, count(*) AS n FROM events GROUP BY date, {USER_ID}, {ITEM_ID}, {TIMESTAMP}"
    found = log.arrays(
        f"SELECT date, sum(n)::BIGINT AS rows, sum(n - 1)::BIGINT AS again FROM ({by_event}) "
        "GROUP BY date ORDER BY date"
    )
    share = found["again"] / found["rows"]
    usual = log.calendar.usual(share)
    too_many = (found["again"] >= _LEAST_ROWS) & (share > maximum) & (share >= _TIMES_USUAL * usual)
    yield from by_day(
        log,
        "duplicate_rate",
        [
            Judged(
                judged=log.calendar.judged,
                strange=too_many,
                extreme=too_many,
                evidence=lambda row: {
                    "rows": int(found["rows"][row]),
                    "duplicates": int(found["again"][row]),
                    "usual_share": round(float(usual[row]), 4),
                },
            )
        ],
        column=f"{USER_ID}, {ITEM_ID}, {TIMESTAMP}",
        severity="critical",
        advice="the same user, item and time again on these days: was a day's file, or a part of it, delivered twice? "
        "Keep one of them. Else raise validate_raw.max_duplicate_rate",
    )


def _none(
    name: str, found: np.ndarray, severity: Severity, advice: str, evidence: Callable[[int], dict[str, object]]
) -> Check:
    rows = np.flatnonzero(found)[::-1]
    sample = [evidence(int(row)) for row in rows[:SAMPLE]]
    return statistic(name, len(rows), maximum=0, column=TIMESTAMP, severity=severity, advice=advice, sample=sample)


def _day(value: np.datetime64) -> str:
    return str(value.astype("datetime64[D]"))
