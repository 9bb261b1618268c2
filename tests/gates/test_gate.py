"""The gate and its report: a first run, predictions that give no figure, and a registry that can't be read."""

import math

import pyarrow.parquet as pq
import pytest

from din.artifacts import read_json
from din.errors import InputError
from din.gates.gate import gate
from din.gates.verdict import overall
from din.workspace import Workspace
from tests.factories.run import find, judge, score, set_gate, shut

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


FIGURES = {
    "predictions/test.parquet": {"validation_predictions", "evaluation", "auc_over_popularity", "auc_over_lr"},
    "crossfit/predictions.parquet": {"refit", "min_auc", "min_gauc", "calibration", "slice_auc", "slice_calibration"},
}
"""The gates that need a file of predictions, beside `implausible_gain`, which needs both."""


@pytest.mark.parametrize("file", FIGURES)
@pytest.mark.parametrize("fault", ["missing", "NaN"])
def test_unusable_predictions_close_every_figure(workspace: Workspace, run, quick, fault, file):
    """If the predictions can't give a figure, none is invented, and its gate is closed."""
    path = workspace.reports / file
    rows = pq.read_table(path)
    if fault == "missing":
        path.unlink()
    else:
        pq.write_table(rows.drop_columns(["prediction"]).append_column("prediction", [[math.nan] * len(rows)]), path)
    report = judge(workspace, quick)
    figures = FIGURES[file] | {"implausible_gain"}
    assert set(shut(report)) - {"shipped"} == figures
    assert all(find(report, name)["verdict"] == "closed" for name in figures)


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
