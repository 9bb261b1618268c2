"""Detect impressions that were delivered twice: whole files, or old impressions among new ones.

A row repeats an earlier one if it has the same user and item, or the same user, item and contexts:

    at the same time        a file, or a part of it, was read twice
    later on the day        an hour again after a change of clocks; a page logged when loaded ahead and when seen
    on a later day          yesterday's file as today's; old pages from a cache

Some logs repeat themselves by nature: logs of few items, of times without hours, or of mails sent every morning. Each
day is therefore compared with the days before it.

Each of the two keys takes one GROUP BY of the events and a window over it, and the gaps within a day take another.
"""

from collections.abc import Callable, Iterator

import numpy as np

from din.schema import ITEM_ID, TIMESTAMP, USER_ID, Group
from validation.checks import SAMPLE, Check, statistic
from validation.log import Log, quoted
from validation.strange import Judged, by_day
from validation.trailing import WINDOW

_LEAST_ROWS = 30  # a day with fewer rows gives no evidence
_LEAST_DAYS = 4  # with fewer days, nothing tells what is usual
_COPIED = 0.9  # the share of a copied day
_AGAIN = 0.4  # the share of a day that was delivered twice: the copies, without their originals
_NEAR_SECONDS = 5
_USUAL = 0.3  # days that repeat themselves by more do so by nature
_TIMES_USUAL = 2
_TIMES_BY_CHANCE = 5  # a part that arrives again exceeds the usual share of rows with its gap by more
_REPEATED = 0.05  # the share of rows, beyond any day before, that repeat a user, an item and all contexts
_REPEATED_PAIRS = 0.1
_SCORE = 6.0
_EXTREME_SCORE = 8.0


def copies(log: Log, maximum: float) -> Iterator[Check]:
    """Expect no day that is a copy of another, that was delivered twice, or that repeats far more than earlier days.

    `maximum` is the largest share of exact duplicates of a day, unless half of it is usual.
    """
    if not len(log.calendar.days):
        return
    contexts = [quoted(field.name) for field in log.fields.values() if field.group is Group.CONTEXT]
    pairs = _repeats(log, [USER_ID, ITEM_ID])
    rows = pairs["rows"]
    enough = rows >= _LEAST_ROWS
    earlier = pairs["earlier"] / pairs["shown"]

    def copied(row: int) -> dict[str, object]:
        source = log.calendar.days[row] - np.timedelta64(int(pairs["gap"][row]), "D")
        return {"as_on": str(source), "same_users_and_items": round(float(earlier[row]), 3)}

    usual = np.median(earlier[enough]) if enough.sum() >= _LEAST_DAYS else 1.0
    whole = enough & (earlier >= _COPIED) & (usual <= _USUAL)
    yield _none(
        log,
        "copied_days",
        whole,
        copied,
        "users saw the same items as on an earlier day: was a day's file delivered again under another date? Fetch the "
        "right one",
    )
    yield from _delivered_twice(log, maximum)
    yield from _duplicates(log, pairs["duplicates"], rows, maximum)
    figures = [
        *_repeated(log, pairs, ~whole, _REPEATED_PAIRS, "user and item"),
        *_repeated(log, _repeats(log, [USER_ID, ITEM_ID, *contexts]), ~whole, _REPEATED, "user, item and contexts"),
    ]
    yield from by_day(
        log,
        "repeated_impressions",
        figures,
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
            coalesce(sum(times) FILTER (gap <= {WINDOW}), 0) AS earlier,
            coalesce(mode(gap) FILTER (gap <= {WINDOW}), 0) AS gap, sum(n * of_user) / sum(n) AS intensity
        FROM dated GROUP BY day ORDER BY day
        """
    )
    return {name: values.astype(float) for name, values in found.items() if name != "day"}


def _repeated(log: Log, found: dict[str, np.ndarray], judged: np.ndarray, limit: float, same: str) -> Iterator[Judged]:
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
            certain = (share >= _TIMES_USUAL * most) & (score >= _SCORE)
            yield Judged(
                judged=judged & ~np.isnan(most),
                strange=certain & (share - most >= limit / 2),
                extreme=certain & (share - most >= limit) & (score >= _EXTREME_SCORE),
                evidence=_evidence(share, most, {"same": same, "shown": shown}),
            )


def _evidence(share: np.ndarray, most: np.ndarray, of: dict[str, object]) -> Callable[[int], dict[str, object]]:
    return lambda row: of | {"share": round(float(share[row]), 4), "most": round(float(most[row]), 4)}


def _delivered_twice(log: Log, maximum: float) -> Iterator[Check]:
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
    enough = rows >= _LEAST_ROWS

    def evidence(row: int) -> dict[str, object]:
        return {"rows": int(rows[row]), "share_again": round(float(share[row]), 3), "seconds_later": int(gap[row])}

    advice = (
        "users see the same items again after the same number of seconds: was the day's file, or a part of it, "
        "delivered twice with times that differ, e.g. an hour again after a change of clocks? Keep one of them"
    )
    usual = np.median(share[enough]) if enough.any() else 0.0
    whole = enough & (share >= _AGAIN) & ((gap <= _NEAR_SECONDS) | (usual <= _USUAL / 2))
    yield _none(log, "delivered_twice", whole, evidence, advice)
    part = (again >= _LEAST_ROWS) & (share > maximum) & (share > _TIMES_BY_CHANCE * log.calendar.usual(share)) & ~whole
    judged = Judged(judged=log.calendar.judged, strange=part, extreme=part, evidence=evidence)
    yield from by_day(log, "delivered_again", [judged], column=TIMESTAMP, advice=advice)


def _duplicates(log: Log, again: np.ndarray, rows: np.ndarray, maximum: float) -> Iterator[Check]:
    """Judge exact duplicates by day, because one day that arrives twice is a small share of a long log."""
    share = again / rows
    usual = log.calendar.usual(share)
    too_many = (again >= _LEAST_ROWS) & (share > maximum) & (share >= _TIMES_USUAL * usual)
    judged = Judged(
        judged=log.calendar.judged,
        strange=too_many,
        extreme=too_many,
        evidence=lambda row: {
            "rows": int(rows[row]),
            "duplicates": int(again[row]),
            "usual_share": round(float(usual[row]), 4),
        },
    )
    yield from by_day(
        log,
        "duplicate_rate",
        [judged],
        column=f"{USER_ID}, {ITEM_ID}, {TIMESTAMP}",
        severity="critical",
        advice="the same user, item and time again on these days: was a day's file, or a part of it, delivered twice? "
        "Keep one of them. Else raise validate_raw.max_duplicate_rate",
    )


def _none(log: Log, name: str, found: np.ndarray, evidence: Callable[[int], dict[str, object]], advice: str) -> Check:
    """Expect none of the days that `found` [D] marks."""
    rows = np.flatnonzero(found)[::-1]
    sample = [{"date": str(log.calendar.days[row])} | evidence(int(row)) for row in rows[:SAMPLE]]
    return statistic(name, len(rows), maximum=0, column=TIMESTAMP, advice=advice, sample=sample)
