"""Compare the rows, users, items and CTR of each day with the days before it, and find rows dated far from the rest.

A day is compared with its trailing days (validation/trailing.py), so that weekly patterns and growth raise no alarm.
The noise of a figure depends on the size of the day. It is measured between users, because rows of one user depend on
each other. Days whose reference has few users are not judged. Only the newest days of a temporal split, which are the
validation and test days, can close the gate.

A single row dated 2035 would become the whole test split. The main part of the log therefore starts at the median row's
day and grows across every gap that is no longer than the part itself, or than `GAP_DAYS`:

    rows     ·        ▂▃▅▄▆▅▆▇▆                 ·
    days     |← gap →|← main part →|←   gap    →|
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from din.schema import ITEM_ID, LABEL, TIMESTAMP
from validation import detector_limits
from validation.expectations import Expected, figure
from validation.log import Log, Totals, totals
from validation.strange import DailyFigure, by_day
from validation.trailing import Deviation, TrailingDays, deviation


def volumes(log: Log) -> Iterator[Expected]:
    """Expect about as many rows, users and items on each day as on the days before."""
    users, items = log.by_user, totals(log, ITEM_ID)
    of_rows = 1 / np.sqrt(users.independent)
    counted = (("rows", users.rows, of_rows), ("users", users.ids, users.ids**-0.5), ("items", items.ids, of_rows))
    for name, count, chance in counted:
        usual_chance = log.calendar.usual(chance)  # a day's own noise would excuse a day that is too small
        deviations = deviation(log.calendar, np.log(count), usual_chance, detector_limits.VOLUME_FLOOR)
        days = DailyFigure(
            judged=log.trusted,
            strange=deviations.beyond(detector_limits.VOLUME, detector_limits.SCORE),
            extreme=deviations.beyond(detector_limits.EXTREME_VOLUME, detector_limits.EXTREME_SCORE),
            values={name: count, "usual": np.exp(deviations.usual), "times": np.exp(deviations.difference)},
        )
        yield from by_day(
            log,
            name,
            [days],
            advice=f"these days have far more or fewer {name} than the days before: is each day complete, was every "
            "file delivered once, and are all clocks right? A few users on the last days alone may have clocks that "
            "are days ahead. Correct the rows, or end the log before a day that is not complete (data.until). If the "
            "earlier days are small because the log had only begun, leave them out (data.window_days)",
        )


def click_rate(log: Log) -> Iterator[Expected]:
    """Expect about the CTR of the days before on each day."""
    yield from by_day(
        log,
        "ctr",
        [ctr_of_days(log)] if log.labels_vary else [],
        about=LABEL,
        advice="these days have another CTR than the days before: are clicks still to arrive, is the label's rule "
        "wrong (fetch.table.label), are labels flipped or filled in, or are rows without a click lost?",
    )


def ctr_of_days(log: Log) -> DailyFigure:
    """Return the CTR of each day, over all its rows."""
    users = log.by_user
    deviations = ctr_deviation(log.calendar, users)
    growth = users.ids / log.calendar.usual(users.ids)
    return DailyFigure(
        judged=log.trusted,
        strange=deviations.beyond(detector_limits.ODDS, detector_limits.SCORE),
        extreme=deviations.beyond(detector_limits.EXTREME_ODDS, detector_limits.EXTREME_SCORE),
        values={"ctr": users.clicks / users.rows},
        more=lambda row: ctr_evidence(log.calendar, users, row, growth[row]),
    )


def ctr_deviation(calendar: TrailingDays, totals: Totals) -> Deviation:
    """Return the deviation of the CTR's logit, [D] for totals by day, or [D, K] for totals by day and value."""
    rows = np.where(totals.rows > 0, totals.rows, np.nan)
    ctr = (totals.clicks + 0.5) / (rows + 1)
    between = totals.clicks_squared - 2 * ctr * totals.rows_clicks + ctr**2 * totals.rows_squared
    variance = np.maximum(between, rows * ctr * (1 - ctr)) / rows**2
    deviance = np.sqrt(variance * totals.independent) / (ctr * (1 - ctr))  # of the logit, per independent row
    # Use the noise of a usual day of this size, because a day without clicks has no variance of its own.
    noise = calendar.usual(deviance) / np.sqrt(np.where(totals.rows > 0, totals.independent, np.nan))
    return deviation(calendar, np.log(ctr / (1 - ctr)), noise, detector_limits.CTR_FLOOR)


def ctr_evidence(calendar: TrailingDays, totals: Totals, row: int, growth: float = 1.0) -> dict[str, Any]:
    """Return a day's rows and CTR, the usual ones, and the likeliest cause of the difference.

    Args:
        totals: the totals by day, [D].
        row: the index of the day in `calendar.days`.
        growth: the growth on this day to expect of `totals`, as a factor.
    """
    usual_rows = calendar.usual(totals.rows)[row]
    usual_clicks = calendar.usual(totals.clicks)[row]
    clicks = np.log((totals.clicks[row] + 0.5) / (growth * usual_clicks + 0.5))
    others = np.log((totals.rows[row] - totals.clicks[row] + 0.5) / (growth * (usual_rows - usual_clicks) + 0.5))
    if clicks * others > 0 and min(abs(clicks), abs(others)) >= detector_limits.MOVED:
        cause = "other rows were added or moved here" if clicks > 0 else "rows are missing or were moved away"
    elif abs(others) > abs(clicks):
        cause = "rows without a click are missing" if others < 0 else "more rows without a click"
    else:
        cause = "clicks are missing" if clicks < 0 else "more clicks"
    return {
        "rows": int(totals.rows[row]),
        "usual_rows": round(float(usual_rows)),
        "ctr": round(float(totals.clicks[row] / totals.rows[row]), 4),
        "usual_ctr": round(float(usual_clicks / usual_rows), 4),
        "looks_as_if": cause,
    }


def far_days(log: Log) -> Iterator[Expected]:
    """Expect no small group of rows dated far after or far before the main part of the log.

    * `days_far_after`: a few rows are dated long after the rest of the log. Under `temporal`, one row in 2035 would be
      the whole test split; under other protocols this is a **warning**.
    * `days_far_before`: a **warning**: a few rows are dated long before the rest of the log.
    """
    days, rows = log.calendar.days, log.by_user.rows
    if not len(days):
        return
    start, end = main_part(days.astype(int), rows)
    first, last = days[start], days[end - 1]
    for name, where, outside in (
        ("days_far_after", f"date > '{last}'", rows[end:]),
        ("days_far_before", f"date < '{first}'", rows[:start]),
    ):
        few = outside.sum() <= detector_limits.FEW_FAR * rows.sum()
        yield figure(
            log,
            name,
            outside.sum() if few else 0,
            about=TIMESTAMP,
            advice=f"rows dated far from the rest; the rest of the log lies between {first} and {last}. A clock or a "
            "unit was wrong: correct or leave out these rows, or end the log before them (data.until), since a "
            "temporal split would test on late ones alone",
            sample=log.sample(f"SELECT * FROM events WHERE {where} ORDER BY {TIMESTAMP}"),
        )


def main_part(days: np.ndarray, rows: np.ndarray) -> tuple[int, int]:
    """Return the first and the end index of the main part of ascending day numbers [D] with `rows` events [D]."""
    middle = int(np.searchsorted(np.cumsum(rows), rows.sum() / 2))
    start = middle
    end = middle + 1
    grown = True
    while grown:
        reach = max(detector_limits.GAP_DAYS, days[end - 1] - days[start])
        grown = False
        if end < len(days) and days[end] - days[end - 1] <= reach:
            end += 1
            grown = True
        if start > 0 and days[start] - days[start - 1] <= reach:
            start -= 1
            grown = True
    return start, end
