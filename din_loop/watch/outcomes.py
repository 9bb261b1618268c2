"""How right the champion was, by the clicks on what it answered.

Clicks are attributed as for training, by the source `served`. So the newest day is the last one of which every click
can have arrived, and all days are whole days of the log.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from din.base.errors import InputError
from din.base.git import absolute
from din.base.workspace import Workspace
from din.data.rows import quoted
from din.metrics.estimates import Metric, estimate
from din.schema import ITEM_ID, LABEL, TIMESTAMP, USER_ID
from din_loop import served_log
from din_loop.served import ServedSource
from din_loop.served_answers import reading
from din_loop.served_options import Served
from din_loop.watch.alarms import CALIBRATION, CTR, EAGER, ENTROPY, SILENT, may_name
from din_loop.watch.significance import Figure, Worse, ratio, usual_days
from din_loop.watch.traffic import DAY, drawn

DAYS = 42
"""The days before the newest one."""
_MOST_FIELDS = 20
"""The fields of candidates, and of contexts, by which clicks are compared."""
_LATEST = 14
"""The most days by which the newest whole day may be late."""
METRICS: dict[Metric, tuple[str, Worse]] = {
    "calibration_ratio": (CALIBRATION, "either"),
    "log_loss": (ENTROPY, "higher"),
    "auc": ("AUC", "lower"),
    "gauc": ("GAUC", "lower"),
}
"""The metrics by which a day is judged, the names of their figures, and the direction of a bad shift."""


@dataclass(frozen=True)
class Outcome:
    """The impressions of a day whose clicks have all arrived.

    Attributes:
        day: of the log.
        version: the bundle that answered most of them; empty if there are none.
        labels, scores: [B].
        users: the user of each, counted from 0 [B].
        fields: the value of each field of the candidates and the context, and the item and the hour, as text, each [B].
    """

    day: date
    version: str
    labels: NDArray[np.float64]
    scores: NDArray[np.float64]
    users: NDArray[np.int64]
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read(workspace: Workspace, log: Path, options: Served, last: date, share: float) -> list[Outcome]:
    """Return the outcomes of consecutive days, oldest first, until the newest whole one, at most the day `last`.

    Args:
        log: the folder of the server's log.
        options: how to read the clicks.
        share: the share of the users to read, drawn as in `traffic`.

    Raises:
        InputError: no day is whole; or see `ServedSource.read`.
    """
    clicks = ",".join(absolute(part.strip(), str(workspace.root.resolve())) for part in str(options.clicks).split(","))
    table = replace(options.table, items=None, users=None, history=None, separators={})
    name = log.resolve().name
    local = replace(options, path=name, clicks=clicks, feedback=(), table=table)
    if share < 1:
        print(
            f"clicks are judged for {100 * share:.2g} % of the users; "
            "the clicks of all others are counted as belonging to no answer"
        )
    with TemporaryDirectory() as scratch, duckdb.connect() as con:
        answers = quoted(str(_draw(con, log, last - (DAYS + _LATEST) * DAY, share, Path(scratch, name))))
        con.register("events", ServedSource(Workspace(Path(scratch)), local, None).read().events.table)
        query = f"SELECT max(CAST({TIMESTAMP} AS DATE)) FROM events WHERE {TIMESTAMP} < DATE '{last + DAY}'"
        ((newest,),) = con.execute(query).fetchall()
        if newest is None:
            raise InputError(
                f"{options.clicks}: no day until {last} is whole; wait, or lower fetch.options.window_hours"
            )
        days = [newest - back * DAY for back in range(DAYS, -1, -1)]
        con.execute(
            f"""CREATE TABLE outcomes AS WITH answers AS (
                SELECT request_id, user_id, answered_at + to_hours({table.utc_offset_hours}) AS moment, version,
                    unnest(items) AS item_id, unnest(probabilities) AS score,
                    unnest(json_extract(asked, '$.candidates[*]')) AS candidate,
                    json_extract(asked, '$.context') AS context
                FROM read_parquet({answers})
                WHERE CAST(moment AS DATE) BETWEEN DATE '{days[0]}' AND DATE '{newest}'
            ), shown AS (
                SELECT DISTINCT ON (user_id, moment, item_id) * FROM answers
                ORDER BY user_id, moment, item_id, request_id
            ), judged AS (
                SELECT CAST({USER_ID} AS VARCHAR) AS user_id, CAST({ITEM_ID} AS VARCHAR) AS item_id,
                    {TIMESTAMP} AS moment, {LABEL} AS label
                FROM events
            )
            SELECT CAST(moment AS DATE) AS day, version, label, score, user_id, item_id, moment, candidate, context
            FROM shown JOIN judged USING (user_id, item_id, moment)"""
        )
        fields = _fields(con)
        columns = "".join(f', {value} AS "{name}"' for name, value in fields.items())
        rows = con.execute(
            f"SELECT day, version, label, score{columns} FROM outcomes ORDER BY moment, user_id, item_id"
        ).to_arrow_table()
    return [_outcome(day, rows.filter(pc.equal(rows["day"], day)), [*fields]) for day in days]


def figures(days: Sequence[Outcome], alarms: Collection[tuple[date, str]]) -> dict[str, Figure]:
    """Return the figures by name.

    Args:
        alarms: the days and figures that alarmed before.
    """
    users = len(np.unique(days[-1].users))
    clicked = np.array([ratio(day.labels, np.ones(len(day.labels)), day.users) for day in days])

    def usual(name: str) -> NDArray[np.bool_]:
        return usual_days([day.day for day in days], name, alarms)

    figures_by_name = {CTR: Figure.level(clicked[:, 0], clicked[:, 1], users, usual=usual(CTR))}
    for name, rate in ((SILENT, 0.0), (EAGER, 1.0)):
        shares = np.array([_share(day, rate) for day in days])
        figures_by_name[name] = Figure.level(shares[:, 0], shares[:, 1], users, "higher", usual=usual(name))
    for metric, (name, worse) in METRICS.items():
        estimates = [estimate(metric, day.labels, day.scores, day.users) for day in days]
        scale = _entropies(clicked[:, 0]) if metric == "log_loss" else np.ones(len(days))
        values = np.array([estimated.value for estimated in estimates]) / scale
        errors = np.array([estimated.standard_error for estimated in estimates]) / scale
        figures_by_name[name] = Figure.level(values, errors, users, worse, usual=usual(name))
    return figures_by_name


def _draw(con: duckdb.DuckDBPyConnection, log: Path, first: date, share: float, folder: Path) -> Path:
    """Write a log of some users' answers from a day (UTC) on into a folder, without requests, and return its file."""
    files = ", ".join(quoted(str(path)) for path in served_log.files(log, first))
    file = folder / f"date={first}/hour=00/drawn.parquet"
    file.parent.mkdir(parents=True)
    with reading(log):
        con.execute(
            f"""COPY (
                SELECT * REPLACE ('{{}}' AS request), request AS asked
                FROM read_parquet([{files}], hive_partitioning = false)
                WHERE {drawn(share)}
            ) TO {quoted(str(file))}"""
        )
    return file


def _fields(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the SQL of the value, as text, of each field by which clicks are compared."""
    fields = {"hour": "CAST(hour(moment) AS VARCHAR)", "item_id": "item_id", "user_id": "user_id"}
    for group in ("candidate", "context"):
        keys = f"SELECT DISTINCT unnest(json_keys({group})) AS name FROM outcomes WHERE json_type({group}) = 'OBJECT'"
        for (name,) in con.execute(f"{keys} ORDER BY name LIMIT {_MOST_FIELDS}").fetchall():
            if may_name(name) and '"' not in name and "\\" not in name and name not in (ITEM_ID, TIMESTAMP):
                path = quoted(f'$."{name}"')
                fields[f"{group}.{name}"] = f"coalesce(json_extract_string({group}, {path}), 'missing')"
    return fields


def _outcome(day: date, rows: pa.Table, fields: Sequence[str]) -> Outcome:
    versions = Counter(rows["version"].to_pylist())
    users = np.unique(rows["user_id"].to_numpy().astype(str), return_inverse=True)[1]
    return Outcome(
        day,
        max(versions, key=versions.__getitem__, default=""),
        rows["label"].to_numpy(),
        rows["score"].to_numpy(),
        users,
        {name: rows[name].to_pylist() for name in fields},
    )


def _share(day: Outcome, rate: float) -> tuple[float, float]:
    """Return the share of the users with this CTR, and its standard error."""
    clicks, shown = np.bincount(day.users, day.labels), np.bincount(day.users)
    return ratio(clicks == rate * shown, np.ones(len(shown)), np.arange(len(shown)))


def _entropies(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log loss of predicting the CTR itself, for each CTR; NaN where nobody or everybody clicked."""
    inner = np.where((rates > 0) & (rates < 1), rates, np.nan)
    return -(inner * np.log(inner) + (1 - inner) * np.log1p(-inner))
