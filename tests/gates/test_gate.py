"""The gate: every fault closes its own gate and no other."""

import math

import pyarrow.parquet as pq
import pytest

from din.artifacts import hash_tree, read_json
from din.errors import InputError
from din.gates.gate import gate
from din.gates.verdict import overall
from din.workspace import Workspace
from tests.factories.documents_of import DIGEST
from tests.factories.run import edit, find, judge, probabilities, score, set_gate, shut

FIRST_RUN = {
    "made_from",
    "no_earlier_champion",
    "implausible_gain",
    "validation_raw",
    "validation_features",
    "validation_predictions",
    "evaluation",
    "min_auc",
    "min_gauc",
    "calibration",
    "parity",
    "refit",
    "shipped",
    "lesson_delta_auc",
    "bundle_mb",
    "auc_over_popularity",
    "auc_over_lr",
    "slice_auc",
    "slice_calibration",
}


def test_first_run_opens(workspace: Workspace, run, quick, registry, capsys):
    """With sound evidence and no champion, the gate is open; the report has keys that others read, and no clock."""
    version = run.finish()
    report = judge(workspace, quick)
    assert (report["verdict"], report["bundle"], report["champion"]) == ("open", version, None)
    assert {g["name"] for g in report["gates"]} == FIRST_RUN
    for g in report["gates"]:
        assert {"name", "observed", "threshold", "interval", "verdict", "look"} <= g.keys()
        assert g["look"]
    assert find(report, "min_auc")["observed"] == pytest.approx(read_json(workspace.evaluation)["test"]["auc"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in FIRST_RUN)
    first = workspace.gate.read_bytes()
    other = judge(workspace, set_gate(quick, metrics=("gauc",)))
    assert find(other, "gauc_over_popularity")["verdict"] == "open" and other["metrics"] == ["gauc"]
    judge(workspace, quick)
    assert workspace.gate.read_bytes() == first


FAULTS = {
    "validation_raw": lambda w: edit(w.here.validation("raw"), lambda r: r | {"verdict": "closed"}),
    "validation_features": lambda w: (w.here.features / "rows.txt").write_text("changed after it was judged"),
    "validation_predictions": lambda w: (w.here.predictions / "valid.parquet").write_text("came later"),
    "evaluation": lambda w: edit(w.here.evaluation, lambda e: e["test"].update(auc=0.99)),
    "parity": lambda w: edit(w.here.parity, lambda p: p | {"verdict": "closed"}),
    "parity of another bundle": lambda w: edit(w.here.parity, lambda p: p | {"bundle": "0" * 64}),
    "auc_over_popularity": lambda w: (w.rows.update(popularity=probabilities(0, w.rows["item"])), w.finish()),
    "auc_over_lr": lambda w: (w.rows.update(lr=probabilities(0, w.rows["item"])), w.finish()),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_closes_its_gate_alone(workspace: Workspace, run, quick, name):
    """A fault planted in one report closes exactly one gate, which names it."""
    run.become(1.0)
    FAULTS[name](run)
    assert shut(judge(workspace, quick)) == [name.partition(" ")[0]]


LIMITS = {
    "min_auc": {"min_auc": 0.95},
    "min_gauc": {"min_gauc": 0.95},
    "calibration": {"calibration": (0.7, 0.8)},
    "bundle_mb": {"max_bundle_mb": 1e-5},
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_closes_its_gate_alone(workspace: Workspace, run, quick, name):
    """Each limit of params.yaml closes its own gate."""
    report = judge(workspace, set_gate(quick, **LIMITS[name]))
    assert shut(report) == [name] and find(report, name)["verdict"] == "closed"


FIGURES = {
    "predictions/test.parquet": {"validation_predictions", "evaluation", "auc_over_popularity", "auc_over_lr"},
    "crossfit/predictions.parquet": {"refit", "min_auc", "min_gauc", "calibration", "slice_auc", "slice_calibration"},
}
"""The gates that need a file of predictions, beside `implausible_gain`, which needs both."""


@pytest.mark.parametrize("file", FIGURES)
@pytest.mark.parametrize("fault", ["missing", "no column", "no rows", "NaN"])
def test_unusable_predictions_close_every_figure(workspace: Workspace, run, quick, fault, file):
    """If the predictions can't give a figure, none is invented, and its gate is closed."""
    path = workspace.reports / file
    rows = pq.read_table(path)
    if fault == "missing":
        path.unlink()
    elif fault == "no column":
        pq.write_table(rows.drop_columns(["label"]), path)
    elif fault == "no rows":
        pq.write_table(rows.slice(0, 0), path)
    else:
        pq.write_table(rows.drop_columns(["prediction"]).append_column("prediction", [[math.nan] * len(rows)]), path)
    report = judge(workspace, quick)
    figures = FIGURES[file] | {"implausible_gain"}
    assert set(shut(report)) - {"shipped"} == figures
    assert all(find(report, name)["verdict"] == "closed" for name in figures)


def test_evaluation_must_follow_from_the_predictions(workspace: Workspace, run, quick):
    """A bundle that copied a wrong evaluation.json does not make it right."""
    edit(workspace.evaluation, lambda e: e["test"].update(auc=e["test"]["auc"] + 1e-3))
    run.bundle()
    report = judge(workspace, quick)
    assert shut(report) == ["evaluation"]
    assert find(report, "evaluation")["observed"] == pytest.approx(1e-3)


def test_evaluation_must_be_of_the_model_in_the_bundle(workspace: Workspace, run, quick):
    """After a new training and export without `din evaluate`, an older model's figures promote nothing."""
    run.facts["inputs"] = read_json(workspace.evaluation)["inputs"]
    run.facts["inputs"] |= {"raw": hash_tree(workspace.raw), "shipped": hash_tree(workspace.shipped), "model": DIGEST}
    run.bundle()
    report = judge(workspace, quick)
    assert shut(report) == ["evaluation", "refit"]
    assert "another model" in find(report, "evaluation")["reason"]


@pytest.mark.parametrize("name", ["raw", "features"])
def test_the_bundle_must_be_made_from_validated_data(workspace: Workspace, run, quick, name):
    """Log or features that changed after export, and were validated again, close the gate."""
    inputs = {part: hash_tree(workspace.root / "data" / part) for part in ("raw", "features")}
    run.facts["inputs"] = read_json(workspace.evaluation)["inputs"] | inputs | {name: DIGEST}
    run.bundle()
    assert f"validation_{name}" in shut(judge(workspace, quick))


def test_bundle_must_carry_this_evaluation(workspace: Workspace, run, quick):
    """The recorded metrics choose later anchors, so another valid block demands another export."""
    edit(workspace.evaluation, lambda e: e["valid"].update(auc=0.1))
    report = judge(workspace, quick)
    assert shut(report) == ["evaluation"]
    assert "exported with another" in find(report, "evaluation")["reason"]


def test_borderline_blocks_but_stays_borderline(workspace: Workspace, run, quick):
    """If the floor lies inside the interval, the verdict is borderline, and the exit code is that of a closed gate."""
    auc = read_json(workspace.evaluation)["test"]["auc"]
    report = judge(workspace, set_gate(quick, min_auc=auc))
    assert report["verdict"] == "borderline" and shut(report) == ["min_auc"]
    assert overall([]) == "closed"


def test_unreadable_registry_is_bad_input(workspace: Workspace, run, quick):
    """A registry that can't be reached is exit 2 and leaves no gate report, so that a retry suffices."""
    (workspace.root / "registry").write_text("a file")
    with pytest.raises(InputError, match="registry"):
        gate(workspace, quick, score)
    assert not workspace.gate.exists()


def test_a_report_holds_no_nan(workspace: Workspace, run, quick):
    """With one class only, figures are null and gates closed."""
    run.rows["label"][:] = 0
    run.finish()
    found = find(judge(workspace, quick), "min_auc")
    assert (found["observed"], found["interval"], found["verdict"]) == (None, [None, None], "closed")
