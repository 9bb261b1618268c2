"""The few metrics that `dvc metrics` compares, and the tables that `dvc plots` draws (`plots` in dvc.yaml).

Both depend on the predictions alone and hold no times, so equal trainings write equal bytes.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from din.contracts.facts import Evaluation, SliceMetrics
from din.metrics.calibration import bin_of_rows

COMPARED = ("auc", "gauc", "log_loss", "calibration_ratio")
BINS = 10


def few_metrics(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Return the metrics to compare experiments by: validation rows to choose, test rows to report."""
    judged = {"valid": evaluation.valid, "test": evaluation.test}
    by_split = {split: {name: getattr(row, name) for name in COMPARED} for split, row in judged.items() if row}
    lr = evaluation.floors.lr
    auc = evaluation.test.auc
    by_split["test"]["auc_over_lr"] = None if auc is None or not lr or lr.auc is None else auc - lr.auc
    return {split: {name: value for name, value in row.items() if value is not None} for split, row in by_split.items()}


def write_tables(folder: Path, slices: Sequence[SliceMetrics], labels: ArrayLike, probabilities: ArrayLike) -> None:
    """Write the calibration by bins of equal mass, and the metrics of the slices, as CSV.

    Args:
        folder: an empty folder.
        slices: the slices of the test rows, as in evaluation.json.
        labels: of the test rows, [B].
        probabilities: of the test rows, [B].
    """
    clicked = np.asarray(labels) != 0
    p = np.asarray(probabilities, np.float64)
    number = bin_of_rows(p, BINS)
    bins = [number == value for value in np.unique(number)]
    rows = [(float(p[in_bin].mean()), float(clicked[in_bin].mean()), int(in_bin.sum())) for in_bin in bins]
    _write(folder / "calibration.csv", ("mean prediction", "CTR", "rows"), rows)
    named = [
        (f"{metrics.by}={metrics.value}", metrics.auc, metrics.calibration_ratio, metrics.rows) for metrics in slices
    ]
    _write(folder / "slices.csv", ("slice", "AUC", "calibration", "rows"), [row for row in named if None not in row])


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
