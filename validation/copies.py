"""Detect impressions that were delivered twice: whole files, or old impressions among new ones.

A row repeats an earlier one if it has the same user and item, or the same user, item and contexts:

    at the same time        a file, or a part of it, was read twice
    later on the day        an hour again after a change of clocks; a page logged when loaded ahead and when seen
    on a later day          yesterday's file as today's; old pages from a cache

Some logs repeat themselves by nature: logs of few items, of times without hours, or of mails sent every morning. Each
day is therefore compared with the days before it.

Each of the two keys takes one GROUP BY of the events and a window over it, and the gaps within a day take another.
"""

from collections.abc import Iterator

import numpy as np

from din.schema import ITEM_ID, TIMESTAMP, USER_ID, Group
from validation import constants
from validation.data import quoted
from validation.expectations import Expected, none_of
from validation.log import Log
from validation.strange import Figure, by_day


def copies(log: Log) -> Iterator[Expected]:
    """Expect no day that is a copy of another, or that repeats far more than earlier days, itself or them."""
    if not len(log.calendar.days):
        return
    contexts = [quoted(field.name) for field in log.fields.values() if field.group is Group.CONTEXT]
    pairs = _repeats(log, [USER_ID, ITEM_ID])
    enough = pairs["rows"] >= constants.LEAST_ROWS
    earlier = pairs["earlier"] / pairs["shown"]
    usual = np.median(earlier[enough]) if enough.sum() >= constants.LEAST_COPIED_DAYS else 1.0
    copied = enough & (earlier >= constants.COPIED) & (usual <= constants.USUALLY_COPIED)
    yield none_of(
        "copied_days",
        [
            {
                "date": str(log.calendar.days[row]),
                "as_on": str(log.calendar.days[row] - np.timedelta64(int(pairs["gap"][row]), "D")),
                "same_users_and_items": round(float(earlier[row]), 3),
            }
            for row in np.flatnonzero(copied)[::-1]
        ],
        column=TIMESTAMP,
        advice="users saw the same items as on an earlier day: was a day's file delivered again under another date? "
        "Fetch the right one",
    )
    yield from _duplicates(log, pairs)
    with_contexts = _repeats(log, [USER_ID, ITEM_ID, *contexts])
    yield from by_day(
        log,
        "repeated_impressions",
        [
            *_repeated(log, pairs, ~copied, constants.REPEATED_PAIRS, "user and item"),
            *_repeated(log, with_contexts, ~copied, constants.REPEATED_CONTEXTS, "user, item and contexts"),
        ],
        advice="more rows of these days repeat earlier impressions than `most`, the highest share of the days before: "
        "were old impressions logged again, e.g. from a cache, or each page when loaded ahead and when seen? Log an "
        "impression once",
    )


def _repeats(log: Log, key: list[str]) -> dict[str, np.ndarray]:
    """Count the rows of each day that repeat others of the key, [D] each.

    Returns:
        `rows`; `duplicates` of the same time; `shown`, the rows without them; of these, `again` on the day and
        `earlier` on one of the WINDOW days before; `gap`, the commonest number of days since then; and `intensity`,
        the mean number of rows of a row's user on the day.
    """
    keys = ", ".join(key)
    found = log.arrays(
        f"""
        WITH shown AS (
            SELECT date::DATE AS day, {keys}, count(*) AS n, count(DISTINCT {TIMESTAMP}) AS times FROM events
            GROUP BY ALL
        ), dated AS (
            SELECT *, day - lag(day) OVER (PARTITION BY {keys} ORDER BY day) AS gap,
                sum(n) OVER (PARTITION BY day, {USER_ID}) AS of_user FROM shown
        )
        SELECT day, sum(n) AS rows, sum(n - times) AS duplicates, sum(times) AS shown, sum(times - 1) AS again,
            coalesce(sum(times) FILTER (gap <= {constants.WINDOW}), 0) AS earlier,
            coalesce(mode(gap) FILTER (gap <= {constants.WINDOW}), 0) AS gap, sum(n * of_user) / sum(n) AS intensity
        FROM dated GROUP BY day ORDER BY day
        """
    )
    return {name: values.astype(float) for name, values in found.items() if name != "day"}


def _repeated(log: Log, found: dict[str, np.ndarray], judged: np.ndarray, limit: float, same: str) -> Iterator[Figure]:
    """Judge the rows that repeat one of the day, and of an earlier day.

    By chance, the former grow in proportion to the rows of a user on the day.
    """
    independent = found["shown"] / found["intensity"]
    for shown, count, chance in (
        ("on the day", found["again"], found["intensity"]),
        ("on earlier days", found["earlier"], np.ones(len(independent))),
    ):
        share = count / found["shown"]
        most = log.calendar.highest(log.calendar.of_reference(share / chance), 1.0) * chance
        score = (share - most) / np.sqrt((most + 1 / independent) / independent)
        with np.errstate(invalid="ignore"):
            certain = (share >= constants.TIMES_USUAL * most) & (score >= constants.SCORE)
            yield Figure(
                judged=judged & ~np.isnan(most),
                strange=certain & (share - most >= limit / 2),
                extreme=certain & (share - most >= limit) & (score >= constants.EXTREME_SCORE),
                values={"share": share, "most": most},
                column=f"{same}, shown {shown}",
            )


def delivered_twice(log: Log) -> Iterator[Expected]:
    """Expect no day, and no part of a day, whose users see the same items again after one constant gap."""
    if not len(log.calendar.days):
        return
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
        FROM counted GROUP BY day ORDER BY day
        """
    )
    rows, again, gap = (found[name].astype(float) for name in ("rows", "again", "gap"))
    share = again / rows
    enough = rows >= constants.LEAST_ROWS
    usual = np.median(share[enough]) if enough.any() else 0.0
    near = (gap <= constants.NEAR_SECONDS) | (usual <= constants.USUALLY_COPIED / 2)
    whole = enough & (share >= constants.AGAIN) & near
    part = (again >= constants.LEAST_ROWS) & (share > log.params.validate_raw.max_duplicate_rate) & ~whole
    part &= share > constants.TIMES_BY_CHANCE * log.calendar.usual(share)
    values = {"rows": rows, "share_again": share, "seconds_later": gap}
    figure = Figure(judged=log.calendar.judged, strange=part, extreme=part, values=values)
    advice = (
        "users see the same items again after the same number of seconds: was the day's file, or a part of it, "
        "delivered twice with times that differ, e.g. an hour again after a change of clocks? Keep one of them"
    )
    twice = [figure.evidence(log, row) for row in np.flatnonzero(whole)[::-1].tolist()]
    yield none_of("delivered_twice", twice, column=TIMESTAMP, advice=advice)
    yield from by_day(log, "delivered_again", [figure], about=TIMESTAMP, advice=advice)


def _duplicates(log: Log, pairs: dict[str, np.ndarray]) -> Iterator[Expected]:
    """Judge exact duplicates by day, because one day that arrives twice is a small share of a long log."""
    again = pairs["duplicates"]
    share = again / pairs["rows"]
    usual = log.calendar.usual(share)
    too_many = (share > log.params.validate_raw.max_duplicate_rate) & (share >= constants.TIMES_USUAL * usual)
    too_many &= again >= constants.LEAST_ROWS
    values = {"rows": pairs["rows"], "duplicates": again, "usual_share": usual}
    yield from by_day(
        log,
        "duplicate_rate",
        [Figure(judged=log.calendar.judged, strange=too_many, extreme=too_many, values=values)],
        about=f"{USER_ID}, {ITEM_ID}, {TIMESTAMP}",
        severity="critical",
        advice="the same user, item and time again on these days: was a day's file, or a part of it, delivered twice? "
        "Keep one of them. Else raise validate_raw.max_duplicate_rate",
    )
