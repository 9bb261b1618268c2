"""Detect a few rows dated far from the rest of the log: one row in 2035 would become the whole test split.

    rows     ·        ▂▃▅▄▆▅▆▇▆                 ·
    days     |← gap →|← main part →|←   gap    →|

The main part grows from the median row's day over every gap that is no longer than itself.
"""

from collections.abc import Iterator

import numpy as np

from din.schema import TIMESTAMP
from validation.constants import FEW_FAR, GAP_DAYS
from validation.expectations import Expected, Severity, figure
from validation.log import Log


def far_days(log: Log) -> Iterator[Expected]:
    """Expect that no small group of rows lies far after or far before the main part of the log."""
    days, rows = log.calendar.days, log.by_user.rows
    if not len(days):
        return
    start, end = main_part(days.astype(int), rows)
    first, last = days[start], days[end - 1]
    after: Severity = "critical" if log.protocol == "temporal" else "warning"
    sides: tuple[tuple[str, str, np.ndarray, Severity], ...] = (
        ("days_far_after", f"date > '{last}'", rows[end:], after),
        ("days_far_before", f"date < '{first}'", rows[:start], "warning"),
    )
    for name, where, outside, severity in sides:
        few = outside.sum() <= FEW_FAR * rows.sum()
        yield figure(
            name,
            outside.sum() if few else 0,
            maximum=0,
            column=TIMESTAMP,
            severity=severity,
            advice=f"rows dated far from the rest; the rest of the log lies between {first} and {last}. A clock or a "
            "unit was wrong: correct or leave out these rows, or end the log before them (data.until), since a "
            "temporal split would test on late ones alone",
            sample=log.sample(f"SELECT * FROM events WHERE {where} ORDER BY {TIMESTAMP}"),
        )


def main_part(days: np.ndarray, rows: np.ndarray) -> tuple[int, int]:
    """Return the first row and the end of the main part of `days`, [D] ascending day numbers with `rows` events."""
    middle = int(np.searchsorted(np.cumsum(rows), rows.sum() / 2))
    start = middle
    end = middle + 1
    grown = True
    while grown:
        reach = max(GAP_DAYS, days[end - 1] - days[start])
        grown = False
        if end < len(days) and days[end] - days[end - 1] <= reach:
            end += 1
            grown = True
        if start > 0 and days[start] - days[start - 1] <= reach:
            start -= 1
            grown = True
    return start, end
