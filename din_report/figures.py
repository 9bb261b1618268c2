"""Figures that no stage's report holds: slices with intervals, calibration, days, and the worst predictions.

They are computed from at most 200,000 test rows, whole users drawn as the gate draws them, so that neither the time nor
the page grows with the log.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.features.reader import Features
from din.kinds import UNKNOWN
from din.metrics.calibration import bin_of_rows
from din.metrics.estimates import Interval
from din.metrics.slices import slices
from din.params.reading import Params
from din.release.gates.evidence import Evidence, measured
from din.schema import ITEM_ID, SplitName
from din_report.entity_names import item_names, user_name

BINS = 10
MOST_DAYS = 60
MISTAKES = 5
MOST_SLICES = 60


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with similar predictions; the bounds of their CTR are Wilson's, which treat rows as independent."""

    rows: int
    predicted: float
    ctr: Interval


@dataclass(frozen=True)
class SliceFigures:
    """One slice of the test rows, e.g. history_length=5-19, with bounds clustered by user."""

    name: str
    rows: int
    users: int
    auc: Interval
    calibration: Interval


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
        auc: with its bounds.
        over_lr: AUC minus that of LR on the same rows; None if the run continues a champion.
        gauc_over_lr: the same by GAUC.
        over_popularity: GAUC minus that of popularity on the same rows.
        median_history: the median length of the histories of the test rows.
        no_history: the share of test rows without one.
        unknown_items: the share of candidates without an id of their own, by split.
        days: figures of each held-out day, under the split temporal.
        mistakes: the clicks with the lowest predictions, and the other rows with the highest.
    """

    rows: int
    sampled: int
    auc: Interval
    over_lr: Interval | None
    gauc_over_lr: Interval | None
    over_popularity: Interval
    calibration: list[CalibrationBin]
    slices: list[SliceFigures]
    slices_left_out: int
    median_history: float
    no_history: float
    unknown_items: dict[SplitName, float]
    days: list[DayFigures]
    mistakes: list[Mistake]


def scored(workspace: Workspace, params: Params) -> Scored:
    """Return the figures of the predictions of a workspace.

    Raises:
        InputError: features or the model can't be read, or don't belong to the predictions.
        OSError: predictions can't be read.
    """
    evidence = Evidence(workspace, params)
    features = evidence.features
    sample = evidence.judged_sample
    if not len(sample):
        raise InputError("no user has few enough test rows for the figures' sample")
    valid = evidence.draw(pq.read_table(workspace.predictions / "valid.parquet"))
    confidence = params.gate.confidence
    has_lr = "lr" in sample.column_names
    parts = list(slice_figures(sample, features, confidence))
    length = _numpy(sample, "history_length")
    before = workspace.model / "before"  # judged the validation days, if the model has learned them
    knowing = {
        "valid": _with_known_ids(features, before if before.exists() else workspace.model),
        "test": _with_known_ids(features, workspace.model),
    }
    splits: dict[SplitName, pa.Table] = {"valid": valid, "test": sample}
    by_day = splits if features.by_time else {}
    return Scored(
        rows=len(evidence.judged_rows),
        sampled=len(sample),
        auc=measured("auc", sample).interval(confidence),
        over_lr=measured("auc", sample, against="lr").interval(confidence) if has_lr else None,
        gauc_over_lr=measured("gauc", sample, against="lr").interval(confidence) if has_lr else None,
        over_popularity=measured("gauc", sample, against="popularity").interval(confidence),
        calibration=calibration(_numpy(sample, "label"), _numpy(sample, "prediction"), confidence),
        slices=parts[:MOST_SLICES],
        slices_left_out=max(len(parts) - MOST_SLICES, 0),
        median_history=float(np.median(length)),
        no_history=float((length == 0).mean()),
        unknown_items={
            split: float((knowing[split].items[ITEM_ID].values[_numpy(rows, "item")] == UNKNOWN).mean())
            for split, rows in splits.items()
            if len(rows)
        },
        days=[day for split, rows in by_day.items() for day in _days(split, rows, confidence)],
        mistakes=_mistakes(workspace, features, sample),
    )


def _with_known_ids(features: Features, model: Path) -> Features:
    """Return the features with the ids that a model knows, without PyTorch; see `din.model.artifact.known`."""
    day = read_json(model / "config.json").get("known_until")
    return features.at(date.fromisoformat(day)) if day else features


def _days(split: SplitName, rows: pa.Table, confidence: float) -> Iterator[DayFigures]:
    """Yield the figures of the last `MOST_DAYS` days of a split, in the zone of the log."""
    days = _numpy(rows, "timestamp").astype("datetime64[us]").astype("datetime64[D]")
    for day in np.unique(days)[-MOST_DAYS:]:
        of_day = rows.filter(pa.array(days == day))
        auc = measured("auc", of_day).interval(confidence)
        log_loss = measured("log_loss", of_day).interval(confidence)
        yield DayFigures(day.astype(date), split, len(of_day), auc, log_loss)


def _mistakes(workspace: Workspace, features: Features, rows: pa.Table) -> list[Mistake]:
    """Return the `MISTAKES` worst rows of each class."""
    label = _numpy(rows, "label") != 0
    order = np.argsort(_numpy(rows, "prediction"), kind="stable")
    worst = [*order[label[order]][:MISTAKES], *order[~label[order]][::-1][:MISTAKES]]
    mistakes = rows.take(pa.array(worst, pa.int64())).to_pylist()
    items = item_names(workspace, features, [row["item"] for row in mistakes])
    return [
        Mistake(bool(row["label"]), row["prediction"], user_name(features, row["user"]), item, row["history_length"])
        for row, item in zip(mistakes, items, strict=True)
    ]


def calibration(labels: ArrayLike, probabilities: ArrayLike, confidence: float) -> list[CalibrationBin]:
    """Return bins of equal mass, cut as `din.metrics.calibration.ece` cuts them."""
    clicked = np.asarray(labels) != 0
    p = np.asarray(probabilities, np.float64)
    numbers = bin_of_rows(p, BINS)
    bins = [numbers == number for number in np.unique(numbers)]
    ctrs = [wilson(int(clicked[in_bin].sum()), int(in_bin.sum()), confidence) for in_bin in bins]
    return [
        CalibrationBin(int(in_bin.sum()), float(p[in_bin].mean()), ctr) for in_bin, ctr in zip(bins, ctrs, strict=True)
    ]


def wilson(clicks: int, rows: int, confidence: float) -> Interval:
    """Return Wilson's bounds of a share (JASA 22, 1927), each of which holds with this confidence."""
    z = float(ndtri(confidence))
    share = clicks / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0))


def slice_figures(rows: pa.Table, features: Features, confidence: float) -> Iterator[SliceFigures]:
    """Yield the slices of the test rows with AUC and calibration ratio.

    Raises:
        InputError: the features lack some of the rows.
    """
    columns = {name: _numpy(rows, name) for name in ("user", "item", "sequence", "history_length")}
    for part in slices(columns, features):
        of_slice = rows.take(pa.array(part.rows))
        auc = measured("auc", of_slice)
        ratio = measured("calibration_ratio", of_slice)
        yield SliceFigures(
            part.name, len(of_slice), len(auc.users), auc.interval(confidence), ratio.interval(confidence)
        )


def _numpy(table: pa.Table, name: str) -> NDArray[Any]:
    return table[name].to_numpy()
