"""The metrics and tables that DVC compares. Alone: `pytest tests/train/test_plots.py`."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from din.facts import SliceMetrics
from din.metrics.calibration import bin_of_rows
from din.train.plots import write_tables
from din.train.results import Epoch
from tests.factories import documents_of

ROOT = Path(__file__).parent.parent.parent
SLICES = [SliceMetrics(**documents_of.METRICS | {"by": "tab", "value": "home"})]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities of 1,000 rows."""
    random = np.random.default_rng(3)
    p = random.random(1000)
    return random.random(1000) < p, p


@given(st.lists(st.sampled_from([0.1, 0.2, 0.2000001, 0.9]), max_size=50), st.integers(1, 12))
def test_equal_predictions_share_a_bin(predictions: list[float], bins: int) -> None:
    """A bin follows from the prediction alone, grows with it, and lies within the number of bins."""
    number = bin_of_rows(predictions, bins)
    of_prediction: dict[float, set[int]] = {}
    for prediction, one in zip(predictions, number, strict=True):
        of_prediction.setdefault(prediction, set()).add(int(one))
    assert all(len(found) == 1 for found in of_prediction.values())
    ordered = [found.pop() for _, found in sorted(of_prediction.items())]
    assert ordered == sorted(ordered)
    assert all(0 <= one < bins for one in ordered)


def test_dvc_draws_what_is_written(scored: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """Every file that dvc.yaml plots is written by a stage and has the columns."""
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
    outs = {out for stage in pipeline["stages"].values() for out in stage.get("outs", []) if isinstance(out, str)}
    write_tables(tmp_path, SLICES, *scored)
    columns = {f"reports/plots/{path.name}": set(table(path)[0]) for path in tmp_path.iterdir()}
    columns["reports/training/summary.json"] = set(Epoch.model_fields)
    drawn = set()
    for plot in (settings for entry in pipeline["plots"] for settings in entry.values()):
        for path, names in plot["y"].items():
            drawn.add(path)
            assert {plot["x"], *([names] if isinstance(names, str) else names)} <= columns[path]
            assert any(path == out or path.startswith(f"{out}/") for out in outs)
    assert drawn == columns.keys()
