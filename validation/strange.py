"""Two expectations of a figure by day: nothing extreme on the newest days, and nothing strange on any other day.

    days     0 … 9 | 10 11 12             the newest validate and test under `temporal`
    strange  · ! ·     ·  !  ·            a warning, `<name>_by_day`: days 1 and 11
    extreme  · · ·     ·  ·  !            critical, `<name>_newest_days`: day 12

A figure for which no day has enough rows is not in the report.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from validation.checks import SAMPLE, Check, Severity, statistic
from validation.log import Log


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One figure of every day.

    Attributes:
        judged: [D] whether the day and its reference have enough rows.
        strange: [D] whether the figure is worth a look.
        extreme: [D] whether the figure can't come from a sound log.
        evidence: returns the values that a report shows for a row of the calendar, besides its date.
    """

    judged: np.ndarray
    strange: np.ndarray
    extreme: np.ndarray
    evidence: Callable[[int], dict[str, Any]]


def by_day(
    log: Log,
    name: str,
    figures: Sequence[Judged],
    *,
    advice: str,
    column: str | None = None,
    severity: Severity | None = None,
) -> Iterator[Check]:
    """Yield the expectation on the newest days and the one on all other days; each covers all `figures`.

    `severity` is that of an extreme newest day; by default, `validate_raw.strange_days` decides it.
    """
    newest = np.arange(len(log.calendar.days)) >= log.calendar.newest
    critical = [figure.judged & newest & figure.extreme for figure in figures]
    warned = [
        figure.judged & (figure.strange | figure.extreme) & ~extreme
        for figure, extreme in zip(figures, critical, strict=True)
    ]
    judged = np.logical_or.reduce([np.zeros(len(newest), bool), *(figure.judged for figure in figures)])
    expectations: tuple[tuple[str, Severity, np.ndarray, list[np.ndarray]], ...] = (
        (f"{name}_newest_days", severity or log.newest_severity, judged & newest, critical),
        (f"{name}_by_day", "warning", judged, warned),
    )
    for expectation, severity, evident, found in expectations:
        if not evident.any():
            continue
        offenders = [(row, figure) for figure, days in zip(figures, found, strict=True) for row in np.flatnonzero(days)]
        offenders.sort(key=lambda offender: -offender[0])
        yield statistic(
            expectation,
            len(offenders),
            maximum=0,
            column=column,
            severity=severity,
            advice=advice,
            sample=[
                {"date": str(log.calendar.days[row])} | figure.evidence(int(row)) for row, figure in offenders[:SAMPLE]
            ],
        )
