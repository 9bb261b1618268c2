"""Did the champion's last step harm, and the way back."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from din import cli
from din.artifacts import read_json
from din.errors import GateClosed, InputError
from din.gates.gate import gate
from din.params import Params
from din.promotion.promote import Promotion, promote
from din.registry.registry import Registry, StaleChampion
from din.workspace import Workspace
from tests.factories.run import Run, crown, find, going_on, judge, score, set_gate


def automatic(params: Params) -> Params:
    """Return the parameters with rollbacks by the run itself."""
    return replace(params, promote=replace(params.promote, on_harm="rollback"))


def promoted(workspace: Workspace, params: Params) -> Promotion:
    """Promote as a scheduler does."""
    return promote(workspace, params, by="airflow", score=score)


def actions(registry: Registry) -> list[tuple[str, str]]:
    """Return what each record did, with the version."""
    return [(record.action, record.version) for record in registry.history()]


def refused(workspace: Workspace, params: Params, capsys) -> str:
    """Judge a candidate that is refused, and return what the gate printed."""
    capsys.readouterr()
    with pytest.raises(GateClosed):
        gate(workspace, params, score)
    return capsys.readouterr().out


@pytest.fixture
def harmed(run: Run, quick: Params, steps) -> tuple[Params, str, str]:
    """A candidate that goes on from a harmful champion, automatic rollbacks, and the versions of both champions."""
    before, champion = steps(5.0)
    return going_on(run, automatic(quick), champion), before, champion


def test_a_candidate_that_goes_on_from_a_harmful_champion_is_closed(workspace: Workspace, run, quick, steps) -> None:
    """However short the pin, and the report holds the harm with its days, metric and interval."""
    _, champion = steps(5.0)
    report = judge(workspace, going_on(run, quick, champion, champion[:8]))
    found = find(report, "last_step")
    low, high = found["interval"]
    assert found["verdict"] == "closed" and high < found["threshold"] < -0.02
    assert found["reason"] == (
        "the last step harmed: record 2 against record 1, which it replaced, on 2024-10-04 to 2024-10-13: "
        f"AUC {found['observed']:+.4f} [{low:+.4f}, {high:+.4f}], so a loss of more than 0.0300 is certain"
    )
    assert report["harm"] == {"record": 2, "back_to": 1, "reason": found["reason"]}
    assert find(report, "made_from")["verdict"] == "open"


def test_who_continues_the_predecessor_does_not_inherit_the_harm(workspace: Workspace, run, quick, steps) -> None:
    """The gate is open for it, and the harm is told all the same."""
    before, _ = steps(5.0)
    report = judge(workspace, going_on(run, quick, before))
    assert find(report, "last_step")["verdict"] == "open" and report["harm"]["record"] == 2


def test_harm_is_seen_days_later(workspace: Workspace, run, quick, steps) -> None:
    """If days were refused since, the champion's lesson is judged on the rows that are new to it."""
    _, champion = steps(5.0, since="2024-10-08")
    found = find(judge(workspace, going_on(run, quick, champion)), "last_step")
    assert found["verdict"] == "closed" and found["rows"] == 600
    assert "record 1, which it replaced, on 2024-10-09 to 2024-10-13" in found["reason"]


def test_a_harmless_last_step_is_open(workspace: Workspace, run, quick, steps) -> None:
    """A step within the margin closes nothing."""
    steps(0.25)
    report = judge(workspace, quick)
    assert (find(report, "last_step")["verdict"], find(report, "last_step")["reason"]) == ("open", None)
    assert "harm" not in report


def test_a_broken_log_does_not_blame_the_champion(workspace: Workspace, run, quick, steps) -> None:
    """With flipped labels the better model looks worse, but its predecessor fell too."""
    _, champion = steps(0.05, before=2.0)
    run.rows["label"] = 1 - run.rows["label"]
    report = judge(workspace, going_on(run, quick, champion))
    found = find(report, "last_step")
    assert found["interval"][1] < -0.03 and find(report, "champion_today")["verdict"] == "closed"
    assert (found["verdict"], "harm" in report) == ("open", False)
    assert "today's log may be broken" in found["reason"]


def test_a_champion_that_a_person_brought_back_is_not_doubted(
    workspace: Workspace, run, quick, steps, registry
) -> None:
    """A rollback is a person's judgement, and its predecessor is what they rejected."""
    steps(5.0)
    registry.rollback(registry.history()[0].version, by="ann", reason="worse")
    assert find(judge(workspace, quick), "last_step")["reason"] == "the champion replaced no other bundle"


def test_the_printed_command_rolls_back_as_it_is_pasted(
    workspace: Workspace, run, quick, steps, registry, capsys, tmp_path_factory, monkeypatch
) -> None:
    """By default a person decides. The command runs in any folder, and has no effect the second time."""
    before, champion = steps(5.0)
    asked = going_on(run, quick, champion)
    printed = refused(workspace, asked, capsys)
    with pytest.raises(GateClosed, match="the gate is closed"):
        promoted(workspace, asked)
    (command,) = [line for line in printed.splitlines() if line.startswith("    din registry rollback")]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for _ in range(2):
        assert CliRunner().invoke(cli.app, shlex.split(command)[1:]).exit_code == 0
    assert actions(registry)[2:] == [("rollback", before)]
    assert "the last step harmed: record 2 against record 1" in registry.history()[-1].reason


def test_the_printed_command_spares_the_next_champion(registry, run, steps) -> None:
    """Pasted after another promotion, it would otherwise remove a bundle that nobody has judged."""
    steps(5.0)
    crown(registry, run)
    for harmful, error in ((2, StaleChampion), (4, InputError)):
        with pytest.raises(error):
            registry.rollback(1, by="ann", reason="harm", champion=harmful)
    assert [action for action, _ in actions(registry)] == ["promote"] * 3


def test_the_run_rolls_back_once(workspace: Workspace, harmed, registry, capsys) -> None:
    """`din promote` appends the record with its reason, once; a gate that runs again finds a harmful lesson."""
    params, before, champion = harmed
    assert "`din promote` goes back to record 1 (promote.on_harm: rollback)" in refused(workspace, params, capsys)
    assert len(registry.history()) == 2
    first = promoted(workspace, params)
    assert first.appended and actions(registry)[2:] == [("rollback", before)]
    record = registry.history()[-1]
    assert (record.by, record.previous) == ("airflow", champion)
    assert record.reason == read_json(workspace.gate)["harm"]["reason"]
    again = promoted(workspace, params)
    assert not again.appended and again.record == first.record == record
    assert registry.verify() == []
    report = judge(workspace, params)
    assert "harm" not in report and find(report, "not_rolled_back")["verdict"] == "closed"
    with pytest.raises(GateClosed, match="the gate is closed"):
        promoted(workspace, params)
    assert len(registry.history()) == 3


def test_another_promotion_in_between_is_not_rolled_back(workspace: Workspace, harmed, run, registry) -> None:
    """The harm that the gate found is not the new champion's."""
    params, _, _ = harmed
    judge(workspace, params)
    other = Run(Workspace(workspace.root / "other"), params)
    other.noise = 0.15
    other.finish()
    crown(registry, other)
    with pytest.raises(StaleChampion):
        promoted(workspace, params)
    assert [action for action, _ in actions(registry)] == ["promote"] * 3


@pytest.mark.parametrize("key", ["reason", "interval"])
def test_an_edited_report_rolls_nothing_back(key: str, workspace: Workspace, harmed, registry) -> None:
    """The harm is judged again before the record is appended."""
    params, _, _ = harmed
    report = judge(workspace, params)
    if key == "interval":
        find(report, "last_step")["interval"] = [-0.9, -0.8]
    else:
        report["harm"][key] = "because"
    workspace.gate.write_text(json.dumps(report))
    with pytest.raises(GateClosed, match="differs from its gates judged again"):
        promoted(workspace, params)
    assert len(registry.history()) == 2


def test_a_candidate_from_scratch_replaces_a_harmful_champion(
    workspace: Workspace, run, quick, steps, registry, capsys
) -> None:
    """It did not inherit the harm. The run says it nevertheless, and nothing is rolled back."""
    steps(5.0)
    gate(workspace, automatic(quick), score)
    assert "warning: the last step harmed: " in capsys.readouterr().out
    report = read_json(workspace.gate)
    assert find(report, "last_step")["verdict"] == "open" and report["harm"]["back_to"] == 1
    promoted(workspace, automatic(quick))
    assert [action for action, _ in actions(registry)] == ["promote"] * 3


def test_a_refused_candidate_from_scratch_leaves_no_harmful_champion(
    workspace: Workspace, run, quick, steps, registry
) -> None:
    """Nobody is asked about a candidate that was compared with a champion that goes."""
    before, _ = steps(5.0)
    inside = read_json(workspace.evaluation)["test"]["auc"]
    params = set_gate(automatic(quick), min_auc=inside, approval="borderline")
    report = judge(workspace, params)
    assert report["verdict"] == "borderline"
    assert find(report, "last_step")["verdict"] == "open" and registry.approvals.cases() == []
    assert promoted(workspace, params).record.version == before


def test_one_class_is_no_harm(workspace: Workspace, harmed, run) -> None:
    """An interval without bounds closes the gate and rolls nothing back."""
    params, _, _ = harmed
    run.rows["label"] = np.zeros_like(run.rows["label"])
    run.finish()
    report = judge(workspace, params)
    assert find(report, "last_step")["verdict"] == "closed" and "harm" not in report
