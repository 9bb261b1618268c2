"""Detect impressions that were delivered twice: whole files, or old impressions among new ones.

A row repeats an earlier one if it has the same user and item, or the same user, item and contexts:

    at the same time        a file, or part of it, was read twice
    later the same day      an hour was repeated when clocks changed; a page was logged when preloaded and when seen
    on a later day          yesterday's file was delivered as today's; old pages came from a cache

Some logs naturally repeat themselves, e.g. if they have few items, times without hours, or the same mail every morning.
Each day is therefore compared with the days before it.
"""

from collections.abc import Iterator

import numpy as np

from din.schema import ITEM_ID, TIMESTAMP, USER_ID, Group
from validation import detector_limits
from validation.expectations import Expected, none_of
from validation.log import Log, repeats
from validation.strange import DailyFigure, by_day
from validation.suite_data import quoted


def copies(log: Log) -> Iterator[Expected]:
    """Expect that no day copies an earlier day, was delivered twice, or repeats far more rows than the days before.

    * `copied_days`: a day repeats an earlier one: a file under another date, or delivered twice with times that differ.
    * `repeated_impressions_newest_days`: far more rows than usual repeat a user, an item and all contexts: impressions
      from a cache, pages logged twice (`strange_days`).
    * `duplicate_rate_newest_days`: a day alone has too many duplicates, and at least twice the usual share, which
      finds one day delivered twice, however long the log (`max_duplicate_rate`).
    """
    days = log.calendar.days
    if not len(days):
        return
    contexts = [quoted(field.name) for field in log.fields.values() if field.group is Group.CONTEXT]
    pairs = log.pairs
    alike = repeats(log, [USER_ID, ITEM_ID, *contexts]) if contexts else pairs
    yield from _duplicates(log, pairs)
    enough = pairs["rows"] >= detector_limits.LEAST_ROWS
    copied = np.zeros(len(days), bool)
    for share, most in ((pairs["earlier"], detector_limits.COPIED), (alike["again"], detector_limits.AGAIN)):
        usual = np.median(share[enough]) if enough.sum() >= detector_limits.LEAST_COPIED_DAYS else 1.0
        copied |= enough & (share >= most) & (usual <= detector_limits.USUALLY_COPIED)
    yield none_of(
        log,
        "copied_days",
        "days",
        log.days.index,
        [
            {
                "date": str(days[row]),
                "shown_before": round(float(pairs["earlier"][row]), 3),
                "most_of_it_on": str(days[row] - np.timedelta64(int(pairs["gap"][row]), "D")),
                "shown_twice_on_the_day": round(float(alike["again"][row]), 3),
            }
            for row in np.flatnonzero(copied)[::-1]
        ],
        about=TIMESTAMP,
        advice="users saw the same items as on an earlier day, or again on the day: was a day's file delivered under "
        "another date, or twice with times that differ? Fetch the right one",
    )
    yield from by_day(
        log,
        "repeated_impressions",
        [
            *_repeated(log, pairs, ~copied, detector_limits.REPEATED_PAIRS, "user and item"),
            *_repeated(log, alike, ~copied, detector_limits.REPEATED_CONTEXTS, "user, item and contexts"),
        ],
        advice="more rows of these days repeat earlier impressions than `most`, the highest share of the days before: "
        "were old impressions logged again, e.g. from a cache, after a change of clocks, or each page when loaded "
        "ahead and when seen? Log an impression once",
    )


def _repeated(
    log: Log, counts: dict[str, np.ndarray], judged: np.ndarray, limit: float, same: str
) -> Iterator[DailyFigure]:
    """Judge the rows that repeat a row of the same day, and the rows that repeat a row of an earlier day.

    Chance repeats within a day grow in proportion to the user's rows on the day, so they are judged relative to these.
    """
    intensity = log.by_user.rows_squared / log.by_user.rows  # the rows that a row's user has on the day, on average
    independent = counts["shown"] / intensity
    for shown, share, chance in (
        ("on the day", counts["again"], intensity),
        ("on earlier days", counts["earlier"], np.ones(len(independent))),
    ):
        most = log.calendar.highest(log.calendar.of_reference(share / chance), 1.0) * chance
        score = (share - most) / np.sqrt((most + 1 / independent) / independent)
        with np.errstate(invalid="ignore"):
            certain = (share >= detector_limits.TIMES_USUAL * most) & (score >= detector_limits.SCORE)
            yield DailyFigure(
                judged=judged & ~np.isnan(most),
                strange=certain & (share - most >= limit / 2),
                extreme=certain & (share - most >= limit) & (score >= detector_limits.EXTREME_SCORE),
                values={"share": share, "most": most},
                column=f"{same}, shown {shown}",
            )


def _duplicates(log: Log, pairs: dict[str, np.ndarray]) -> Iterator[Expected]:
    """Judge exact duplicates day by day, because one day delivered twice is a small share of a long log."""
    again = pairs["duplicates"]
    share = again / pairs["rows"]
    usual = log.calendar.usual(share)
    too_many = (share > log.params.validate_raw.max_duplicate_rate) & (share >= detector_limits.TIMES_USUAL * usual)
    too_many &= again >= detector_limits.LEAST_ROWS
    values = {"rows": pairs["rows"], "duplicates": again, "usual_share": usual}
    yield from by_day(
        log,
        "duplicate_rate",
        [DailyFigure(judged=log.calendar.judged, strange=too_many, extreme=too_many, values=values)],
        about=f"{USER_ID}, {ITEM_ID}, {TIMESTAMP}",
        advice="the same user, item and time again on these days: was a day's file, or a part of it, delivered twice? "
        "Keep one of them. Else raise validate_raw.max_duplicate_rate",
    )
