"""The gate with a champion: better, worse, equal, older or damaged."""

import numpy as np
import pytest

from din.errors import Unavailable
from din.gates import evidence
from din.metrics import auc
from din.registry.registry import Registry
from din.workspace import Workspace
from tests.factories.documents_of import PROTOCOL
from tests.factories.run import NEED_SCORES, challenge, crown, find, judge, probabilities, score, set_gate, shut


def test_better_candidate_opens(workspace: Workspace, run, quick, registry):
    """The candidate is compared with the champion on the same rows, which the champion's own bundle scores."""
    run.become(1.0)
    old = challenge(registry, run, 0.2)
    report = judge(workspace, quick)
    assert report["champion"] == {"number": 1, "version": old}
    delta = find(report, "champion_delta_auc")
    assert delta["observed"] > 0.03 and delta["interval"][0] > 0 and delta["rows"] == 1200
    assert not [g for g in report["gates"] if "_over_" in g["name"]]  # first runs alone compare with floors


def test_champion_itself_opens_without_scoring(workspace: Workspace, run, quick, registry):
    """If a rerun reproduced the champion, there is nothing to compare."""
    crown(registry, run)

    def never(workspace, bundle, rows):
        raise AssertionError("scored")

    report = judge(workspace, quick, never)
    assert [find(report, name)["observed"] for name in NEED_SCORES] == [0] * len(NEED_SCORES)
    assert find(report, "bundle_ratio")["observed"] == 1


def test_small_permitted_losses_do_not_add_up(workspace: Workspace, run, quick, registry):
    """If each step loses less than the margin to its champion, the anchor, the best of 90 days, notices the sum."""
    wide = set_gate(quick, margin=0.1, slice_margin=1.0)
    noises = [0.2, 1.0, 1.6, 2.2]
    for noise in noises[:-1]:
        run.become(noise)
        crown(registry, run)
    run.become(noises[-1])
    report = judge(workspace, wide)
    assert shut(report) == ["anchor_delta_auc", "anchor_delta_gauc"]


def test_too_few_users_show_nothing(workspace: Workspace, run, quick, registry):
    """If one user alone clicks, comparisons are closed as undefined, and no reason speaks of a loss or a fall."""
    crown(registry, run)
    run.noise = 0.1
    run.rows["label"] = (np.arange(len(run.rows["label"])) < 5).astype(np.int8)
    run.finish()
    report = judge(workspace, quick)
    for name in ("champion_today", "champion_delta_auc", "champion_delta_gauc"):
        found = find(report, name)
        assert found["verdict"] == "closed" and "undefined: one class only, or fewer than 20 users" in found["reason"]


def test_an_unavailable_registry_gives_no_verdict(workspace: Workspace, run, quick, registry, monkeypatch):
    """If the champion can't be fetched now, the command ends without a closed gate, so that it can be run again."""
    challenge(registry, run)

    def down(*_):
        raise Unavailable("s3://models: no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "fetch", down)
        with pytest.raises(Unavailable):
            judge(workspace, quick)
    assert not workspace.gate.exists()
    assert judge(workspace, quick)["verdict"] == "open"


def test_an_older_log_may_be_allowed(workspace: Workspace, run, quick, registry):
    """`allow_older` waives the gate that a log which ends before the champion's closes, and no other."""
    crown(registry, run)
    run.facts["until"] = "2024-10-12"
    run.become(0.1)
    waived = set_gate(quick, allow_older=True)
    report = judge(workspace, waived)
    assert report["verdict"] == "open"
    assert "waived by gate.allow_older" in find(report, "data_until")["reason"]
    run.become(2.0)
    report = judge(workspace, waived)
    assert "champion_delta_auc" in shut(report) and "data_until" not in shut(report)


TEMPORAL = {"protocol": PROTOCOL | {"name": "temporal"}}
FIRST_DAY = 20_000  # of the rows, in days since 1970: 2024-10-04


def test_rows_that_the_champion_learned_are_left_out(workspace: Workspace, run, quick, registry):
    """Under temporal, only rows after everything that the champion has learned are compared."""
    challenge(registry, run, 0.1, **TEMPORAL, seen_until="2024-10-08T00:00:00+00:00")
    report = judge(workspace, quick)
    later = int((FIRST_DAY + np.arange(10) > 20_004).sum())  # one row per user and day; 20_004 is 2024-10-08
    assert find(report, "champion_delta_auc")["rows"] == 120 * later


@pytest.mark.parametrize("brought_back", [False, True])
def test_a_day_that_is_run_again_is_compared_with_stored_predictions(
    brought_back: bool, workspace: Workspace, run, quick, registry
):
    """If the champion has learned all rows, the predictions of its promotion are compared, also after a rollback."""
    run.facts |= {**TEMPORAL, "seen_until": "2024-10-20T00:00:00+00:00"}
    run.finish()
    run.promote()
    promoted = registry.champion()
    before = probabilities(run.noise, run.rows["item"])
    if brought_back:
        run.become(0.3)
        crown(registry, run)
        registry.rollback(promoted.version, by="ann", reason="wrong prices")
    run.become(0.6)

    def never(*arguments):
        raise AssertionError("the champion has learned these rows")

    report = judge(workspace, quick, score=never)
    found = find(report, "champion_delta_auc")
    label = run.rows["label"]
    assert found["observed"] == pytest.approx(auc(label, probabilities(0.6, run.rows["item"])) - auc(label, before))
    assert find(report, "last_step")["reason"] == "the champion replaced no other bundle"


def test_a_champion_that_learned_all_without_predicting_is_no_comparison(workspace: Workspace, run, quick, registry):
    """Without stored predictions of today's rows, nothing is fair and the gate is closed."""
    challenge(registry, run, 0.1, **TEMPORAL, seen_until="2024-10-20T00:00:00+00:00")
    report = judge(workspace, quick)
    found = find(report, "champion_delta_auc")
    assert (found["verdict"], found["evaluated"]) == ("closed", False)
    assert "has learned all of today's test rows, and crossfit.parquet" in found["reason"]


def test_a_comparison_draws_whole_users(workspace: Workspace, run, quick, registry, monkeypatch):
    """If there are too many rows, a comparison draws whole users, the same each time."""
    challenge(registry, run)
    monkeypatch.setattr(evidence, "MOST_ROWS", 505)
    seen = []

    def spy(workspace, bundle, rows):
        seen.append(rows["user"].to_numpy())
        return score(workspace, bundle, rows)

    first, second = judge(workspace, quick, spy), judge(workspace, quick, spy)
    assert find(first, "champion_delta_auc")["rows"] == 500
    assert set(np.unique(seen[0], return_counts=True)[1]) == {10}
    assert first == second
    np.testing.assert_array_equal(seen[0], seen[1])
