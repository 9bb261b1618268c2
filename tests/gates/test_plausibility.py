"""Gains too good to be true, and bundles of other parameters."""

from dataclasses import replace

import numpy as np
import pytest

from din.gates import plausibility
from din.params import to_json
from din.workspace import Workspace
from tests.factories.run import crown, find, judge, set_gate, shut


def test_the_gain_over_lr_of_a_first_run(workspace: Workspace, run, quick, monkeypatch):
    """Without a champion, the gain over LR has a limit of its own."""
    monkeypatch.setattr(plausibility, "MAX_GAIN_OVER_LR", 0.01)
    report = judge(workspace, quick)
    assert shut(report) == ["implausible_gain"] and "AUC over LR's" in find(report, "implausible_gain")["reason"]


def test_a_bundle_of_another_rule_for_a_click_is_closed(workspace: Workspace, run, quick):
    """The reason names the key of the log that differs from today's params.yaml."""
    report = judge(workspace, replace(quick, fetch=replace(quick.fetch, options={"positive_rating": 5.0})))
    assert shut(report) == ["made_from"]
    assert "fetch.movielens-100k.positive_rating was 4.0, is 5.0" in find(report, "made_from")["reason"]


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


@pytest.mark.parametrize(("made", "closed"), [("ab12" * 16, False), ("cd34" * 16, True)], ids=["it", "another"])
def test_a_continued_champion_is_bound_in_full(workspace: Workspace, run, quick, made, closed):
    """params.yaml may pin the beginning of a version; training records the full version."""
    params = replace(quick, train=replace(quick.train, start="champion", champion="ab12ab12"))
    trained = to_json(quick.train) | {"start": "champion", "champion": made}
    run.facts |= {"params": {"data": quick.data.window(), "featurize": to_json(quick.featurize), "train": trained}}
    run.bundle()
    assert shut(judge(workspace, params)) == (["made_from"] if closed else [])
