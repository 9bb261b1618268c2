"""The gate: every fault closes its own gate and no other. Alone: pytest tests/promotion/test_gate.py."""

import math
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from documents_of import DIGEST
from judging import find, judge, set_gate, shut
from miniature import edit, probabilities, score

from din.artifacts import hash_tree, read_json, write_json
from din.errors import InputError
from din.metrics import Interval
from din.promotion.gate import REPORT, gate
from din.promotion.verdict import not_outside, overall, within

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
    "bundle_mb",
    "auc_over_popularity",
    "auc_over_lr",
    "slice_auc",
    "slice_calibration",
}


def test_first_run_opens(workspace, quick, registry, capsys):
    """All evidence green and no champion: open, with the keys that others read."""
    version = workspace.finish()
    report = judge(quick)
    assert (report["verdict"], report["bundle"], report["champion"]) == ("open", version, None)
    assert {g["name"] for g in report["gates"]} == FIRST_RUN
    for g in report["gates"]:
        assert {"name", "observed", "threshold", "interval", "verdict", "look"} <= g.keys()
        assert g["look"]
    assert find(report, "min_auc")["observed"] == pytest.approx(
        read_json(Path("reports/evaluation.json"))["test"]["auc"]
    )
    printed = capsys.readouterr().out
    assert all(name in printed for name in FIRST_RUN)


FAULTS = {
    "validation_raw": lambda w: edit("reports/validation/raw.json", lambda r: r | {"verdict": "closed"}),
    "validation_features": lambda w: Path("data/features/rows.txt").write_text("changed after it was judged"),
    "validation_predictions": lambda w: Path("reports/predictions/valid.parquet").write_text("came later"),
    "evaluation": lambda w: edit("reports/evaluation.json", lambda e: e["test"].update(auc=0.99)),
    "parity": lambda w: edit("reports/parity.json", lambda p: p | {"verdict": "closed"}),
    "auc_over_popularity": lambda w: (w.rows.update(popularity=probabilities(0, w.rows["item"])), w.finish()),
    "auc_over_lr": lambda w: (w.rows.update(lr=probabilities(0, w.rows["item"])), w.finish()),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_closes_its_gate_alone(workspace, quick, name):
    """A planted fault in one report, and exactly one gate that says so."""
    workspace.noise = 1.0
    workspace.finish()
    FAULTS[name](workspace)
    assert shut(judge(quick)) == [name]


LIMITS = {
    "min_auc": {"min_auc": 0.95},
    "min_gauc": {"min_gauc": 0.95},
    "calibration": {"max_calibration": 0.8},
    "bundle_mb": {"max_bundle_mb": 1e-5},
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_closes_its_gate_alone(workspace, quick, name):
    """Each limit of params.yaml is looked at."""
    report = judge(set_gate(quick, **LIMITS[name]))
    beside = {"slice_calibration"} if name == "calibration" else set()  # the same limits, on slices
    assert set(shut(report)) == {name} | beside and find(report, name)["verdict"] == "closed"


@pytest.mark.parametrize("name", ["validation/raw", "validation/features", "validation/predictions", "parity"])
@pytest.mark.parametrize("fault", ["missing", "not JSON", "other JSON", "without keys"])
def test_unreadable_report_is_a_closed_gate(workspace, quick, name, fault):
    """Never a traceback: the gate of that report is closed and says why."""
    path = Path(f"reports/{name}.json")
    if fault == "missing":
        path.unlink()
    else:
        path.write_text({"not JSON": "{", "other JSON": "[1]", "without keys": "{}"}[fault])
    report = judge(quick)
    assert shut(report) == [name.replace("/", "_")]
    assert "can't be evaluated" in find(report, shut(report)[0])["reason"]


@pytest.mark.parametrize("fault", ["missing", "truncated", "no column", "no rows", "NaN"])
def test_unusable_predictions_close_every_figure(workspace, quick, fault):
    """No figure is invented where the predictions can't give one."""
    path = Path("reports/predictions/test.parquet")
    rows = pq.read_table(path)
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif fault == "no column":
        pq.write_table(rows.drop_columns(["label"]), path)
    elif fault == "no rows":
        pq.write_table(rows.slice(0, 0), path)
    else:
        pq.write_table(rows.drop_columns(["prediction"]).append_column("prediction", [[math.nan] * len(rows)]), path)
    report = judge(quick)
    figures = {"evaluation", "min_auc", "min_gauc", "calibration", "auc_over_popularity", "auc_over_lr"}
    figures |= {"slice_auc", "slice_calibration", "implausible_gain"}
    assert set(shut(report)) == figures | {"validation_predictions"}
    assert all(find(report, name)["verdict"] == "closed" for name in figures)


@pytest.mark.parametrize("fault", ["missing", "byte flipped", "file added"])
def test_damaged_bundle_closes(workspace, quick, fault):
    """Without a sound bundle there is no version to promote."""
    if fault == "missing":
        shutil.rmtree("models/bundle")
    elif fault == "file added":
        Path("models/bundle/extra").write_text("x")
    else:
        edit("models/bundle/model.json", lambda model: {"noise": 0.3})
    report = judge(quick)
    assert report["bundle"] is None
    assert {"parity", "bundle_mb"} <= set(shut(report))


def test_parity_of_another_bundle_is_closed(workspace, quick):
    """An open report about yesterday's bundle proves nothing about today's."""
    edit("reports/parity.json", lambda p: p | {"bundle": "0" * 64})
    assert shut(judge(quick)) == ["parity"]


def test_evaluation_must_follow_from_the_predictions(workspace, quick):
    """A bundle that copied a wrong evaluation.json doesn't make it right."""
    edit("reports/evaluation.json", lambda e: e["test"].update(auc=e["test"]["auc"] + 1e-3))
    workspace.bundle()
    report = judge(quick)
    assert shut(report) == ["evaluation"]
    assert find(report, "evaluation")["observed"] == pytest.approx(1e-3)


def test_evaluation_must_be_of_the_bundle_s_model(workspace, quick):
    """Trained and exported again without `din evaluate`: good figures of an older model promote nothing."""
    workspace.facts["inputs"] = read_json(Path("reports/evaluation.json"))["inputs"]
    workspace.facts["inputs"] |= {"raw": hash_tree(Path("data/raw")), "model": DIGEST}
    workspace.bundle()
    report = judge(quick)
    assert shut(report) == ["evaluation"]
    assert "another model" in find(report, "evaluation")["reason"]


@pytest.mark.parametrize("name", ["raw", "features"])
def test_the_bundle_must_be_made_from_what_was_validated(workspace, quick, name):
    """The log or the features changed after export, and were validated again."""
    inputs = {part: hash_tree(Path("data", part)) for part in ("raw", "features")}
    workspace.facts["inputs"] = read_json(Path("reports/evaluation.json"))["inputs"] | inputs | {name: DIGEST}
    workspace.bundle()
    assert f"validation_{name}" in shut(judge(quick))


def test_bundle_must_carry_this_evaluation(workspace, quick):
    """Its recorded metrics choose later anchors: another valid block means another export."""
    edit("reports/evaluation.json", lambda e: e["valid"].update(auc=0.1))
    report = judge(quick)
    assert shut(report) == ["evaluation"]
    assert "exported with another" in find(report, "evaluation")["reason"]


def test_borderline_blocks_but_stays_borderline(workspace, quick):
    """The floor lies inside the interval: too few rows to tell, which exits as closed."""
    auc = read_json(Path("reports/evaluation.json"))["test"]["auc"]
    report = judge(set_gate(quick, min_auc=auc))
    assert report["verdict"] == "borderline" and shut(report) == ["min_auc"]


def test_gauc_gates_where_params_say_so(workspace, quick):
    """`gate.metric: gauc` compares GAUC."""
    report = judge(set_gate(quick, metric="gauc"))
    assert find(report, "gauc_over_popularity")["verdict"] == "open"
    assert report["metric"] == "gauc"


def test_unreadable_registry_is_bad_input(workspace, quick):
    """A registry that can't be reached is exit 2 and leaves no gate report: retry, don't retrain."""
    Path("registry").write_text("a file")
    with pytest.raises(InputError, match="registry"):
        gate(quick, score)
    assert not REPORT.exists()


def test_margin_decides():
    """Open above, closed below, borderline around; an undefined bound is closed under every rule."""
    assert within(Interval(0, -0.001, 0.1), -0.002) == "open"
    assert within(Interval(0, -0.1, 0.1), -0.002) == "borderline"
    assert within(Interval(0, -0.1, -0.01), -0.002) == "closed"
    assert within(Interval(1, 0.9, 1.1), 0.7, 1.4) == "open"
    assert within(Interval(1, 0.9, 1.5), 0.7, 1.4) == "borderline"
    assert within(Interval(1, 1.5, 1.6), 0.7, 1.4) == "closed"
    assert not_outside(Interval(0, -0.1, 0.1), 0) == "open"
    assert not_outside(Interval(0, -0.1, -0.01), 0) == "closed"
    assert not_outside(Interval(1, 0.9, 1.5), 0.7, 1.4) == "open"
    assert not_outside(Interval(2, 1.5, 2.5), 0.7, 1.4) == "closed"
    assert not_outside(Interval(0.5, 0.4, 0.6), 0.7, 1.4) == "closed"
    undefined = Interval(0.9, math.nan, math.nan)
    assert within(undefined, 0.5) == within(undefined, 0.7, 1.4) == not_outside(undefined, 0) == "closed"


def test_overall_is_the_worst():
    """No gate at all is closed, too."""
    gates = [{"verdict": v} for v in ("open", "borderline", "closed")]
    assert overall(gates) == "closed"
    assert overall(gates[:2]) == "borderline"
    assert overall(gates[:1]) == "open"
    assert overall([]) == "closed"


def test_report_has_no_clock(workspace, quick):
    """The same workspace and registry give the same bytes."""
    judge(quick)
    first = REPORT.read_bytes()
    judge(quick)
    assert REPORT.read_bytes() == first


def test_write_json_of_a_report_never_holds_nan(workspace, quick):
    """One class only: figures are null, gates closed."""
    workspace.rows["label"][:] = 0
    workspace.finish()
    report = judge(quick)
    assert find(report, "min_auc")["observed"] is None and find(report, "min_auc")["interval"] == [None, None]
    write_json(Path("again.json"), report)
