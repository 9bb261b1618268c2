"""Gates on slices and drift: which slices are judged, and what excuses a candidate."""

import numpy as np
import pytest

from din.workspace import Workspace
from tests.factories.run import Run, challenge, crown, find, judge, probabilities, set_gate, shut


def newcomers(run: Run) -> np.ndarray:
    """Mark the rows of one slice, a tenth of all: impressions without history."""
    return run.rows["history_length"] == 0


def spoiled(run: Run) -> np.ndarray:
    """Return a good model's predictions, reversed where the history is empty."""
    p = probabilities(run.noise, run.rows["item"])
    return np.where(newcomers(run), 1 - p, p)


def test_a_worse_calibrated_champion_excuses(workspace: Workspace, run, quick, registry):
    """If the champion is farther off on the same rows, keeping it would not help; if it is not, the gates close."""
    shifted = 1 - 0.2 * (1 - probabilities(run.noise, run.rows["item"]))
    crown(registry, run)
    run.noise = 0.1
    p = probabilities(run.noise, run.rows["item"])
    run.finish(1 - 0.5 * (1 - p))
    wide = set_gate(quick, max_prediction_drift=10.0)
    report = judge(workspace, wide, lambda workspace, bundle, rows: shifted)
    assert shut(report) == []
    assert "the champion is farther from 1" in find(report, "calibration")["reason"]
    assert ", 0 excused" not in find(report, "slice_calibration")["reason"]
    assert {"calibration", "slice_calibration"} <= set(shut(judge(workspace, wide)))


@pytest.mark.parametrize("least", [120, 121])
def test_small_slices_are_not_judged(workspace: Workspace, run, quick, least):
    """The faulty slice has 120 rows; with a higher minimum it is only counted."""
    run.finish(spoiled(run))
    report = judge(workspace, set_gate(quick, min_slice_rows=least))
    assert shut(report) == (["slice_auc"] if least == 120 else [])
    assert "too small" in find(report, "slice_auc")["reason"]


def test_slice_of_one_class_is_not_judged(workspace: Workspace, run, quick):
    """Without a click among newcomers, there is no AUC and no alarm."""
    run.rows["label"][newcomers(run)] = 0
    run.finish(np.where(newcomers(run), 1e-3, probabilities(run.noise, run.rows["item"])))
    assert shut(judge(workspace, quick)) == []


def test_unreadable_features_close_the_slices(workspace: Workspace, run, quick):
    """Without features, rows can't be assigned to slices, so the gates are closed."""
    (workspace.features / "manifest.json").unlink()
    report = judge(workspace, quick)
    assert set(shut(report)) == {"validation_features", "slice_auc", "slice_calibration"}
    assert "manifest.json" in find(report, "slice_auc")["reason"]


def test_drift_confirmed_by_labels_opens(workspace: Workspace, run, quick, registry):
    """If the champion was squeezed and the candidate is not, the candidate differs and is better."""
    p = probabilities(run.noise, run.rows["item"])
    challenge(registry, run)
    report = judge(workspace, quick, lambda workspace, bundle, rows: p.mean() + (p - p.mean()) * 0.4)
    found = find(report, "prediction_drift")
    assert found["verdict"] == "open" and found["observed"] > found["threshold"]
    assert "log loss -" in found["reason"]
