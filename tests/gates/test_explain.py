"""Sentences for a person after the gate: the fate of the champion and the reason, for each way that it can go."""

from typing import Any

import pytest
from command_lines import parsed

from din import documents
from din.artifacts import read_json
from din.gates.explain import explain
from din.promotion.promote import promote
from din.verdicts import GateReport
from din.workspace import Workspace
from tests.factories.run import challenge, find, judge, score, set_gate


def typed(report: dict[str, Any]) -> GateReport:
    return documents.check(GateReport, report, "gate.json")


STAYS = "stays, because the candidate does not pass"
WAYS = {
    "better": (1.0, 0.2, {}, ("may replace the champion", "+0.", "so a loss of 0.0300 is ruled out.")),
    "undecided": (
        0.2,
        0.25,
        {"margin": 0.004},
        (
            f"{STAYS} champion_delta_auc",
            "so a loss of 0.0040 is possible. An equal candidate",
            "with about {needed:,}.",
        ),
    ),
    "worse": (
        0.2,
        1.5,
        {"slice_margin": 1.0},
        (f"{STAYS} champion_delta_auc", "so a loss of more than 0.0300 is certain"),
    ),
    "another gate": (0.2, 0.1, {"max_bundle_mb": 1e-6}, (f"{STAYS} bundle_mb", "AUC: for 120 users")),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_candidate_beside_a_champion(way: str, workspace: Workspace, run, quick, registry):
    """The sentence names what closed, and has the users, the difference and what its bounds show."""
    champion, candidate, limits, parts = WAYS[way]
    run.become(champion)
    challenge(registry, run, candidate)
    report = judge(workspace, set_gate(quick, **limits))
    needed = find(report, "champion_delta_auc")["power"]["users_needed"] or 0
    found = explain(typed(report))
    assert all(part.format(needed=needed) in found for part in ("for 120 users the difference is ", *parts))


def test_every_command_to_look_closer_exists(workspace: Workspace, run, quick, registry):
    """Each gate names a command, and if it is one of `din`, its options exist."""
    first = judge(workspace, quick)
    challenge(registry, run)
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
