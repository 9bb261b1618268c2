"""Sentences for a person after the gate: the fate of the champion and the reason, for each way that it can go."""

from judging import crown, judge, set_gate
from miniature import score

from din.artifacts import read_json
from din.promotion.promote import promote
from din.promotion.words import explain, explain_champion
from din.workspace import Workspace


def test_the_first_candidate(workspace: Workspace, run, quick):
    """Without a champion, the sentence says whether the candidate may become one."""
    assert explain(judge(workspace, quick)).startswith("There is no champion yet. The candidate passes every gate")
    found = explain(judge(workspace, set_gate(quick, min_auc=0.9)))
    assert found == "There is no champion, and this candidate does not become the first one: it does not pass min_auc."


def test_many_gates(workspace: Workspace, run, quick):
    """The sentence names the first three gates that are not open, and counts the others."""
    report = judge(workspace, quick)
    for gate in report["gates"]:
        gate["verdict"] = "closed"
    names = [gate["name"] for gate in report["gates"]]
    assert explain(report).endswith(f" it does not pass {', '.join(names[:3])}, and {len(names) - 3} more.")


def test_the_champion_again(workspace: Workspace, run, quick, registry):
    """A rerun that gives the champion's bits changes nothing."""
    version = crown(registry, run)
    found = explain(judge(workspace, quick))
    assert found == f"The candidate is the champion {version[:12]} (record 1) itself, bit for bit, so nothing changes."


def test_a_champion_whose_gates_are_not_open(workspace: Workspace, run, quick, registry):
    """The sentence tells an approval before the promotion from a second judgement after it."""
    strict = set_gate(quick, min_auc=0.9)
    before = judge(workspace, strict)
    crown(registry, run)
    (record,) = registry.history()
    assert explain_champion(record, before).endswith(" It was approved although it does not pass min_auc.")
    after = explain_champion(record, judge(workspace, strict))
    assert "Judged again since then, it does not pass min_auc, and it stays" in after
    assert explain_champion(record, judge(workspace, quick)).endswith(f"Reason: {record.reason}.")


def test_a_better_candidate(workspace: Workspace, run, quick, registry):
    """The sentence holds the difference, its bounds, the users, and the loss that is ruled out."""
    run.noise = 1.0
    run.finish()
    crown(registry, run)
    run.noise = 0.2
    run.finish()
    report = judge(workspace, quick)
    found = explain(report)
    assert "may replace the champion" in found and "which rules out a loss of 0.0300." in found
    assert "AUC differs by +0." in found and "for 120 users" in found


def test_an_undecided_candidate(workspace: Workspace, run, quick, registry):
    """The sentence holds the number of users that would tell."""
    crown(registry, run)
    run.noise = 0.25
    run.finish()
    narrow = set_gate(quick, margin=0.004)
    report = judge(workspace, narrow)
    found = explain(report)
    needed = next(one["power"]["users_needed"] for one in report["gates"] if one["name"] == "champion_delta_auc")
    assert "stays for now: nobody can tell yet" in found and f"about {needed:,} users would tell" in found


def test_a_worse_candidate(workspace: Workspace, run, quick, registry):
    """The sentence says that it is worse, and by how much at least."""
    crown(registry, run)
    run.noise = 1.5
    run.finish()
    found = explain(judge(workspace, set_gate(quick, slice_margin=1.0)))
    assert "stays, because the candidate is worse" in found and "which is a loss of more than 0.0300" in found


def test_another_gate(workspace: Workspace, run, quick, registry):
    """If another gate is closed, the sentence names it, whatever the comparison says."""
    crown(registry, run)
    run.noise = 0.1
    run.finish()
    found = explain(judge(workspace, set_gate(quick, max_bundle_mb=1e-6)))
    assert "because the candidate does not pass bundle_mb" in found and "AUC differs by" in found


def test_gate_and_promote_print_it(workspace: Workspace, run, quick, capsys):
    """Both commands end with the sentence, before what to type next."""
    report = judge(workspace, quick)
    assert explain(report) in capsys.readouterr().out
    promote(workspace, quick, "test", "try", score=score)
    assert explain(read_json(workspace.gate)) in capsys.readouterr().out
