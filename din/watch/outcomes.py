"""How right the champion was, by the clicks on what it answered.

Clicks are attributed as for training, by the source `served`. So the newest day is the last one of which every click
can have arrived, and all days are whole days of the log.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from din import documents, served_log
from din.errors import InputError
from din.metrics.estimates import Metric, estimate
from din.params.fetch import Fetch, Served
from din.schema import ITEM_ID, LABEL, TIMESTAMP, USER_ID
from din.sources.served import ServedSource
from din.watch.spread import WEEK, Check, Figure, Worse, ratio
from din.watch.traffic import DAYS
from din.workspace import Workspace

METRICS: dict[Metric, tuple[str, Worse]] = {
    "calibration_ratio": ("calibration", "either"),
    "log_loss": ("normalised entropy", "higher"),
    "auc": ("AUC", "lower"),
    "gauc": ("GAUC", "lower"),
}
"""The metrics by which a day is judged, the names of their figures, and the direction in which they are bad."""


@dataclass(frozen=True)
class Outcome:
    """The impressions of a day whose clicks have all arrived.

    Attributes:
        day: of the log.
        version: the bundle that answered most of them; empty if there are none.
        labels, scores: [B].
        users: the user of each, counted from 0 [B].
    """

    day: date
    version: str
    labels: NDArray[np.float64]
    scores: NDArray[np.float64]
    users: NDArray[np.int64]


def clicks_of(fetch: Fetch) -> Served | None:
    """Return how to read the log and its clicks, if the source is `served` and has clicks."""
    found = documents.check(Served, dict(fetch.options), "fetch.options") if fetch.source == "served" else None
    return found if found and found.clicks else None


def read(workspace: Workspace, options: Served, last: date) -> list[Outcome]:
    """Return the outcomes of consecutive days, oldest first, until the newest whole one, at most the day `last`.

    Raises:
        InputError: see `ServedSource.read`.
    """
    with TemporaryDirectory() as scratch, duckdb.connect() as con:
        given = replace(
            options,
            path=_absolute(workspace, options.path),
            clicks=_absolute(workspace, options.clicks),
            feedback=(),
            table=replace(options.table, items=None, users=None, history=None),
        )
        log = ServedSource(Workspace(Path(scratch)), given, None).read()
        con.register("events", log.events.table)
        files = [str(path) for path in served_log.files(Path(given.path or ""))]
        table = con.execute(
            f"""WITH answered AS (
                SELECT user_id, answered_at + to_hours({given.table.utc_offset_hours}) AS moment, version,
                    unnest(items) AS item_id, unnest(probabilities) AS score
                FROM read_parquet({files}, hive_partitioning = false)
            )
            SELECT CAST({TIMESTAMP} AS DATE) AS day, version, {LABEL} AS label, score,
                answered.user_id
            FROM (SELECT DISTINCT ON (user_id, moment, item_id) * FROM answered) AS answered JOIN events
                ON answered.user_id = CAST(events.{USER_ID} AS VARCHAR)
                AND answered.item_id = CAST(events.{ITEM_ID} AS VARCHAR)
                AND moment = events.{TIMESTAMP}
            WHERE day <= DATE '{last}' ORDER BY day, moment, answered.user_id, answered.item_id"""
        ).to_arrow_table()
    if not table.num_rows:
        raise InputError(f"{options.path}: no day until {last} is whole; wait, or lower fetch.options.window_hours")
    newest = pc.max(table["day"]).as_py()
    days = [newest - timedelta(days=back) for back in range(DAYS, -1, -1)]
    return [_outcome(day, table.filter(pc.equal(table["day"], day))) for day in days]


def figures(days: Sequence[Outcome]) -> dict[str, Figure]:
    """Return the figures by name."""
    users = len(np.unique(days[-1].users))
    clicked = np.array([ratio(day.labels, np.ones(len(day.labels)), day.users) for day in days])
    found = {"CTR": Figure.level(clicked[:, 0], clicked[:, 1], users)}
    for metric, (name, worse) in METRICS.items():
        estimates = [estimate(metric, day.labels, day.scores, day.users) for day in days]
        scale = _entropies(clicked[:, 0]) if metric == "log_loss" else np.ones(len(days))
        values = np.array([one.value for one in estimates]) / scale
        found[name] = Figure.level(values, [one.standard_error for one in estimates] / scale, users, worse)
    return found


def decline(days: Sequence[Outcome]) -> list[Check]:
    """Compare the AUC of the last days with that of the first days of the same bundle, by Welch's t-test.

    A slow decline does not show from one day to the next. Return nothing if the bundle has not served for so long.
    """
    own = [day for day in days if day.version == days[-1].version]
    if len(own) < 2 * WEEK:
        return []
    aucs = np.array([estimate("auc", day.labels, day.scores, day.users).value for day in own])
    first, last = aucs[:WEEK], aucs[-WEEK:]
    found: Any = ttest_ind(last, first, equal_var=False, alternative="less")
    return [Check("AUC since the promotion", float(last.mean()), p=float(found.pvalue))]


def _outcome(day: date, rows: pa.Table) -> Outcome:
    versions = Counter(rows["version"].to_pylist())
    users = np.unique(rows["user_id"].to_numpy().astype(str), return_inverse=True)[1]
    return Outcome(
        day,
        max(versions, key=versions.__getitem__, default=""),
        rows["label"].to_numpy(),
        rows["score"].to_numpy(),
        users,
    )


def _entropies(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log loss of predicting the CTR itself, for each CTR."""
    return -(rates * np.log(rates) + (1 - rates) * np.log1p(-rates))


def _absolute(workspace: Workspace, place: str | None) -> str | None:
    """Return a place from params.yaml such that it means the same in any folder."""
    found = workspace.located(place) if place else place
    return found if not found or "://" in found else str(Path(found).expanduser().resolve())
