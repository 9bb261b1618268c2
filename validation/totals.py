"""Figures of each day, its CTR against the days before, and its number of independent rows.

That number is smaller than that of rows, because rows of one user are alike.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from din.schema import LABEL, TIMESTAMP
from validation.constants import CTR_FLOOR
from validation.data import Data
from validation.trailing import Calendar, Deviation, deviation

HOURS = 24


@dataclass(frozen=True)
class Totals:
    """Figures of each day, [D] each, or of K values on each day, [D, K].

    Attributes:
        ids: distinct ids.
        rows: rows.
        clicks: clicks.
        rows_squared: the sum over ids of rows².
        rows_clicks: the sum over ids of rows · clicks.
        clicks_squared: the sum over ids of clicks².
    """

    ids: np.ndarray
    rows: np.ndarray
    clicks: np.ndarray
    rows_squared: np.ndarray
    rows_clicks: np.ndarray
    clicks_squared: np.ndarray

    @property
    def independent(self) -> np.ndarray:
        """The number of independent rows that would vary as much as these, whose ids come and go as wholes."""
        return self.rows**2 / np.maximum(self.rows_squared, 1)

    def of(self, value: int) -> "Totals":
        """Return the figures of one value, [D]."""
        return Totals(**{field.name: getattr(self, field.name)[:, value] for field in fields(self)})


def totals(data: Data, key: str) -> Totals:
    """Count by day and `key`, USER_ID or ITEM_ID, in one scan."""
    found = data.arrays(
        f"SELECT date, count(*) AS ids, sum(n) AS rows, sum(c) AS clicks, sum(n * n) AS rows_squared, "
        f"sum(n * c) AS rows_clicks, sum(c * c) AS clicks_squared "
        f"FROM (SELECT date, {key}, count(*) AS n, sum({LABEL})::BIGINT AS c FROM events GROUP BY ALL) "
        f"GROUP BY date ORDER BY date"
    )
    return Totals(**{name: values.astype(float) for name, values in found.items() if name != "date"})


def rows_by_hour(data: Data) -> np.ndarray:
    """Count the rows of each hour of each day, [D, 24], in one scan."""
    counted = ", ".join(f"count(*) FILTER (hour({TIMESTAMP}) = {hour}) AS h{hour}" for hour in range(HOURS))
    found = data.arrays(f"SELECT date, {counted} FROM events GROUP BY date ORDER BY date")
    return np.stack([found[f"h{hour}"] for hour in range(HOURS)], axis=1).astype(float)


def ctr_deviation(calendar: Calendar, totals: Totals) -> Deviation:
    """Return the deviation of the logit of the CTR; `totals` are by day [D], or by day and value [D, K]."""
    rows = np.where(totals.rows > 0, totals.rows, np.nan)
    ctr = (totals.clicks + 0.5) / (rows + 1)
    between = totals.clicks_squared - 2 * ctr * totals.rows_clicks + ctr**2 * totals.rows_squared
    variance = np.maximum(between, rows * ctr * (1 - ctr)) / rows**2
    deviance = np.sqrt(variance * totals.independent) / (ctr * (1 - ctr))  # of the logit of one independent row
    # The noise is that of a usual day of this size, since a day without clicks has no variance of its own.
    noise = calendar.usual(deviance) / np.sqrt(totals.independent)
    return deviation(calendar, np.log(ctr / (1 - ctr)), noise, CTR_FLOOR)


def ctr_evidence(calendar: Calendar, totals: Totals, row: int, growth: float = 1.0) -> dict[str, Any]:
    """Return a day's rows and CTR beside the usual ones, and what explains the difference best.

    Args:
        calendar: the days.
        totals: the totals by day, [D].
        row: the day.
        growth: the factor by which rows that are not judged grew on this day.
    """
    usual_rows = calendar.usual(totals.rows)[row]
    usual_clicks = calendar.usual(totals.clicks)[row]
    clicks = np.log((totals.clicks[row] + 0.5) / (growth * usual_clicks + 0.5))
    others = np.log((totals.rows[row] - totals.clicks[row] + 0.5) / (growth * (usual_rows - usual_clicks) + 0.5))
    if abs(others) > abs(clicks):
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
