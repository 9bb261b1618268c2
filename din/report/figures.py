"""Figures that no stage's report holds: curves of the test predictions, slices with intervals, and days of the log.

They are computed from at most 200,000 test rows, whole users drawn as the gate draws them, so that neither the
time nor the page grows with the log. Every curve is binned.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from din.features.reader import Features
from din.field_forms import UNKNOWN
from din.gates.evidence import Evidence
from din.metrics.calibration import bin_of_rows
from din.metrics.estimates import Interval, difference, estimate
from din.metrics.slices import slices
from din.params import Params
from din.report.names import item_names, user_name
from din.schema import ITEM_ID, SplitName
from din.workspace import Workspace

CURVE_POINTS = 80
BINS = 10
MOST_PERIODS = 90
MOST_DAYS = 60
MISTAKES = 5
MOST_SLICES = 60
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with similar predictions; the bounds of their CTR are Wilson's, which treat rows as independent."""

    rows: int
    predicted: float
    ctr: float
    lower: float
    upper: float


@dataclass(frozen=True)
class SliceFigures:
    """One slice of the test rows, with bounds clustered by user."""

    by: str
    value: str
    rows: int
    users: int
    auc: Interval
    calibration: Interval

    @property
    def name(self) -> str:
        """The name of the slice, e.g. history_length=5-19."""
        return f"{self.by}={self.value}"


@dataclass(frozen=True)
class DayFigures:
    """The held-out rows of one day, with bounds clustered by user."""

    day: date
    split: SplitName
    rows: int
    auc: Interval
    log_loss: Interval


@dataclass(frozen=True)
class Mistake:
    """A test row whose prediction was far off."""

    clicked: bool
    prediction: float
    user: str
    item: str
    history_length: int


@dataclass(frozen=True)
class Scored:
    """Figures of the predictions.

    Attributes:
        rows, sampled: the number of test rows, and of those that the figures are about.
        roc: by the name of the score, (false positive rate, true positive rate) from (0, 0) to (1, 1).
        lifts: by the name of the score, the CTR of the best rows divided by the CTR of all rows, by their share.
        valid_auc, test_auc: with their bounds; the former is None if the model had learned all validation rows.
        over_lr: AUC minus that of LR on the same rows; None for a champion that went on.
        median_history: the median length of the histories of the test rows.
        no_history: the share of test rows without one.
        unknown_items: the share of candidates without an id of their own, by split.
        days: figures of each held-out day, under the split temporal.
        mistakes: the clicks with the lowest predictions, and the other rows with the highest.
    """

    rows: int
    sampled: int
    roc: dict[str, list[tuple[float, float]]]
    calibration: list[CalibrationBin]
    lifts: dict[str, list[tuple[float, float]]]
    valid_auc: Interval | None
    test_auc: Interval
    over_lr: Interval | None
    slices: list[SliceFigures]
    slices_left_out: int
    median_history: float
    no_history: float
    unknown_items: dict[SplitName, float]
    days: list[DayFigures]
    mistakes: list[Mistake]


@dataclass(frozen=True)
class Period:
    """The events of a range of days."""

    first: date
    last: date
    rows: int
    clicks: int

    @property
    def ctr(self) -> float:
        """The share of clicks; NaN without rows."""
        return self.clicks / self.rows if self.rows else math.nan


def scored(workspace: Workspace, params: Params) -> Scored:
    """Return the figures of the predictions of a workspace.

    Raises:
        InputError: features can't be read or don't belong to the predictions.
        OSError: predictions can't be read.
    """
    evidence = Evidence(workspace, params)
    every = evidence.rows
    sample = evidence.draw(every)
    valid = evidence.draw(pq.read_table(workspace.predictions / "valid.parquet"))
    confidence = params.gate.confidence
    features = evidence.features
    scores = {"model": _numpy(sample, "prediction"), "popularity": _numpy(sample, "popularity")}
    lr = _numpy(sample, "lr") if "lr" in sample.column_names else None
    if lr is not None:
        scores["lr"] = lr
    labels = _numpy(sample, "label")
    users = _numpy(sample, "user")
    parts = list(slice_figures(sample, features, confidence))
    length = _numpy(sample, "history_length")
    items = features.items[ITEM_ID].values
    splits: dict[SplitName, pa.Table] = {"valid": valid, "test": sample}
    return Scored(
        rows=len(every),
        sampled=len(sample),
        roc={name: roc(labels, score) for name, score in scores.items()},
        calibration=calibration(labels, scores["model"], confidence),
        lifts={name: lifts(labels, score) for name, score in scores.items()},
        valid_auc=_auc(valid, confidence) if len(valid) else None,
        test_auc=estimate("auc", labels, scores["model"], users).interval(confidence),
        over_lr=None if lr is None else difference("auc", labels, scores["model"], lr, users).interval(confidence),
        slices=parts[:MOST_SLICES],
        slices_left_out=max(len(parts) - MOST_SLICES, 0),
        median_history=float(np.median(length)),
        no_history=float((length == 0).mean()),
        unknown_items={
            split: float((items[_numpy(rows, "item")] == UNKNOWN).mean()) for split, rows in splits.items() if len(rows)
        },
        days=[day for split, rows in splits.items() for day in _days(split, rows, confidence)]
        if features.by_time
        else [],
        mistakes=_mistakes(workspace, features, sample),
    )


def _days(split: SplitName, rows: pa.Table, confidence: float) -> list[DayFigures]:
    """Return the figures of the last `MOST_DAYS` days of a split, UTC."""
    day = _numpy(rows, "timestamp").astype("datetime64[us]").astype("datetime64[D]")
    found = []
    for one in np.unique(day)[-MOST_DAYS:]:
        own = rows.filter(pa.array(day == one))
        columns = [_numpy(own, name) for name in ("label", "prediction", "user")]
        auc = estimate("auc", *columns).interval(confidence)
        log_loss = estimate("log_loss", *columns).interval(confidence)
        found.append(DayFigures(one.astype(date), split, len(own), auc, log_loss))
    return found


def _mistakes(workspace: Workspace, features: Features, rows: pa.Table) -> list[Mistake]:
    """Return the `MISTAKES` worst rows of each class."""
    label = _numpy(rows, "label") != 0
    prediction = _numpy(rows, "prediction")
    order = np.argsort(prediction, kind="stable")
    worst = [*order[label[order]][:MISTAKES], *order[~label[order]][::-1][:MISTAKES]]
    items = item_names(workspace, features, _numpy(rows, "item")[worst].tolist())
    return [
        Mistake(
            clicked=bool(label[row]),
            prediction=float(prediction[row]),
            user=user_name(features, int(rows["user"][row].as_py())),
            item=item,
            history_length=int(rows["history_length"][row].as_py()),
        )
        for row, item in zip(map(int, worst), items, strict=True)
    ]


def _auc(rows: pa.Table, confidence: float) -> Interval:
    return estimate("auc", _numpy(rows, "label"), _numpy(rows, "prediction"), _numpy(rows, "user")).interval(confidence)


def roc(labels: ArrayLike, scores: ArrayLike) -> list[tuple[float, float]]:
    """Return at most `CURVE_POINTS` points of the ROC curve, spread evenly along it.

    Rows of equal score are one step.
    """
    clicked = np.asarray(labels) != 0
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ordered = np.asarray(scores)[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    hits = np.cumsum(clicked[order])[last]
    misses = last + 1 - hits
    true_rate = np.append(0.0, hits / max(hits[-1], 1))
    false_rate = np.append(0.0, misses / max(misses[-1], 1))
    along = (true_rate + false_rate) / 2
    chosen = np.unique(np.searchsorted(along, np.linspace(0, 1, CURVE_POINTS)).clip(max=len(along) - 1))
    return [(float(false_rate[i]), float(true_rate[i])) for i in chosen]


def calibration(labels: ArrayLike, probabilities: ArrayLike, confidence: float) -> list[CalibrationBin]:
    """Return bins of equal mass, cut as `din.metrics.calibration.ece` cuts them."""
    clicked = np.asarray(labels) != 0
    p = np.asarray(probabilities, np.float64)
    number = bin_of_rows(p, BINS)
    found = []
    for one in np.unique(number):
        rows = number == one
        bounds = wilson(int(clicked[rows].sum()), int(rows.sum()), confidence)
        found.append(
            CalibrationBin(
                int(rows.sum()), float(p[rows].mean()), float(clicked[rows].mean()), bounds.lower, bounds.upper
            )
        )
    return found


def wilson(clicks: int, rows: int, confidence: float) -> Interval:
    """Return Wilson's bounds of a share (JASA 22, 1927), each of which holds with this confidence."""
    z = float(ndtri(confidence))
    share = clicks / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0))


def lifts(labels: ArrayLike, scores: ArrayLike) -> list[tuple[float, float]]:
    """Return shares of the rows with the lift of the best; rows of equal score count with their mean CTR."""
    clicked = (np.asarray(labels) != 0).astype(np.float64)
    score = np.asarray(scores, np.float64)
    mean = clicked.mean()
    if not mean:
        return []
    _, run, size = np.unique(-score, return_inverse=True, return_counts=True)
    expected = (np.bincount(run, clicked) / size)[np.sort(run)]
    gained = np.cumsum(expected)
    places = [max(math.ceil(share * len(score)), 1) for share in _SHARES]
    return [(share, float(gained[place - 1] / place / mean)) for share, place in zip(_SHARES, places, strict=True)]


def slice_figures(rows: pa.Table, features: Features, confidence: float) -> Iterator[SliceFigures]:
    """Yield the slices of the test rows with AUC and calibration ratio.

    Raises:
        InputError: the features lack some of the rows.
    """
    columns = {
        name: _numpy(rows, name) for name in ("user", "item", "label", "sequence", "history_length", "prediction")
    }
    for part in slices(columns, features):
        own = {name: columns[name][part.rows] for name in ("label", "prediction", "user")}
        auc, ratio = (
            estimate(metric, own["label"], own["prediction"], own["user"]) for metric in ("auc", "calibration_ratio")
        )
        yield SliceFigures(
            part.by,
            part.value,
            len(part.rows),
            len(auc.users),
            auc.interval(confidence),
            ratio.interval(confidence),
        )


def periods(raw: Path) -> list[Period]:
    """Return rows and clicks of the log by day, or by as many days as make at most `MOST_PERIODS` ranges.

    Periods without rows between the first and the last day are among them.
    """
    if not any(raw.glob("events/date=*/*.parquet")):
        return []
    counted = "SELECT date::DATE AS day, count(*), sum(label) FROM read_parquet(?, hive_partitioning = true)"
    files = str(raw / "events" / "*" / "*.parquet")
    days = duckdb.execute(f"{counted} GROUP BY day ORDER BY day", [files]).fetchall()
    first = days[0][0]
    length = (days[-1][0] - first).days + 1
    span = math.ceil(length / MOST_PERIODS)
    found = [[0, 0] for _ in range(math.ceil(length / span))]
    for day, rows, clicks in days:
        total = found[(day - first).days // span]
        total[0] += rows
        total[1] += int(clicks)
    return [
        Period(first + timedelta(number * span), first + timedelta((number + 1) * span - 1), rows, clicks)
        for number, (rows, clicks) in enumerate(found)
    ]


def _numpy(table: pa.Table, name: str) -> NDArray[Any]:
    return table[name].to_numpy()
