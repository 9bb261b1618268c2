"""Sentences for a person after the gate: the fate of the champion and the reason, for each way that it can go."""

from typing import Any

from command_lines import parsed
from judging import crown, find, judge, set_gate
from miniature import score

from din import documents
from din.artifacts import read_json
from din.gates.explain import explain, explain_champion
from din.promotion.promote import promote
from din.verdicts import GateReport
from din.workspace import Workspace


def typed(report: dict[str, Any]) -> GateReport:
    return documents.check(GateReport, report, "gate.json")


def test_the_first_candidate(workspace: Workspace, run, quick):
    """Without a champion, the sentence says whether the candidate may become one."""
    assert explain(typed(judge(workspace, quick))).startswith(
        "There is no champion yet. The candidate passes every gate"
    )
    found = explain(typed(judge(workspace, set_gate(quick, min_auc=0.9))))
    assert found == "There is no champion, and this candidate does not become the first one: it does not pass min_auc."


def test_many_gates(workspace: Workspace, run, quick):
    """The sentence names the first three gates that are not open, and counts the others."""
    report = judge(workspace, quick)
    for gate in report["gates"]:
        gate["verdict"] = "closed"
    names = [gate["name"] for gate in report["gates"]]
    assert explain(typed(report)).endswith(f" it does not pass {', '.join(names[:3])}, and {len(names) - 3} more.")


def test_the_champion_again(workspace: Workspace, run, quick, registry):
    """A rerun that gives the champion's bits changes nothing."""
    version = crown(registry, run)
    found = explain(typed(judge(workspace, quick)))
    assert found == f"The candidate is the champion {version[:12]} (record 1) itself, bit for bit, so nothing changes."


def test_a_champion_whose_gates_are_not_open(workspace: Workspace, run, quick, registry):
    """The sentence tells an approval before the promotion from a second judgement after it."""
    strict = set_gate(quick, min_auc=0.9)
    before = judge(workspace, strict)
    crown(registry, run)
    (record,) = registry.history()
    assert explain_champion(record, typed(before)).endswith(" It was approved although it does not pass min_auc.")
    after = explain_champion(record, typed(judge(workspace, strict)))
    assert "Judged again since then, it does not pass min_auc, and it stays" in after
    assert explain_champion(record, typed(judge(workspace, quick))).endswith(f"Reason: {record.reason}.")


def test_a_better_candidate(workspace: Workspace, run, quick, registry):
    """The sentence holds the users, the difference with its bounds, and the loss that is ruled out."""
    run.noise = 1.0
    run.finish()
    crown(registry, run)
    run.noise = 0.2
    run.finish()
    report = judge(workspace, quick)
    found = explain(typed(report))
    assert "may replace the champion" in found and "so a loss of 0.0300 is ruled out." in found
    assert "AUC: for 120 users the difference is +0." in found


def test_an_undecided_candidate(workspace: Workspace, run, quick, registry):
    """The sentence holds the number of users that would tell."""
    crown(registry, run)
    run.noise = 0.25
    run.finish()
    report = judge(workspace, set_gate(quick, margin=0.004))
    found = explain(typed(report))
    needed = find(report, "champion_delta_auc")["power"]["users_needed"]
    assert "stays, because the candidate does not pass champion_delta_auc" in found
    assert "so a loss of 0.0040 is possible. An equal candidate" in found and f"with about {needed:,}." in found


def test_a_worse_candidate(workspace: Workspace, run, quick, registry):
    """The sentence says by how much it is worse at least."""
    crown(registry, run)
    run.noise = 1.5
    run.finish()
    found = explain(typed(judge(workspace, set_gate(quick, slice_margin=1.0))))
    assert "stays, because the candidate does not pass champion_delta_auc" in found
    assert "so a loss of more than 0.0300 is certain" in found


def test_another_gate(workspace: Workspace, run, quick, registry):
    """If another gate is closed, the sentence names it, whatever the comparison says."""
    crown(registry, run)
    run.noise = 0.1
    run.finish()
    found = explain(typed(judge(workspace, set_gate(quick, max_bundle_mb=1e-6))))
    assert "because the candidate does not pass bundle_mb" in found and "AUC: for 120 users" in found


def test_every_command_to_look_closer_exists(workspace: Workspace, run, quick, registry):
    """Each gate names a command, and if it is one of `din`, its options exist."""
    first = judge(workspace, quick)
    crown(registry, run)
    run.noise = 0.1
    run.finish()
    looks = {gate["look"] for gate in (*first["gates"], *judge(workspace, quick)["gates"])}
    assert {parsed(look) for look in looks if look.startswith("din ")} == {
        "din registry show",
        "din registry verify",
    }


def test_gate_and_promote_print_it(workspace: Workspace, run, quick, capsys):
    """Both commands end with the sentence, before what to type next."""
    report = judge(workspace, quick)
    assert explain(typed(report)) in capsys.readouterr().out
    promote(workspace, quick, "test", "try", score=score)
    assert explain(typed(read_json(workspace.gate))) in capsys.readouterr().out
