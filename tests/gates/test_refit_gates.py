"""Gates on the shipped model."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.workspace import Workspace
from tests.factories.documents_of import DIGEST
from tests.factories.run import edit, find, going_on, judge, probabilities, set_gate, shut

DAYS = [{"day": "2024-10-13", "rows": 1200, "auc": 0.7, "gauc": 0.7, "log_loss": 0.6, "loss": 0.6}]


def ship(run, **columns: np.ndarray) -> None:
    """Let the shipped model have learned the rows of a lesson, and replace predictions of these rows."""
    run.days = DAYS
    run.crossfit = {"folds": 2, "after": "2024-10-12T00:00:00+00:00", "rows": 1200}
    run.finish()
    path = run.here.crossfit / "predictions.parquet"
    rows = pq.read_table(path)
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(rows, path)
    run.bundle()


def shorten(path: Path) -> None:
    """Leave out the first row of a file of predictions."""
    pq.write_table(pq.read_table(path).slice(1), path)


OTHER_REFIT = {
    "shipped": lambda here: edit(here.refit, lambda report: report | {"shipped": DIGEST}),
    **{
        name: lambda here, name=name: edit(here.refit, lambda report: report | {name: "2024-10-04T00:00:00+00:00"})
        for name in ("seen_until", "judged_until")
    },
    "the shipped model here": lambda here: (here.shipped / "weights.safetensors").write_text("another model"),
    "the cross-fitted predictions": lambda here: shorten(here.crossfit / "predictions.parquet"),
}


@pytest.mark.parametrize("what", OTHER_REFIT)
def test_a_bundle_of_another_refit_is_closed(what: str, workspace: Workspace, run, quick) -> None:
    """The report, the bundle, the shipped model and its predictions must belong together."""
    OTHER_REFIT[what](workspace)
    report = judge(workspace, quick)
    assert shut(report) == ["refit"]
    assert "not exported after this refit: " in find(report, "refit")["reason"]
    assert f"{what} was" in find(report, "refit")["reason"] or what == "shipped"


def sharpened(run, share: float) -> np.ndarray:
    """Return the judged model's predictions, moved towards the labels by a share of their variance."""
    judged = probabilities(run.noise, run.rows["item"])
    return judged + np.where(run.rows["label"] == 1, share, -share) * judged * (1 - judged)


def test_a_lesson_may_sharpen_the_predictions(workspace: Workspace, run, quick) -> None:
    """A model that has learned all rows knows them better than models that have learned a part."""
    ship(run, taught=sharpened(run, 0.03), shipped=sharpened(run, 0.05))
    found = find(judge(workspace, quick), "shipped")
    assert (found["verdict"], found["reason"]) == ("open", None) and found["observed"] > 0


@pytest.mark.parametrize("harm", ["collapse", "flipped", "overshot", "moved rows"])
def test_a_model_that_broke_on_its_way_is_closed(harm: str, workspace: Workspace, run, quick) -> None:
    """The shipped model is certainly worse than its stand-ins on rows that all have learned."""
    taught = sharpened(run, 0.05)
    moved = np.random.default_rng(0).permutation(taught)
    overshot = 1 / (1 + np.exp(-20 * np.log(taught / (1 - taught))))
    broken = {"collapse": np.full(len(taught), 0.02), "flipped": 1 - taught, "overshot": overshot, "moved rows": moved}
    ship(run, taught=taught, shipped=broken[harm])
    report = judge(workspace, quick)
    assert shut(report) == ["shipped"]
    assert "predicts them worse than models that learned a part or nothing of them" in find(report, "shipped")["reason"]


@pytest.mark.parametrize("mean", [0.3, 0.72])
def test_a_lesson_that_spoils_the_calibration_is_closed(mean: float, workspace: Workspace, run, quick) -> None:
    """Rows that are ranked and told apart better don't excuse a mean far from the click rate."""
    clicked, shown = (0.95, mean * 2 - 0.95) if mean > 0.5 else (mean * 2 - 0.05, 0.05)
    ship(run, shipped=np.where(run.rows["label"] == 1, clicked, shown))
    report = judge(workspace, quick)
    assert shut(report) == ["shipped"]
    assert "has learned these rows and is miscalibrated on them" in find(report, "shipped")["reason"]


def test_a_shipped_score_that_is_no_number_is_closed(workspace: Workspace, run, quick) -> None:
    """NaN is never in a model that serves."""
    ship(run, shipped=np.full(1200, np.nan))
    found = find(judge(workspace, quick), "shipped")
    assert (found["verdict"], found["evaluated"]) == ("closed", False)


def test_a_lesson_that_harms_is_closed_without_a_champion(workspace: Workspace, run, quick) -> None:
    """Models that learned a part of it are certainly worse than the judged model, which beats the floors by far."""
    run.noise = 0.1
    worse = probabilities(1.0, run.rows["item"])
    ship(run, prediction=worse, taught=worse, shipped=worse)
    report = judge(workspace, quick)
    assert shut(report) == ["lesson_delta_auc"]
    assert find(report, "lesson_delta_auc")["verdict"] == "closed"
    assert "is certain" in find(report, "lesson_delta_auc")["reason"]


def test_an_undecided_lesson_is_not_open(workspace: Workspace, run, quick) -> None:
    """A first model ships only if its lesson is known to lose less than the margin."""
    run.noise = 0.3
    other = probabilities(0.31, run.rows["item"])
    ship(run, prediction=other, taught=other, shipped=other)
    found = find(judge(workspace, set_gate(quick, margin=0.0001)), "lesson_delta_auc")
    low, high = found["interval"]
    assert low < -0.0001 < high and found["verdict"] == "borderline"


def test_a_candidate_that_goes_on_needs_no_proof_of_its_lesson(workspace: Workspace, run, quick) -> None:
    """The comparison with the champion is this proof, since the lesson began with a champion."""
    names = {one["name"] for one in judge(workspace, going_on(run, quick, "a" * 64, "a" * 64))["gates"]}
    assert "lesson_delta_auc" not in names
