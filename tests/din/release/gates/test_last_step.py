"""Did the champion's last step harm, and the way back."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from din import cli
from din.base.artifacts import read_json
from din.base.errors import GateClosed
from din.base.workspace import Workspace
from din.params.reading import Params
from din.release.gates.gate import gate
from din.release.promote import Promotion, promote
from din.release.registry.registry import Registry, StaleChampion
from tests.factories import documents_of
from tests.factories.run import Run, crown, edit, find, going_on, judge, score, set_gate, shut


@pytest.fixture
def automatic(quick: Params) -> Params:
    return replace(quick, promote=replace(quick.promote, on_harm="rollback"))


@pytest.fixture
def harmed(run: Run, automatic: Params, steps) -> Params:
    """A candidate that continues record 2, which harmed, and automatic rollbacks."""
    _, champion = steps(5.0)
    return going_on(run, automatic, champion)


def promoted(workspace: Workspace, params: Params, **settings) -> Promotion:
    return promote(workspace, params, by="airflow", score=score, **settings)


def actions(registry: Registry) -> list[str]:
    return [record.action for record in registry.history()]


def test_a_candidate_that_continues_a_harmful_champion_is_closed(workspace: Workspace, run, quick, steps) -> None:
    """However short the pin, by the days that are new to the champion; not one that continues the predecessor."""
    before, champion = steps(5.0, since="2024-10-08")
    report = judge(workspace, going_on(run, quick, champion, champion[:8]))
    assert shut(report) == ["last_step"]
    found = find(report, "last_step")
    low, high = found["interval"]
    assert found["verdict"] == "closed" and high < found["threshold"] < -0.02 and found["rows"] == 600
    assert found["reason"] == (
        "the last step harmed: record 2 against record 1, which it replaced, on 2024-10-09 to 2024-10-13: "
        f"AUC {found['observed']:+.4f} [{low:+.4f}, {high:+.4f}], so a loss of more than 0.0300 is certain"
    )
    assert report["harm"] == {"record": 2, "back_to": 1, "reason": found["reason"]}
    assert find(judge(workspace, going_on(run, quick, before)), "last_step")["verdict"] == "open"


def test_a_harmless_last_step_is_open(workspace: Workspace, run, quick, steps) -> None:
    """A step within the margin closes nothing."""
    steps(0.25)
    report = judge(workspace, quick)
    assert (find(report, "last_step")["verdict"], find(report, "last_step")["reason"]) == ("open", None)
    assert "harm" not in report


def test_a_predecessor_of_another_split_accuses_nobody(workspace: Workspace, run, automatic, registry) -> None:
    """It may have learned today's rows, so its higher AUC is no evidence of harm."""
    crown(registry, run, seen_until="2024-10-01T12:00:00+00:00")
    run.become(5.0)
    split = documents_of.PROTOCOL | {"seed": 99}
    champion = crown(registry, run, seen_until="2024-10-02T12:00:00+00:00", protocol=split)
    run.noise = 0.1
    report = judge(workspace, going_on(run, automatic, champion))
    found = find(report, "last_step")
    assert (found["verdict"], found["interval"], "harm" in report) == ("open", None, False)
    assert "may have trained on today's test rows: seed 17 there, 99 here" in found["reason"]


def test_a_broken_log_does_not_blame_the_champion(workspace: Workspace, run, quick, steps) -> None:
    """With flipped labels the better model looks worse, but its predecessor fell too."""
    _, champion = steps(0.05, before=2.0)
    run.rows["label"] = 1 - run.rows["label"]
    report = judge(workspace, going_on(run, quick, champion))
    found = find(report, "last_step")
    assert found["interval"][1] < -0.03 and find(report, "champion_today")["verdict"] == "closed"
    assert (found["verdict"], "harm" in report) == ("open", False)
    assert "today's log may be broken" in found["reason"]


def test_the_printed_command_rolls_back_as_it_is_pasted(
    workspace: Workspace, run, quick, steps, registry, capsys, tmp_path_factory, monkeypatch
) -> None:
    """By default a person decides. The command runs in any folder, and has no effect the second time."""
    before, champion = steps(5.0)
    judge(workspace, going_on(run, quick, champion))
    lines = capsys.readouterr().out.splitlines()
    (command,) = [line for line in lines if line.startswith("    din registry rollback")]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for _ in range(2):
        assert CliRunner().invoke(cli.app, shlex.split(command)[1:]).exit_code == 0
    assert actions(registry)[2:] == ["rollback"] and registry.champion().version == before
    assert "the last step harmed: record 2 against record 1" in registry.champion().reason


def test_the_run_rolls_back_once(workspace: Workspace, harmed, registry, capsys) -> None:
    """`din promote` appends the record with its reason, once; a gate that runs again finds a harmful lesson."""
    reason = judge(workspace, harmed)["harm"]["reason"]
    assert "`din promote` goes back to record 1 (promote.on_harm: rollback)" in capsys.readouterr().out
    first = promoted(workspace, harmed)
    record = registry.champion()
    assert first.appended and actions(registry)[2:] == ["rollback"]
    assert (record.by, record.reason, record.version) == ("airflow", reason, registry.record(1).version)
    (seal,) = (workspace.root / "registry" / harmed.model_name / "seals").glob("000003-*")
    seal.unlink()  # as if the promotion had been killed before its seal
    again = promoted(workspace, harmed)
    assert not again.appended and again.record == first.record == record
    assert seal.exists() and registry.verify() == []
    report = judge(workspace, harmed)
    assert "harm" not in report and find(report, "not_rolled_back")["verdict"] == "closed"
    with pytest.raises(GateClosed, match="the gate is closed"):
        promoted(workspace, harmed)


def test_a_slow_candidate_does_not_stop_the_rollback(workspace: Workspace, harmed, registry) -> None:
    """The gate that is closed states a latency, which is another one when the promotion measures it again."""
    timed = set_gate(harmed, max_latency_ms=100.0, max_latency_ratio=1.5)
    times = iter([9.0, 1.6, 9.1, 1.7])

    def slow(*bundles):
        return next(times)

    assert "latency_ratio" in shut(judge(workspace, timed, latency=slow))
    promoted(workspace, timed, latency=slow)
    assert actions(registry)[2:] == ["rollback"]


def test_another_promotion_in_between_is_not_rolled_back(workspace: Workspace, harmed, registry) -> None:
    """The harm that the gate found is not the new champion's."""
    judge(workspace, harmed)
    other = Run(Workspace(workspace.root / "other"), harmed)
    other.become(0.15)
    crown(registry, other)
    with pytest.raises(StaleChampion):
        promoted(workspace, harmed)
    assert actions(registry) == ["promote"] * 3


def test_an_edited_report_rolls_nothing_back(workspace: Workspace, harmed, registry) -> None:
    """The harm is judged again before the record is appended."""
    judge(workspace, harmed)
    edit(workspace.gate, lambda report: report["harm"].update(reason="because"))
    with pytest.raises(GateClosed, match="differs from its gates judged again: harm"):
        promoted(workspace, harmed)
    assert actions(registry) == ["promote"] * 2


def test_a_candidate_from_scratch_replaces_a_harmful_champion(
    workspace: Workspace, automatic, steps, registry, capsys
) -> None:
    """It did not inherit the harm. The run says it nevertheless, and nothing is rolled back."""
    steps(5.0)
    gate(workspace, automatic, score)
    assert "warning: the last step harmed: " in capsys.readouterr().out
    report = read_json(workspace.gate)
    assert find(report, "last_step")["verdict"] == "open" and report["harm"]["back_to"] == 1
    promoted(workspace, automatic)
    assert actions(registry) == ["promote"] * 3


def test_a_refused_candidate_from_scratch_leaves_no_harmful_champion(
    workspace: Workspace, automatic, steps, registry
) -> None:
    """`din promote` rolls back. Nobody may override the gates of a candidate that was compared with what goes."""
    before, _ = steps(5.0)
    inside = read_json(workspace.evaluation)["test"]["auc"]
    params = set_gate(automatic, min_auc=inside)
    report = judge(workspace, params)
    assert (report["verdict"], find(report, "last_step")["verdict"]) == ("borderline", "open")
    with pytest.raises(GateClosed, match="leave out --override to go back"):
        promote(workspace, params, by="ann", reason="fine", override=True, score=score)
    assert promoted(workspace, params).record.version == before


def test_one_class_is_no_harm(workspace: Workspace, harmed, run) -> None:
    """An interval without bounds closes the gate and rolls nothing back."""
    run.rows["label"] = np.zeros_like(run.rows["label"])
    run.finish()
    report = judge(workspace, harmed)
    assert find(report, "last_step")["verdict"] == "closed" and "harm" not in report
