"""The gate and its report: a first run, the comparison with a champion, and what cannot be judged."""

import math

import numpy as np
import pyarrow as pa
import pytest

from din.base import documents
from din.base.artifacts import read_json
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.contracts.verdicts import GateReport
from din.metrics.ranking import auc
from din.release.gates import evidence
from din.release.gates.findings import overall
from din.release.gates.gate import gate
from din.release.gates.report_text import explain
from din.release.promote import promote
from din.release.registry.registry import Registry
from tests.factories.documents_of import PROTOCOL
from tests.factories.run import NEED_SCORES, challenge, crown, find, judge, probabilities, score, set_gate, shut
from tests.helpers.command_lines import parsed


def test_first_run_opens(workspace: Workspace, run, quick, registry, capsys):
    """With sound evidence and no champion, the gate is open; the report has no clock."""
    version = run.finish()
    report = judge(workspace, quick)
    assert (report["verdict"], report["bundle"], report["champion"]) == ("open", version, None)
    names = {one["name"] for one in report["gates"]}
    assert find(report, "min_auc")["observed"] == pytest.approx(
        auc(run.rows["label"], probabilities(run.noise, run.rows["item"]))
    )
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    first = workspace.gate.read_bytes()
    other = judge(workspace, set_gate(quick, metrics=("gauc",)))
    assert find(other, "gauc_over_popularity")["verdict"] == "open" and other["metrics"] == ["gauc"]
    judge(workspace, quick)
    assert workspace.gate.read_bytes() == first


def test_a_registry_that_cannot_be_read_gives_no_verdict(workspace: Workspace, run, quick, registry, monkeypatch):
    """A damaged one is bad input. An unavailable one leaves no report either, so that a retry suffices."""
    challenge(registry, run)

    def down(*_):
        raise Unavailable("s3://models: no route to host")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(Registry, "fetch", down)
        judge(workspace, quick)
    assert not workspace.gate.exists()
    assert judge(workspace, quick)["verdict"] == "open"
    (workspace.root / "registry").rename(workspace.root / "gone")
    (workspace.root / "registry").write_text("a file")
    with pytest.raises(InputError, match="registry"):
        gate(workspace, quick, score)
    assert not workspace.gate.exists()


@pytest.mark.parametrize("fault", ["no prediction", "one class"])
def test_a_report_holds_no_nan(fault: str, workspace: Workspace, run, quick):
    """If predictions or labels can't give a figure, none is invented: figures are null and their gates closed."""
    if fault == "one class":
        run.rows["label"][:] = 0
    run.finish(np.full(1200, math.nan) if fault == "no prediction" else None)
    report = judge(workspace, quick)
    for name in ("min_auc", "min_gauc", "calibration"):
        found = find(report, name)
        assert (found["observed"], found["interval"], found["verdict"]) == (None, [None, None], "closed")
    assert {"slice_calibration", "implausible_gain"} <= set(shut(report)) or fault == "one class"
    assert overall([]) == "closed"


TEMPORAL = {"protocol": PROTOCOL | {"name": "temporal"}}


def explained(report: dict) -> str:
    return explain(documents.check(GateReport, report, "gate.json"))


def never(*arguments):
    raise AssertionError("scored")


def test_better_candidate_opens(workspace: Workspace, run, quick, registry):
    """It is compared with the champion on the same rows, which the champion's own bundle scores, and explained."""
    run.become(1.0)
    old = challenge(registry, run, 0.2)
    report = judge(workspace, quick)
    assert report["champion"] == {"number": 1, "version": old}
    delta = find(report, "champion_delta_auc")
    assert delta["observed"] > 0.03 and delta["interval"][0] > 0 and delta["rows"] == 1200
    assert not [g for g in report["gates"] if "_over_" in g["name"]]  # first runs alone compare with floors
    compared = f"AUC: for 120 users the difference is {delta['observed']:+.4f}"
    assert f"The candidate may replace the champion {old[:12]} (record 1). {compared}" in explained(report)
    report = judge(workspace, set_gate(quick, max_bundle_mb=1e-6))
    assert f"stays, because the candidate does not pass bundle_mb. {compared}" in explained(report)


def test_champion_itself_opens_without_scoring(workspace: Workspace, run, quick, registry):
    """If a rerun reproduced the champion, there is nothing to compare."""
    crown(registry, run)
    report = judge(workspace, quick, never)
    assert [find(report, name)["observed"] for name in NEED_SCORES] == [0] * len(NEED_SCORES)
    assert find(report, "bundle_ratio")["observed"] == 1


def test_small_permitted_losses_do_not_add_up(workspace: Workspace, run, quick, registry):
    """If each step loses less than the margin to its champion, the anchor, the best of 90 days, notices the sum."""
    for noise in (0.2, 1.0, 1.6, 2.2):
        run.become(noise)
        if noise < 2:
            crown(registry, run)
    report = judge(workspace, set_gate(quick, margin=0.1, slice_margin=1.0))
    assert shut(report) == ["anchor_delta_auc", "anchor_delta_gauc"]


def test_an_anchor_that_cannot_score_is_passed_over(workspace: Workspace, run, quick, registry):
    """The next best one of the earlier champions is compared, so nobody has to override the same loss every day."""
    for noise in (0.2, 0.3, 1.0, 1.6, 2.2):
        run.become(noise)
        if noise < 2:
            crown(registry, run)

    def best_is_gone(workspace, bundle, rows):
        if read_json(bundle / "model.json")["noise"] == 0.2:
            raise RuntimeError("age is text now")
        return score(workspace, bundle, rows)

    report = judge(workspace, set_gate(quick, margin=0.1, slice_margin=1.0), best_is_gone)
    found = find(report, "anchor_delta_auc")
    assert found["verdict"] == "closed" and found["evaluated"]


def test_too_few_users_show_nothing(workspace: Workspace, run, quick, registry):
    """If one user alone clicks, comparisons are undecided or closed, and no reason speaks of a loss or a fall."""
    crown(registry, run)
    run.rows["label"] = (np.arange(len(run.rows["label"])) < 5).astype(np.int8)
    run.become(0.1)
    report = judge(workspace, quick)
    for name, verdict in (("champion_today", "closed"), ("champion_delta_auc", "borderline")):
        found = find(report, name)
        assert found["verdict"] == verdict and "undefined: one class only, or fewer than 20 users" in found["reason"]


def test_an_older_log_may_be_allowed(workspace: Workspace, run, quick, registry):
    """`allow_older` waives the gate that a log which ends before the champion's closes, and no other."""
    crown(registry, run)
    run.facts["until"] = "2024-10-12"
    run.become(2.0)
    report = judge(workspace, set_gate(quick, allow_older=True))
    assert "waived by gate.allow_older" in find(report, "data_until")["reason"]
    assert "champion_delta_auc" in shut(report) and "data_until" not in shut(report)


def test_rows_that_the_champion_learned_are_left_out(workspace: Workspace, run, quick, registry):
    """Under temporal, only rows after everything that the champion has learned are compared."""
    challenge(registry, run, 0.1, **TEMPORAL, seen_until="2024-10-08T00:00:00+00:00")
    days = 5  # 9 to 13 October, of the rows' ten, with one row of each of 120 users
    assert find(judge(workspace, quick), "champion_delta_auc")["rows"] == 120 * days


@pytest.mark.parametrize("brought_back", [False, True])
def test_a_day_that_is_run_again_is_compared_with_stored_predictions(
    brought_back: bool, workspace: Workspace, run, quick, registry
):
    """If the champion has learned all rows, the predictions of its promotion are compared, also after a rollback."""
    run.facts |= {**TEMPORAL, "seen_until": "2024-10-20T00:00:00+00:00"}
    run.finish()
    run.promote()
    before = probabilities(run.noise, run.rows["item"])
    if brought_back:
        run.become(0.3)
        crown(registry, run)
        registry.rollback(1, by="ann", reason="wrong prices")
    run.become(0.6)
    report = judge(workspace, quick, never)
    found = find(report, "champion_delta_auc")
    label = run.rows["label"]
    assert found["observed"] == pytest.approx(auc(label, probabilities(0.6, run.rows["item"])) - auc(label, before))
    assert find(report, "last_step")["reason"] == "the champion replaced no other bundle, or by an override"


def test_a_champion_that_learned_all_without_predicting_is_no_comparison(workspace: Workspace, run, quick, registry):
    """Without stored predictions of today's rows, nothing is fair and the gate is closed."""
    challenge(registry, run, 0.1, **TEMPORAL, seen_until="2024-10-20T00:00:00+00:00")
    found = find(judge(workspace, quick), "champion_delta_auc")
    assert (found["verdict"], found["evaluated"]) == ("closed", False)
    assert "has learned all of today's test rows, and crossfit.parquet" in found["reason"]


def test_a_comparison_draws_whole_users(workspace: Workspace, quick, monkeypatch):
    """If there are too many rows, a comparison draws whole users, the same each time. It passes over giants."""
    monkeypatch.setattr(evidence, "MOST_ROWS", 505)
    giants = np.repeat(np.arange(120, 240), 506)
    rows = pa.table({"user": np.concatenate([np.tile(np.arange(120), 10), giants])})
    drawn, again = (evidence.Evidence(workspace, quick).draw(rows) for _ in range(2))
    assert len(drawn) == 500 and drawn == again
    assert set(np.unique(drawn["user"].to_numpy(), return_counts=True)[1]) == {10}


def test_every_command_to_look_closer_exists(workspace: Workspace, run, quick, registry):
    """Each gate names a command, and if it is one of `din`, its options exist."""
    first = judge(workspace, quick)
    challenge(registry, run)
    commands = {gate["command"] for gate in (*first["gates"], *judge(workspace, quick)["gates"])}
    din = {parsed(command) for command in commands if command.startswith("din ")}
    assert all(commands) and din == {"din registry show", "din registry verify"}


def test_gate_and_promote_print_it(workspace: Workspace, run, quick, capsys):
    """Both commands end with the sentence, before what to type next."""
    told = explained(judge(workspace, quick))
    assert told in capsys.readouterr().out
    promote(workspace, quick, "test", "try", score=score)
    assert told in capsys.readouterr().out
