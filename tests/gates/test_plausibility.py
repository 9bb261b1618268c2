"""Gains too good to be true, and reports that prove nothing."""

from dataclasses import replace

import numpy as np
import pytest

from din.gates import plausibility
from din.params import to_json
from din.workspace import Workspace
from tests.factories.run import challenge, crown, edit, find, judge, set_gate, shut


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
def test_a_continued_champion_is_bound_in_full(workspace: Workspace, run, quick, made, closed):
    """params.yaml may pin the beginning of a version; training records the full version."""
    params = replace(quick, train=replace(quick.train, start="champion", champion="ab12ab12"))
    trained = to_json(quick.train) | {"start": "champion", "champion": made}
    run.facts |= {"params": {"data": quick.data.window(), "featurize": to_json(quick.featurize), "train": trained}}
    run.bundle()
    assert shut(judge(workspace, params)) == (["made_from"] if closed else [])


SUITE_FAULTS = {
    "one left out": lambda report: report["expectations"].pop(),
    "failed but open": lambda report: report["expectations"][0].update(success=False),
    "failed, as a warning": lambda report: report["expectations"][0].update(success=False, severity="warning"),
    "figure beyond its limit": lambda report: report["expectations"][0].update(observed=7),
    "other thresholds": lambda report: report["params"].clear(),
}


@pytest.mark.parametrize("fault", SUITE_FAULTS)
def test_a_report_that_proves_nothing_closes_its_gate_alone(workspace: Workspace, run, quick, fault):
    """The verdict of a report is not trusted: it must follow from the expectations that have to be there."""
    edit(workspace.validation("features"), SUITE_FAULTS[fault])
    assert shut(judge(workspace, quick)) == ["validation_features"]
