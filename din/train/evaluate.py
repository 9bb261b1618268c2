"""The stage `evaluate`: metrics on validation and test rows, and the floors that a model must beat on the test rows.

The floors are `popularity` (each item's smoothed CTR in training) and `lr` (see `din.train.floor`). `oracle` is the AUC
of the true probabilities, which are known for simulated logs only.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from din.artifacts import hash_tree, replace_directory, write_json
from din.features.reader import Features
from din.metrics.ranking import auc, gauc
from din.metrics.slices import slice_table
from din.metrics.summary import summary
from din.model import artifact
from din.params import Params
from din.train.compute import Compute, computing
from din.train.fit import fit
from din.train.floor import floor
from din.train.machine import describe
from din.train.predict import Predictions, predict
from din.workspace import Workspace


def evaluate(workspace: Workspace, params: Params) -> None:
    """Write `reports/evaluation.json`, `reports/predictions/{valid,test}.parquet` and `reports/machine/evaluate.json`.

    Raises:
        InputError: features or model are missing, or do not fit each other.
    """
    with computing(params.train.compute) as compute:
        _evaluate(workspace, params, compute)


def _evaluate(workspace: Workspace, params: Params, compute: Compute) -> None:
    features = Features(workspace.features)
    trained = artifact.load(features, workspace.model)
    batch = params.evaluate.batch_size
    found = {split: predict(trained, features, split, batch, compute) for split in ("valid", "test")}
    test = found["test"]

    print("fitting the floor lr", flush=True)
    trained_floor, _ = fit(features, floor(params), compute=compute)
    lr = predict(trained_floor, features, "test", batch, compute)
    popularity = features.popularity()[test.rows["item"]]

    report: dict[str, Any] = {split: _summary(predictions) for split, predictions in found.items()}
    report["floors"] = {"popularity": _ranking(test, popularity), "lr": _summary(lr)}
    report["inputs"] = {"features": hash_tree(features.root), "model": hash_tree(workspace.model)}
    report["oracle"] = oracle(test, workspace.truth)
    report["slices"] = {"test": slice_table(test.rows, test.probabilities, features)}
    with replace_directory(workspace.predictions) as folder:
        pq.write_table(found["valid"].table(), folder / "valid.parquet")
        pq.write_table(test.table(popularity=popularity, lr=lr.probabilities), folder / "test.parquet")
    write_json(workspace.evaluation, report)
    write_json(workspace.machine_of("evaluate"), describe(compute))
    print(table(report), flush=True)


def table(report: dict[str, Any]) -> str:
    """Return the metrics on the test rows as aligned text."""
    test = report["test"]
    lines = [f"{test['rows']:,} test rows, {test['users']:,} users, CTR {test['ctr']:.4f}", ""]
    lines.append(f"{'':12}{'AUC':>8}{'GAUC':>8}{'log loss':>10}")
    for name, row in {"model": test, **report["floors"], "oracle": report["oracle"] or {}}.items():
        if row:
            figures = ((row.get(key), width) for key, width in (("auc", 8), ("gauc", 8), ("log_loss", 10)))
            lines.append(f"{name:12}" + "".join(f"{'–' if x is None else f'{x:.4f}':>{width}}" for x, width in figures))
    return "\n".join(lines)


def oracle(predictions: Predictions, truth: Path) -> dict[str, float] | None:
    """Return the AUC of the true probabilities on the same rows.

    None if they are not known. Sampled negatives have no true probability.
    """
    if not truth.exists() or predictions.rows["sampled"].any():
        return None
    sequence = predictions.rows["sequence"]
    near = (pc.field("sequence") >= sequence.min()) & (pc.field("sequence") <= sequence.max())
    table = pq.read_table(truth, columns=["sequence", "probability"], filters=near).sort_by("sequence")
    places = np.searchsorted(table["sequence"].to_numpy(), sequence)
    return {"auc": auc(predictions.rows["label"], table["probability"].to_numpy()[places])}


def _summary(predictions: Predictions) -> dict[str, Any]:
    return summary(predictions.rows["label"], predictions.probabilities, predictions.rows["user"])


def _ranking(predictions: Predictions, scores: np.ndarray) -> dict[str, float | None]:
    label = predictions.rows["label"]
    user = predictions.rows["user"]
    values = {"auc": auc(label, scores), "gauc": gauc(label, scores, user).value}
    return {name: None if np.isnan(value) else value for name, value in values.items()}
