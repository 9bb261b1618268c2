"""Two expectations on a daily figure: nothing extreme on the newest days, and nothing strange on any day.

    days     0 … 9 | 10 11 12             the newest days validate and test under `temporal`
    strange  · ! ·     ·  !  ·            a warning, `<name>_by_day`: days 1 and 11
    extreme  · · ·     ·  ·  !            critical by default, `<name>_newest_days`: day 12

The column `<name>_verdict` of the table `days`, or `columns`, is usual, strange or extreme, or null where the day or
its reference has too few rows. A figure that is extreme on an older day counts as strange. A figure without any judged
day is not in the report.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from great_expectations import expectations as gxe

from validation.expectations import Expected, expect
from validation.log import Log
from validation.suite_data import SAMPLE


@dataclass(frozen=True, kw_only=True)
class DailyFigure:
    """A figure of every day, for the whole log or one of its columns. Arrays are [D].

    Attributes:
        judged: whether the day and its reference have enough rows.
        strange: whether the figure is worth a look.
        extreme: whether the figure is implausible in a sound log.
        values: the figure and its reference values, for tables and reports.
        column: the name of the column; "" for a figure of the whole log.
        more: returns further values for the report, given the index of the day in the calendar.
    """

    judged: np.ndarray
    strange: np.ndarray
    extreme: np.ndarray
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    column: str = ""
    more: Callable[[int], dict[str, Any]] = lambda row: {}

    def evidence(self, log: Log, row: int) -> dict[str, Any]:
        """Return the values that a report shows for the day with index `row`."""
        values = {name: round(float(value[row]), 4) for name, value in self.values.items()}
        column = {"column": self.column} if self.column else {}
        return {"date": str(log.calendar.days[row])} | column | values | self.more(row)


def by_day(
    log: Log,
    name: str,
    figures: Sequence[DailyFigure],
    *,
    advice: str,
    about: str | None = None,
) -> Iterator[Expected]:
    """Yield the expectation on the newest days and the one on all days. Each covers all `figures`."""
    newest = np.arange(len(log.calendar.days)) >= log.calendar.newest
    verdicts = [_verdict(figure, newest) for figure in figures]
    for expectation, days, unwanted in (
        (f"{name}_newest_days", newest, "extreme"),
        (f"{name}_by_day", np.ones(len(newest), bool), "strange"),
    ):
        if not any((figure.judged & days).any() for figure in figures):
            continue
        offenders = [(row, k) for k, verdict in enumerate(verdicts) for row in np.flatnonzero(verdict == unwanted)]
        offenders.sort(key=lambda offender: -offender[0])
        yield expect(
            log,
            gxe.ExpectColumnValuesToNotBeInSet,
            expectation,
            "columns" if figures[0].column else "days",
            pd.concat([_columns(log, name, *judged) for judged in zip(figures, verdicts, strict=True)]),
            about=about,
            advice=advice,
            sample=[figures[k].evidence(log, int(row)) for row, k in offenders[:SAMPLE]],
            column=f"{name}_verdict",
            value_set=[unwanted],
        )


def _verdict(figure: DailyFigure, newest: np.ndarray) -> np.ndarray:
    verdict = np.full(len(newest), "usual", object)
    verdict[figure.strange | figure.extreme] = "strange"
    verdict[figure.extreme & newest] = "extreme"
    verdict[~figure.judged] = None
    return verdict


def _columns(log: Log, name: str, figure: DailyFigure, verdict: np.ndarray) -> pd.DataFrame:
    values = {key if key == name else f"{name}_{key}": value for key, value in figure.values.items()}
    key = {"column": figure.column} if figure.column else {}
    columns = {"date": log.calendar.days.astype(str)} | key | values | {f"{name}_verdict": verdict}
    return pd.DataFrame(columns).set_index(["date", *key])
