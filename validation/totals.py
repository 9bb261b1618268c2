"""Figures of each day, and its number of independent rows, which is smaller because rows of one user are alike."""

from dataclasses import dataclass

import numpy as np

from din.schema import LABEL, TIMESTAMP
from validation.log import Log

HOURS = 24


@dataclass(frozen=True)
class Totals:
    """Figures of each day, [D] each.

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
        """The number of independent rows, [D], that would vary as much as these, whose ids come and go as wholes."""
        return self.rows**2 / self.rows_squared


def totals(log: Log, key: str) -> Totals:
    """Count by day and `key`, USER_ID or ITEM_ID, in one scan."""
    found = log.arrays(
        f"SELECT date, count(*) AS ids, sum(n) AS rows, sum(c) AS clicks, sum(n * n) AS rows_squared, "
        f"sum(n * c) AS rows_clicks, sum(c * c) AS clicks_squared "
        f"FROM (SELECT date, {key}, count(*) AS n, sum({LABEL})::BIGINT AS c FROM events GROUP BY ALL) "
        f"GROUP BY date ORDER BY date"
    )
    return Totals(**{name: values.astype(float) for name, values in found.items() if name != "date"})


def rows_by_hour(log: Log) -> np.ndarray:
    """Count the rows of each hour of each day, [D, 24], in one scan."""
    counted = ", ".join(f"count(*) FILTER (hour({TIMESTAMP}) = {hour}) AS h{hour}" for hour in range(HOURS))
    found = log.arrays(f"SELECT date, {counted} FROM events GROUP BY date ORDER BY date")
    return np.stack([found[f"h{hour}"] for hour in range(HOURS)], axis=1).astype(float)
