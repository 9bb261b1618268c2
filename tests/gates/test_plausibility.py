"""Gains too good to be true, and reports that prove nothing."""

from dataclasses import replace

import numpy as np
import pytest
from judging import challenge, crown, find, judge, set_gate, shut
from miniature import edit, score

from din.errors import GateClosed
from din.gates import plausibility
from din.params import to_json
from din.promotion.promote import promote
from din.reports import ALWAYS
from din.workspace import Workspace


def strongest(report: dict) -> None:
    """Let a suite's report name the strongest field."""
    (leak,) = (entry for entry in report["expectations"] if entry["name"] == "label_leak")
    leak.update(column="play_time", observed=0.83, threshold={"max": 0.9})


def test_a_leap_over_the_champion_is_held(workspace: Workspace, run, quick, registry):
    """A model that knows the labels is worse on no figure but held, and the reason names the strongest field."""
    run.become(2.0)
    challenge(registry, run, 0.0)
    edit(workspace.validation("features"), strongest)
    report = judge(workspace, set_gate(quick, max_gain=0.05))
    held = find(report, "implausible_gain")
    assert report["verdict"] == "borderline" and shut(report) == ["implausible_gain"]
    assert held["observed"] > 0.05 and "AUC over the champion's" in held["reason"]
    assert "'play_time', its AUC at least 0.83" in held["reason"] and "gate.max_gain" in held["reason"]


@pytest.mark.parametrize(("max_auc", "over_lr", "words"), [(0.7, 0.35, "AUC 0.7"), (0.95, 0.01, "AUC over LR's")])
def test_limits_of_a_first_run(workspace: Workspace, run, quick, max_auc, over_lr, words, monkeypatch):
    """Without a champion, the AUC and the gain over LR are judged."""
    monkeypatch.setattr(plausibility, "MAX_GAIN_OVER_LR", over_lr)
    report = judge(workspace, set_gate(quick, max_auc=max_auc))
    assert shut(report) == ["implausible_gain"] and words in find(report, "implausible_gain")["reason"]


@pytest.mark.parametrize("rolled_back", [False, True])
def test_a_leap_of_the_gain_over_lr_is_held(rolled_back: bool, workspace: Workspace, run, quick, registry):
    """The champion's recorded gain over LR was smaller. A champion that was rolled back for a leak does not count."""
    crown(registry, run)
    run.rows["lr"] = np.full(len(run.rows["label"]), 0.5)
    run.become(0.1)
    if rolled_back:
        crown(registry, run)
        registry.rollback(1, "ann", "a leak")
        run.become(0.05)
    report = judge(workspace, set_gate(quick, max_gain=0.1))
    assert "gain over LR beyond every recent champion's" in find(report, "implausible_gain")["reason"]


OTHER = {
    "namespace": ({"model_name": "other"}, lambda fetch: {}, "promote.model_name"),
    "window": (
        {"params": {"data": {"window_days": 9, "history_days": None}, "featurize": {}, "train": {}}},
        lambda fetch: {},
        "data.window_days",
    ),
    "rule for a click": (
        {},
        lambda fetch: {"options": {"positive_rating": 5.0}},
        "fetch.movielens-100k.positive_rating was 4.0, is 5.0",
    ),
    "source": ({}, lambda fetch: {"source": "table"}, "fetch.source was 'movielens-100k', is 'table'"),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_bundle_of_other_parameters_is_closed(workspace: Workspace, run, quick, what):
    """The reason names the keys of bundle and log that differ from today's params.yaml."""
    made, now, key = OTHER[what]
    run.facts |= made
    run.bundle()
    fetch = replace(quick.fetch, **now(quick.fetch))
    report = judge(workspace, replace(quick, fetch=fetch, promote=replace(quick.promote, model_name=quick.model_name)))
    assert shut(report) == ["made_from"]
    assert key in find(report, "made_from")["reason"]


@pytest.mark.parametrize(("made", "closed"), [("ab12" * 16, False), ("cd34" * 16, True)], ids=["it", "another"])
def test_a_warm_start_is_bound_in_full(workspace: Workspace, run, quick, made, closed):
    """params.yaml may pin the beginning of a version; training records the full version."""
    params = replace(quick, train=replace(quick.train, warm_start="ab12ab12"))
    trained = to_json(quick.train) | {"warm_start": made}
    run.facts |= {"params": {"data": quick.data.window(), "featurize": to_json(quick.featurize), "train": trained}}
    run.bundle()
    assert shut(judge(workspace, params)) == (["made_from"] if closed else [])


SUITE_FAULTS = {
    "emptied": lambda report: report["expectations"].clear(),
    "one left out": lambda report: report["expectations"].pop(),
    "failed but open": lambda report: report["expectations"][0].update(success=False),
    "failed, as a warning": lambda report: report["expectations"][0].update(success=False, severity="warning"),
    "figure beyond its limit": lambda report: report["expectations"][0].update(observed=7),
    "text for a figure": lambda report: report["expectations"][0].update(observed="none"),
    "other thresholds": lambda report: report["params"].clear(),
}


@pytest.mark.parametrize("suite", ALWAYS)
@pytest.mark.parametrize("fault", SUITE_FAULTS)
def test_a_report_without_its_expectations_is_closed(workspace: Workspace, run, quick, suite, fault):
    """The verdict of a report is not trusted: it must follow from the expectations that have to be there."""
    edit(workspace.validation(suite), SUITE_FAULTS[fault])
    assert shut(judge(workspace, quick)) == [f"validation_{suite}"]


EDITS = {
    "all but one gate removed": lambda r: r.update(gates=[g for g in r["gates"] if g["name"] == "bundle_mb"]),
    "a gate added": lambda r: r["gates"].append(r["gates"][0] | {"name": "extra"}),
    "a figure changed": lambda r: find(r, "min_auc").update(observed=0.99),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_report_promotes_nothing(workspace: Workspace, run, quick, registry, name):
    """Every gate is judged again, and the report must agree."""
    judge(workspace, quick)
    edit(workspace.gate, EDITS[name])
    with pytest.raises(GateClosed, match="judged again"):
        promote(workspace, quick, by="eve", reason="mine", score=score)
    assert registry.champion() is None


def test_verdicts_edited_to_open_promote_nothing(workspace: Workspace, run, quick, registry):
    """A closed report with every verdict edited to open promotes nothing."""
    strict = set_gate(quick, min_auc=0.99)
    judge(workspace, strict)

    def open_all(report: dict) -> None:
        report["verdict"] = "open"
        for gate in report["gates"]:
            gate["verdict"] = "open"

    edit(workspace.gate, open_all)
    with pytest.raises(GateClosed, match="judged again, the gate is closed"):
        promote(workspace, strict, by="eve", reason="mine", score=score)
    assert registry.champion() is None


CHANGED = {
    "data/raw/rows.txt": "data.raw",
    "data/features/rows.txt": "data.features",
    "reports/predictions/extra.parquet": "data.predictions",
    "models/din/config.json": "data.model",
    "reports/evaluation.json": "reports.reports/evaluation.json",
    "reports/validation/raw.json": "reports.reports/validation/raw.json",
    "dvc.yaml": "code",
}


@pytest.mark.parametrize("path", CHANGED)
def test_whatever_changed_after_the_gate_is_named(workspace: Workspace, run, quick, registry, path):
    """Data, reports and the pipeline itself are hashed again."""
    judge(workspace, quick)
    with (workspace.root / path).open("a") as file:
        file.write(" ")
    with pytest.raises(GateClosed, match=rf"changed since the gate judged: .*{CHANGED[path]}"):
        promote(workspace, quick, by="ann", reason="nightly", score=score)
    assert registry.champion() is None
