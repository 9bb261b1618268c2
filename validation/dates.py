"""Detect a few rows dated far from the rest of the log: one row in 2035 would become the whole test split.

    rows     ·        ▂▃▅▄▆▅▆▇▆                 ·
    days     |← gap →|← main part →|←   gap    →|

The main part grows from the median row's day over every gap that is no longer than itself.
"""

from collections.abc import Iterator

import numpy as np

from din.schema import TIMESTAMP
from validation.checks import Check, Severity, statistic
from validation.log import Log

_GAP_DAYS = 14  # a shorter gap is a holiday or an outage
_FEW = 0.05  # the share of all rows from which rows count as part of the log


def far_days(log: Log) -> Iterator[Check]:
    """Expect that no small group of rows lies far after or far before the main part of the log."""
    found = log.arrays("SELECT date::DATE AS day, count(*) AS rows FROM events GROUP BY day ORDER BY day")
    days, rows = found["day"].astype("datetime64[D]").astype(int), found["rows"].astype(int)
    if not len(days):
        return
    start, end = main_part(days, rows)
    dates = found["day"].astype("datetime64[D]").astype(str)
    main = f"the rest of the log lies between {dates[start]} and {dates[end - 1]}"
    after: Severity = "critical" if log.protocol == "temporal" else "warning"
    before: Severity = "warning"
    sides: tuple[tuple[str, str, np.ndarray, Severity], ...] = (
        ("days_far_after", f"date > '{dates[end - 1]}'", rows[end:], after),
        ("days_far_before", f"date < '{dates[start]}'", rows[:start], before),
    )
    for name, where, outside, severity in sides:
        count = int(outside.sum())
        few = 0 < count <= _FEW * rows.sum()
        yield statistic(
            name,
            count if few else 0,
            maximum=0,
            column=TIMESTAMP,
            severity=severity,
            advice=f"rows dated far from the rest; {main}. A clock or a unit was wrong: correct or leave out these rows"
            + (", or set data.until; a temporal split would test on them alone" if name == "days_far_after" else ""),
            sample=log.sample(f"SELECT * FROM events WHERE {where} ORDER BY {TIMESTAMP}", few),
        )


def main_part(days: np.ndarray, rows: np.ndarray) -> tuple[int, int]:
    """Return the first row and the end of the main part of `days`, [D] ascending day numbers with `rows` events."""
    middle = int(np.searchsorted(np.cumsum(rows), rows.sum() / 2))
    start = middle
    end = middle + 1
    grown = True
    while grown:
        reach = max(_GAP_DAYS, days[end - 1] - days[start])
        grown = False
        if end < len(days) and days[end] - days[end - 1] <= reach:
            end += 1
            grown = True
        if start > 0 and days[start] - days[start - 1] <= reach:
            start -= 1
            grown = True
    return start, end
