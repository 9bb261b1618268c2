"""The suite on `reports/predictions/`: one prediction per row, from a model that beats the mean CTR.

Great Expectations judges the columns directly in pandas, at about 100 bytes per row. Calibration and entropy are judged
on the test rows. The comparison with the champion is left to `din gate`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations import expectations as gxe

from din.base import documents
from din.base.artifacts import MANIFEST
from din.contracts.facts import Evaluation
from din.contracts.manifests import FeaturesManifest
from din.metrics.summary import summary
from validation.expectations import Expected, bounded, columns_of, expect, figure
from validation.run import Phases
from validation.suite_data import SAMPLE, SuiteData

_KEYS = ["user", "item", "label", "sequence", "timestamp", "sampled"]
_INTEGERS = ("int8", "int32", "int64")
_NUMBERS = ("float", "double")
_Judged = Literal["valid", "test"]
_SPLITS: tuple[_Judged, ...] = get_args(_Judged)
_EVALUATE = "run `dvc repro evaluate`"


class Predictions(SuiteData):
    """The predictions of validation and test rows."""

    suite = "predictions"


def files(data: SuiteData) -> Iterator[Expected]:
    """Expect both files to exist and to have their columns.

    * `files_readable`, `columns`: a file or a column is missing.
    """
    evaluation = documents.read(Evaluation, data.workspace.evaluation, _EVALUATE)
    expected = {
        data.workspace.predictions / f"{split}.parquet": dict.fromkeys(_KEYS, _INTEGERS)
        | dict.fromkeys(_scores(split, evaluation), _NUMBERS)
        for split in _SPLITS
    }
    yield from columns_of(data, expected, f"the predictions are not of this version: {_EVALUATE}")[1]


def values(data: SuiteData) -> Iterator[Expected]:
    """Expect one prediction for each row, and probabilities that vary and are calibrated.

    * `<split>_<score>_not_null`: a prediction, or a floor's score, is missing or NaN.
    * `<split>_prediction_0_to_1`: a prediction is not a probability.
    * `<split>_prediction_std`: all predictions are alike.
    * `<split>_rows_of_features`: the rows differ from the split's, or one appears twice.
    * `test_calibration_ratio`: the mean prediction divided by the CTR is out of range (`calibration`).
    * `test_normalized_entropy`: log loss divided by that of the mean CTR is above the limit
      (`max_log_loss_over_constant`).
    """
    workspace = data.workspace
    evaluation = documents.read(Evaluation, workspace.evaluation, _EVALUATE)
    for split in _SPLITS:
        scores = _scores(split, evaluation)
        frame = pd.read_parquet(workspace.predictions / f"{split}.parquet", columns=[*_KEYS, *scores])
        for column in scores:
            yield expect(
                data,
                gxe.ExpectColumnValuesToNotBeNull,
                f"{split}_{column}_not_null",
                split,
                frame,
                about=column,
                column=column,
                advice=f"a score is missing or NaN: look at the loss in reports/training, then {_EVALUATE}",
            )
        yield bounded(
            data,
            gxe.ExpectColumnValuesToBeBetween,
            f"{split}_prediction_0_to_1",
            split,
            frame,
            "prediction",
            about="prediction",
            advice=f"a prediction is a probability: {_EVALUATE}",
        )
        if len(frame) or split == "test":  # a continued champion may have learned all validation rows
            yield bounded(
                data,
                gxe.ExpectColumnStdevToBeBetween,
                f"{split}_prediction_std",
                split,
                frame,
                "prediction",
                about="prediction",
                advice="all predictions are alike, the model collapsed: lower learning_rate or regularization",
            )
        differing = _differing(workspace.features, split, frame, getattr(evaluation.learned_until, split))
        yield figure(
            data,
            f"{split}_rows_of_features",
            len(differing),
            advice=f"the predictions differ from the rows of {workspace.features}: {_EVALUATE}",
            sample=differing.head(SAMPLE).to_dict("records"),
        )
        if split == "test":
            yield from _quality(data, frame)


PHASES = Phases(Predictions, {"files": (files,), "values": (values,)})


def _quality(data: SuiteData, frame: pd.DataFrame) -> Iterator[Expected]:
    label, prediction = frame["label"].to_numpy(), frame["prediction"].to_numpy()
    usable = np.isfinite(prediction) & (prediction >= 0) & (prediction <= 1)
    metrics = summary(label[usable], prediction[usable], frame["user"].to_numpy()[usable])
    yield figure(
        data,
        "test_calibration_ratio",
        metrics.calibration_ratio,
        about="prediction",
        advice="mean prediction over observed CTR: did the CTR change after the training days? Train on newer ones",
        sample=[{"mean_prediction": prediction[usable].mean(), "ctr": metrics.ctr}] if usable.any() else [],
    )
    yield figure(
        data,
        "test_normalized_entropy",
        metrics.normalized_entropy,
        about="prediction",
        advice="the log loss divided by that of the mean CTR: from 1 on, the model has learned nothing; look at "
        "reports/training",
        sample=[{"log_loss": metrics.log_loss, "auc": metrics.auc}],
    )


def _scores(split: _Judged, evaluation: Evaluation) -> list[str]:
    """Return the score columns of a split; test rows also have the scores of the baselines (floors)."""
    if split == "valid":
        return ["prediction"]
    return ["prediction", "popularity", *(["lr"] if evaluation.floors.lr else [])]


def _differing(features: Path, split: _Judged, predicted: pd.DataFrame, learned_until: str) -> pd.DataFrame:
    """Return the rows that occur a different number of times in features and predictions, with both counts.

    Under `temporal`, rows up to `learned_until` must have no prediction, because the model has learned them.
    """
    manifest = documents.read(FeaturesManifest, features / MANIFEST)
    paths = [features / "shards" / f"{shard:05d}" / f"{split}.parquet" for shard in range(manifest.shards)]
    expected = pa.concat_tables([pq.read_table(path, columns=_KEYS) for path in paths]).to_pandas()
    if manifest.protocol == "temporal":
        learned = pd.Timestamp(learned_until).value // 1000
        expected = expected[expected["timestamp"] > learned]
    if np.array_equal(expected.to_numpy(), predicted[_KEYS].to_numpy()):  # the usual case: equal rows in equal order
        return expected.head(0)
    counts = pd.DataFrame({"features": expected.value_counts(), "predictions": predicted[_KEYS].value_counts()})
    counts = counts.fillna(0).astype(int)
    return counts[counts["features"] != counts["predictions"]].sort_index().reset_index()
