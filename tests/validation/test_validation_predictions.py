"""The predictions suite, and the command line."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import read_json, write_json
from din.params.reading import Params
from tests.validation.planting import HERE, PREDICTIONS, edit, failed, judge, put

Enter = Callable[..., Params]
TEST = PREDICTIONS / "test.parquet"


def predict(formula: Callable[[np.ndarray], Any]) -> Callable[[], None]:
    """Set test predictions as a function of the labels."""

    def change(table: pa.Table) -> pa.Table:
        predictions = pa.array(formula(table["label"].to_numpy().astype(float)), pa.float64())
        return table.set_column(table.column_names.index("prediction"), "prediction", predictions)

    return lambda: edit(TEST, change)


def told(column: str, row: int, value: Any) -> Callable[[], None]:
    return lambda: put(TEST, column, row, value)


DEFECTS: dict[str, tuple[Callable[[], None], set[str]]] = {
    "file lost": (TEST.unlink, {"files_readable"}),
    "truncated file": (lambda: TEST.write_bytes(TEST.read_bytes()[:900]) and None, {"files_readable"}),
    "floor lost": (lambda: edit(TEST, lambda table: table.drop_columns("lr")), {"columns"}),
    "NaN": (told("prediction", 3, float("nan")), {"test_prediction_not_null"}),
    "floor NaN": (told("popularity", 3, float("nan")), {"test_popularity_not_null"}),
    "above 1": (told("prediction", 3, 1.01), {"test_prediction_0_to_1"}),
    "collapse": (predict(lambda label: label.mean() + 1e-4 * (label - label.mean())), {"test_prediction_std"}),
    "miscalibrated": (predict(lambda label: 0.45 + 0.5 * label), {"test_calibration_ratio"}),
    "worse than the mean CTR": (
        predict(lambda label: label.mean() - 0.1 * (label - label.mean())),
        {"test_normalized_entropy"},
    ),
    "row lost": (lambda: edit(TEST, lambda table: table.slice(1)), {"test_rows_of_features"}),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_closes_exactly_its_expectation(defect: str, workspace: Enter) -> None:
    """The named expectations fail, and all others hold."""
    params = workspace("temporal")
    plant, expected = DEFECTS[defect]
    plant()
    assert failed(judge("predictions", params)).keys() == expected


def test_order_is_free(workspace: Enter) -> None:
    """Predictions are matched to rows by their keys."""
    params = workspace("temporal")
    edit(TEST, lambda table: table.take(np.arange(len(table))[::-1]))
    assert not failed(judge("predictions", params))


def test_an_undefined_metric_closes(workspace: Enter) -> None:
    """If a metric is undefined, the gate is closed."""
    params = workspace("temporal")
    predict(lambda label: np.full(len(label), np.nan))()
    found = failed(judge("predictions", params))
    assert {"test_prediction_not_null", "test_calibration_ratio", "test_normalized_entropy"} <= found.keys()
    assert found["test_calibration_ratio"]["observed"] is None


def learned_until(split: str, quantile: float) -> None:
    """Say that the model had learned the first part of a split's rows when it scored the split."""
    times = np.sort(pq.read_table(PREDICTIONS / f"{split}.parquet")["timestamp"].to_numpy())
    last = datetime.fromtimestamp(times[int(quantile * (len(times) - 1))] / 1e6, UTC)
    evaluation = read_json(HERE.evaluation)
    evaluation["learned_until"][split] = last.isoformat()
    write_json(HERE.evaluation, evaluation)


def test_a_prediction_of_a_learned_row_is_refused(workspace: Enter) -> None:
    """A model that was judged on rows it has learned is found out, even if the rows are the features'."""
    params = workspace("temporal")
    learned_until("test", 0.3)
    assert failed(judge("predictions", params)).keys() == {"test_rows_of_features"}


def test_a_champion_that_goes_on_has_no_rows_that_it_learned(workspace: Enter) -> None:
    """All validation rows may be learned already, and LR may be missing: nothing fails."""
    params = workspace("temporal")
    learned_until("valid", 1.0)
    edit(PREDICTIONS / "valid.parquet", lambda table: table.slice(0, 0))
    edit(TEST, lambda table: table.drop_columns("lr"))
    evaluation = read_json(HERE.evaluation)
    evaluation["floors"]["lr"] = None
    write_json(HERE.evaluation, evaluation)
    assert not failed(judge("predictions", params))


def test_held_out_users_are_never_learned(workspace: Enter) -> None:
    """Under by_user, times decide nothing."""
    params = workspace("by_user")
    learned_until("test", 0.3)
    assert not failed(judge("predictions", params))
