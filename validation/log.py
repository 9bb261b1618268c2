"""The raw log in DuckDB: its tables, its calendar, and the declared kinds of its columns.

The events are copied into the database once, because a log of several years has thousands of small files. They are then
counted by day and user, and by day and item; most detectors read these counts instead of the events. Python sees only
aggregates by day or value, the users' totals, and a few examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property

import duckdb
import numpy as np
import pandas as pd
from typing_extensions import override

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.workspace import Workspace
from din.contracts.manifests import RawManifest
from din.params.reading import Params
from din.schema import ITEM_ID, LABEL, TIMESTAMP, USER_ID, parse_fields
from validation import detector_limits
from validation.suite_data import SuiteData, text
from validation.thresholds import Threshold
from validation.trailing import TrailingDays, begun

SIDE_IDS = {"items": (ITEM_ID,), "users": (USER_ID,), "history": (USER_ID, ITEM_ID)}
BY_DAY = {USER_ID: "users_by_day", ITEM_ID: "items_by_day"}
"""The tables with the rows `n` and the clicks `c` of each id on each day."""
HOURS = 24


@dataclass(frozen=True)
class Totals:
    """Totals of each day, [D] each, or of K values on each day, [D, K] each: distinct ids, rows and clicks.

    Attributes:
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
        """The effective number of independent rows (Kish), given that the rows of an id come and go together."""
        return self.rows**2 / np.maximum(self.rows_squared, 1)

    def of(self, value: int) -> "Totals":
        """Return the totals [D] of the value with this index."""
        return Totals(**{field.name: getattr(self, field.name)[:, value] for field in fields(self)})


TOTALS = """count(*) AS ids, sum(n) AS rows, sum(c) AS clicks, sum(n * n) AS rows_squared,
    sum(n * c) AS rows_clicks, sum(c * c) AS clicks_squared"""
"""`Totals` in SQL, over a table with the rows `n` and the clicks `c` of each id."""


def totals(data: SuiteData, key: str) -> Totals:
    """Return the totals of each day, with `key`, USER_ID or ITEM_ID, as the id."""
    columns = data.arrays(f"SELECT date, {TOTALS} FROM {BY_DAY[key]} GROUP BY date ORDER BY date")
    return Totals(**{name: values.astype(float) for name, values in columns.items() if name != "date"})


def repeats(data: SuiteData, key: Sequence[str]) -> dict[str, np.ndarray]:
    """Count the rows of each day that repeat others with the same key. Takes one GROUP BY and a window over its result.

    Returns:
        Arrays [D] by name: the number of `rows`; of these, `duplicates` with the same time; `shown`, the rows without
        duplicates; the shares of `shown` that were shown `again` on the same day, and `earlier`, within the WINDOW days
        before; and `gap`, the most common number of days since that earlier day, or 0.
    """
    keys = ", ".join(f"key_{number}" for number in range(len(key)))
    renamed = ", ".join(f"{column} AS key_{number}" for number, column in enumerate(key))
    columns = data.arrays(
        f"""
        WITH shown AS (
            SELECT date::DATE AS day, {renamed}, count(*) AS n, count(DISTINCT {TIMESTAMP}) AS times FROM events
            GROUP BY ALL
        ), dated AS (
            SELECT day, n, times, day - lag(day) OVER (PARTITION BY {keys} ORDER BY day) AS gap FROM shown
        )
        SELECT day, sum(n) AS rows, sum(n - times) AS duplicates, sum(times) AS shown,
            sum(times - 1) / sum(times) AS again,
            coalesce(sum(times) FILTER (gap <= {detector_limits.WINDOW}), 0) / sum(times) AS earlier,
            coalesce(mode(gap) FILTER (gap <= {detector_limits.WINDOW}), 0) AS gap
        FROM dated GROUP BY day ORDER BY day
        """
    )
    return {name: values.astype(float) for name, values in columns.items() if name != "day"}


class Log(SuiteData):
    """A raw log, with the table `events`, and `items`, `users` and `history` if the log has them.

    Attributes:
        manifest: the manifest that `fetch` wrote.
        sides: the names of its side tables.
        until: the last day that may be used, or None.
        protocol: temporal, by_user or leave_last_out.
        fields: the columns that are declared as fields, which the model reads, by name.

    Raises:
        InputError: the manifest is missing or has another format, or `featurize.fields` is invalid.
    """

    suite = "raw"

    def __init__(self, workspace: Workspace, params: Params) -> None:
        super().__init__(workspace, params)
        self.root = workspace.raw
        self.manifest = documents.read(RawManifest, self.root / MANIFEST, "run `dvc repro fetch`")
        self.sides = tuple(name for name in SIDE_IDS if (self.root / f"{name}.parquet").exists())
        self.until = date.fromisoformat(self.manifest.until) if self.manifest.until else None
        self.protocol = params.featurize.protocol or self.manifest.protocol
        declared = self.manifest.fields if params.featurize.fields is None else params.featurize.fields
        self.fields = {field.name: field for field in parse_fields(declared)}

    @override
    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        # DuckDB's own partitions would also be those of folders above the workspace.
        connection.execute(
            rf"""
            CREATE TABLE events AS
            SELECT COLUMNS(c -> lower(c) NOT IN ('date', '.file')),
                regexp_extract(".file", 'date=([^/]+)/[^/]+$', 1) AS date
            FROM read_parquet(
                {text(self.root / "events/*/*.parquet")},
                union_by_name = true, hive_partitioning = false, filename = ".file"
            )
            """
        )
        for key, table in BY_DAY.items():
            connection.execute(
                f"CREATE TABLE {table} AS "
                f"SELECT date, {key}, count(*) AS n, sum({LABEL})::BIGINT AS c FROM events GROUP BY ALL"
            )
        for name in self.sides:
            path = text(self.root / f"{name}.parquet")
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet({path}, hive_partitioning = false)")

    @override
    def views(self) -> dict[str, str]:
        queries = {}
        for name, (key, *_) in list(SIDE_IDS.items())[:2]:
            counted = (
                f"SELECT {key}, sum(n)::BIGINT AS rows, sum(c)::BIGINT AS clicks FROM {BY_DAY[key]} GROUP BY {key}"
            )
            side = f"FULL JOIN main.{name} USING ({key})" if name in self.sides else ""
            queries[name] = f"SELECT * FROM ({counted}) {side}"
        return queries

    @cached_property
    def calendar(self) -> TrailingDays:
        """The days with events. Under `temporal`, the newest are the validation and test days."""
        by_day = self.arrays(
            f"SELECT date::DATE AS day, sum(n) AS rows FROM {BY_DAY[ITEM_ID]} GROUP BY day ORDER BY day"
        )
        days, rows = by_day["day"].astype("datetime64[D]"), by_day["rows"].astype(float)
        if self.protocol != "temporal" or not len(days):
            return TrailingDays(days, len(days), begun(rows, len(days)))
        split = self.params.featurize
        last = np.datetime64(self.until, "D") if self.until else days[-1]
        first = last - np.timedelta64(split.valid_days + split.test_days - 1, "D")
        newest = int(np.searchsorted(days, first))
        return TrailingDays(days, newest, begun(rows, newest))

    @property
    def first_newest(self) -> str:
        """The first of the newest days as ISO text, or a day in the far future if there are none."""
        days = self.calendar.days
        return str(days[self.calendar.newest]) if self.calendar.newest < len(days) else "9999-12-31"

    @cached_property
    def by_user(self) -> Totals:
        """The totals of each day, with users as ids."""
        return totals(self, USER_ID)

    @cached_property
    def pairs(self) -> dict[str, np.ndarray]:
        """The rows that repeat others with the same user and item; see `repeats`."""
        return repeats(self, [USER_ID, ITEM_ID])

    @cached_property
    def days(self) -> pd.DataFrame:
        """The rows, users, clicks and CTR of each day, and whether it is one of the newest, indexed by `date`."""
        users, days = self.by_user, self.calendar.days
        figures = {"rows": users.rows, "users": users.ids, "clicks": users.clicks, "ctr": users.clicks / users.rows}
        newest = np.arange(len(days)) >= self.calendar.newest
        return pd.DataFrame({"newest": newest} | figures, index=pd.Index(days.astype(str), name="date"))

    @cached_property
    def hours(self) -> np.ndarray:
        """The rows of each hour of each day, [D, 24]."""
        counted = ", ".join(f"count(*) FILTER (hour({TIMESTAMP}) = {hour}) AS h{hour}" for hour in range(HOURS))
        columns = self.arrays(f"SELECT date, {counted} FROM events GROUP BY date ORDER BY date")
        return np.stack([columns[f"h{hour}"] for hour in range(HOURS)], axis=1).astype(float)

    @override
    def threshold(self, name: str) -> Threshold:
        threshold = super().threshold(name)
        promised = self.manifest.daily or name not in ("missing_days", "days_behind_until", "covered_hours_newest_days")
        blocks = promised and (self.protocol == "temporal" or name != "days_far_after")
        return threshold if blocks else replace(threshold, severity="warning")

    @property
    def trusted(self) -> np.ndarray:
        """Whether the reference of each day has enough users: bool [D]."""
        return self.calendar.usual(self.by_user.ids) >= detector_limits.FEW_USERS

    @cached_property
    def labels_vary(self) -> bool:
        """Whether labels carry information; False for a log that has only clicks."""
        (ctr,) = self.one(f"SELECT avg({LABEL}) FROM events")
        return ctr is not None and ctr < detector_limits.CLICKS_ALONE
