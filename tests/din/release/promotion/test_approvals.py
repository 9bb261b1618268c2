"""Approval by a person: who must be asked, which answer counts, and what a promotion says of it for ever."""

import errno
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from din import cli
from din.base.artifacts import read_json, sha256_file
from din.base.documents import read
from din.base.errors import GateClosed, InputError
from din.base.workspace import Workspace
from din.contracts.verdicts import About, ChampionName, GateEntry, GateReport, Harm
from din.params.gate import Policy
from din.params.reading import Params, to_json
from din.release.gates.earlier_champion import Score
from din.release.gates.findings import overall
from din.release.gates.gate import gate
from din.release.promote import promote
from din.release.registry import approvals, commands
from din.release.registry.approvals import Asked
from din.release.registry.records import Approved
from din.release.registry.registry import Registry
from din_report.runs import write_runs
from tests.factories.run import NEED_SCORES, Run, challenge, crown, edit, probabilities, score, set_gate

MOMENT = 1e-12  # of a day: the request has expired when it is stored


def promoted(run: Run, params: Params, score=score):
    return promote(run.here, params, by="nightly", score=score)


def unscorable(workspace: Workspace, bundle, rows):
    raise RuntimeError("needs a field 'age' that is gone")


def borderline(run: Run, params: Params, **settings) -> Params:
    """Return parameters with which `min_auc` alone is borderline."""
    auc = read_json(run.here.evaluation)["test"]["auc"]
    return set_gate(params, min_auc=auc, approval="borderline", **settings)


def only_request(registry: Registry) -> Asked:
    (asked,) = registry.approvals.requests()
    return asked


def answered(registry: Registry, approved=True, override=False, by="ann", reason="fine") -> Asked:
    version = registry.approvals.requests()[-1].request.version
    return commands.answer(registry.uri, registry.model_name, version, approved, by, reason, override)


def states(registry: Registry) -> list[str]:
    return [one["state"] for one in commands.show_approvals(registry.uri, registry.model_name)]


@pytest.fixture
def asked(run: Run, quick: Params) -> Params:
    """Let the gate ask about a borderline candidate, and return its parameters."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    return params


def test_a_borderline_candidate_waits_and_is_promoted_once_approved(run: Run, quick, registry, capsys):
    """The gate exits 0 and says how to answer, promote refuses until somebody approves, and the record names them."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    assert read_json(run.here.gate)["verdict"] == "borderline"
    request = only_request(registry).request
    assert (request.number, request.run_id, request.needs_override) == (1, None, False)
    assert [gate.name for gate in request.gates] == ["min_auc"] and "not all of it above" in request.gates[0].reason
    printed = capsys.readouterr().out
    where = f"--registry {registry.uri} --model {registry.model_name} --reason WHY"
    assert f"waits for a person's approval until {request.expires}" in printed
    assert all(f"din approvals {request.version[:12]} --{word} {where}" in printed for word in ("approve", "reject"))
    with pytest.raises(GateClosed, match="nothing promoted: it waits for approval until"):
        promoted(run, params)
    assert states(registry) == ["waiting"]
    answered(registry)
    assert states(registry) == ["approved"]
    gate(run.here, set_gate(params, approval_days=9), score)  # which leaves the first request with its answer
    assert "approved by ann" in capsys.readouterr().out
    gate(run.here, params, score)
    record = promoted(run, params).record
    assert "ann approved the gates that are not open: min_auc." in capsys.readouterr().out
    asked = only_request(registry)
    assert asked.answered
    assert record.approval == Approved(by="ann", override=False, answer=asked.answered.digest)
    assert (record.by, record.reason) == ("nightly", "approved by ann")
    assert registry.verify() == [] and not promoted(run, params).appended
    gate(run.here, params, score)
    assert "the champion is this bundle, and its promotion was approved" in capsys.readouterr().out
    assert not promoted(run, params).appended
    with pytest.raises(GateClosed, match="borderline; the champion stays"):
        gate(run.here, borderline(run, quick, min_gauc=read_json(run.here.evaluation)["test"]["gauc"]), score)


def test_a_promotion_on_another_processor(run: Run, quick, registry):
    """The champion's scores may have other last bits there, but not other figures."""
    challenge(registry, run)
    gate(run.here, quick, score)

    def shaken(by: float) -> Score:
        return lambda *of: score(*of) + by * np.sin(np.arange(len(of[2])))

    with pytest.raises(GateClosed, match=r"differs from its gates judged again: .*champion_today"):
        promoted(run, quick, shaken(1e-2))
    assert promoted(run, quick, shaken(1e-9)).record.number == 2


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_a_full_disk_says_nothing_about_the_champion(error: Exception, run: Run, quick, registry):
    """The gate is not closed, and nobody is asked to override it: the stage fails, and is run again."""
    challenge(registry, run)

    def fail(*_: object):
        raise error

    with pytest.raises(type(error)):
        gate(run.here, set_gate(quick, approval="borderline"), fail)
    assert registry.approvals.requests() == [] and not run.here.gate.exists()


OPEN, UNSURE, BAD, GONE = (
    GateEntry.model_construct(verdict=verdict, evaluated=evaluated, compares=True)
    for verdict, evaluated in (("open", True), ("borderline", True), ("closed", True), ("closed", False))
)


@pytest.mark.parametrize(
    ("policy", "gates", "needed"),
    [
        ("borderline", [OPEN], "nothing"),
        ("always", [OPEN], "approval"),
        ("borderline", [UNSURE, OPEN], "approval"),
        ("never", [UNSURE], "another candidate"),
        ("always", [BAD], "another candidate"),
        ("never", [GONE], "override"),
        ("borderline", [GONE, UNSURE], "override"),
        ("never", [GONE, UNSURE], "another candidate"),
        ("always", [GONE, BAD], "another candidate"),
        ("always", [GONE.model_copy(update={"compares": False})], "another candidate"),
    ],
)
def test_a_person_is_asked_only_about_what_they_may_decide(policy: Policy, gates: list[GateEntry], needed: str):
    """A borderline gate, if the policy allows it, or an earlier champion that can't be evaluated any more.

    Never the champion itself, nor a candidate that was compared with a harmful champion that goes.
    """
    known = {"champion": None, "bundle": "a" * 64, "harm": None, "about": About.model_construct(params={})}
    report = GateReport.model_construct(verdict=overall(gates), gates=gates, **known)
    assert approvals.need(report, policy) == needed
    itself = report.model_copy(update={"champion": ChampionName.model_construct(version="a" * 64)})
    assert approvals.need(itself, policy) == ("nothing" if gates == [OPEN] else "another candidate")
    about = About.model_construct(params={"promote": {"on_harm": "rollback"}})
    harmed = report.model_copy(update={"harm": Harm(record=2, back_to=1, reason="harm"), "about": about})
    assert approvals.need(harmed, policy) == (needed if gates == [OPEN] else "another candidate")
    about = About.model_construct(params={"promote": {"on_harm": "rollback"}, "gate": {"approval": "always"}})
    assert approvals.need(harmed.model_copy(update={"about": about}), policy) == "another candidate"


def test_a_rejected_candidate_stays_rejected(run: Run, asked, quick, registry):
    """Gate and promote refuse with the person's reason, a later approval is refused, and so is an open gate."""
    answered(registry, approved=False, by="bob", reason="a leak")
    for refused in (lambda: gate(run.here, asked, score), lambda: promoted(run, asked), lambda: answered(registry)):
        with pytest.raises(GateClosed, match=r"bob rejected this candidate at .*a leak"):
            refused()
    opened = set_gate(quick, approval="borderline")
    gate(run.here, opened, score)
    with pytest.raises(GateClosed, match="bob rejected"):
        promoted(run, opened)
    assert states(registry) == ["rejected"] and registry.champion() is None


def test_nobody_answering_is_a_rejection(run: Run, quick, registry):
    """After the days have passed no answer counts, and once gc has removed the request the gate asks again."""
    late = borderline(run, quick, approval_days=MOMENT)
    for refused in (lambda: gate(run.here, late, score), lambda: answered(registry), lambda: promoted(run, late)):
        with pytest.raises(GateClosed, match="nobody approved this candidate until"):
            refused()
    assert states(registry) == ["expired"]
    assert registry.gc() == []  # younger than the grace period
    version = only_request(registry).request.version
    assert f"{registry.name}/approvals/000001-{version}" in registry.gc(timedelta(0), dry_run=False)
    gate(run.here, borderline(run, quick), score)
    assert states(registry) == ["waiting"]


def test_an_approval_covers_the_gates_and_figures_that_were_asked_about(run: Run, asked, registry):
    """If another gate is not open by now, or the same for another reason, nobody has approved that."""
    answered(registry)
    test = read_json(run.here.evaluation)["test"]
    for limits, says in (
        ({"min_gauc": test["gauc"]}, r"other gates: it names min_auc, but not open now are min_auc, min_gauc"),
        ({"min_auc": test["auc"] + 0.003}, r"other figures: of min_auc it says 'undecided: .*', now 'undecided"),
    ):
        other = set_gate(asked, **limits)
        for refused in (gate, lambda here, params, _: promoted(run, params)):
            with pytest.raises(GateClosed, match=says):
                refused(run.here, other, score)
    gate(run.here, asked, score)
    assert promoted(run, asked).record.approval


def test_a_champion_that_appears_meanwhile_ends_the_request(run: Run, quick, registry):
    """The answer would be about a comparison with an outdated champion, so it is refused, and the gate asks again."""
    run.become(0.1)
    params = borderline(run, quick)
    gate(run.here, params, score)
    run.become(0.3)
    crown(registry, run)
    with pytest.raises(GateClosed, match="another champion has appeared"):
        answered(registry)
    run.become(0.1)
    gate(run.here, params, score)
    assert states(registry) == ["outdated", "waiting"]
    assert answered(registry).request.number == 2
    assert promoted(run, params).record.number == 2


def test_a_champion_that_cannot_be_evaluated_is_overridden(run: Run, quick, registry, capsys):
    """Even if nobody approves, the gate stays closed and says how; only --override passes, and every table shows it.

    The next candidate is not compared with the champion that was overridden.
    """
    challenge(registry, run)
    params = set_gate(quick, approval="never")
    with pytest.raises(GateClosed, match=r"(?s)can't be evaluated any more.*din approvals .* --approve --override"):
        gate(run.here, params, unscorable)
    request = only_request(registry).request
    assert {gate.name for gate in request.gates} == NEED_SCORES and request.needs_override
    assert states(registry) == ["waiting"] and "needs --override" in capsys.readouterr().out
    with pytest.raises(InputError, match="add --override"):
        answered(registry)
    asked = answered(registry, override=True, reason="the field is gone")
    gate(run.here, params, unscorable)
    assert asked.answered
    merely = replace(asked.answered, answer=replace(asked.answered.answer, override=False))
    with pytest.raises(GateClosed, match="ann approved without an override"):
        approvals.granted(replace(asked, answered=merely), read(GateReport, run.here.gate), "override")
    record = promoted(run, params, unscorable).record
    old = record.previous
    assert record.approval and record.approval.override and registry.verify() == []
    assert "ann overrode the gates that are not open: champion_today" in capsys.readouterr().out
    commands.show_list(registry.uri)
    assert "ann (override)" in capsys.readouterr().out
    write_runs(run.here, registry.uri, registry.model_name)
    assert "approved by ann (override): " in run.here.runs_page.read_text("utf-8")
    run.become(0.05)
    gate(run.here, params, lambda *of: unscorable(*of) if sha256_file(of[1] / "manifest.json") == old else score(*of))


@pytest.mark.parametrize(
    ("limits", "lr", "says"),
    [
        ({"max_auc": 0.7}, 1.0, "implausible_gain: too good to be true"),
        ({"calibration": (0.7, 0.8)}, 1.0, "none of it within 0.7000 to 0.8000"),
        ({}, 0.0, "auc_over_lr: "),
    ],
)
def test_an_override_waives_no_check_of_the_candidate_itself(limits, lr: float, says: str, run: Run, quick, registry):
    """A candidate that leaks, is miscalibrated or is worse than LR is refused as on a first run."""
    crown(registry, run)
    run.rows["lr"] = probabilities(lr, run.rows["item"])
    run.become(0.5)
    with pytest.raises(GateClosed, match=says):
        gate(run.here, set_gate(quick, **limits), unscorable)
    assert registry.approvals.requests() == []


def folder_of(run: Run) -> Path:
    (folder,) = (run.here.root / "registry").rglob("approvals/*")
    return folder


@pytest.mark.parametrize(
    ("file", "values", "error", "says"),
    [
        ("request.json", {"gates": []}, InputError, "answers another request"),
        ("answer.json", {"at": "2100-01-01T00:00:00+00:00"}, GateClosed, "nobody approved"),
        ("request.json", None, GateClosed, "nobody was asked"),
        ("answer.json", None, GateClosed, "it waits for approval"),
    ],
)
def test_a_tampered_approval_promotes_nothing_and_is_found_later(
    file: str, values, error, says: str, run: Run, asked, registry
):
    """Whoever edits or removes a file approves nothing. After a promotion, `verify` compares the hashes."""
    answered(registry)
    path = folder_of(run) / file
    sound = path.read_bytes()

    def tamper() -> None:
        edit(path, lambda found: found | values) if values else path.unlink()

    tamper()
    with pytest.raises(error, match=says):
        promoted(run, asked)
    path.write_bytes(sound)
    record = promoted(run, asked).record
    tamper()
    (problem,) = registry.verify()
    assert record.version in problem
    assert registry.champion() == record  # serving goes on


def test_one_damaged_request_holds_up_no_other(run: Run, asked, registry, capsys):
    """Requests are listed, answered and cleared away as before; verify and approvals name the damaged one."""
    damaged = folder_of(run).parent / f"000001-{'0' * 64}" / "request.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    assert states(registry) == ["waiting"]
    assert f"000001-{'0' * 64}: damaged; remove this folder" in capsys.readouterr().err
    assert answered(registry).answered
    assert any("remove this folder" in line for line in registry.verify())
    registry.gc(timedelta(0), dry_run=False)
    assert registry.verify() == [] and states(registry) == ["approved"]


def test_the_commands_answer_with_exit_codes(run: Run, asked, quick, registry, monkeypatch):
    """0 for an answer, 2 for a name that nobody asked under, 3 for a decision that comes second."""
    version = only_request(registry).request.version
    run.here.params.write_text(json.dumps(to_json(quick)))
    monkeypatch.chdir(run.here.root)
    monkeypatch.setenv("LOGNAME", "dora")
    for words, code, says in (
        (["nosuch", "--approve", "--reason", "x"], 2, "'nosuch' names 0 requests"),
        ([version, "--approve"], 2, "an answer needs a RUN, --approve or --reject, and a --reason"),
        ([version, "--reject", "--reason", " "], 2, "an answer needs"),
        ([version, "--reason", "x"], 2, "an answer needs"),
        ([version[:10], "--approve", "--reason", "x", "--override"], 2, "leave out --override"),
        ([version[:10], "--reject", "--reason", "a leak"], 0, "rejected by dora"),
        ([version[:10], "--approve", "--reason", "x"], 3, "dora rejected this candidate"),
    ):
        done = CliRunner().invoke(cli.app, ["approvals", *words])
        assert done.exit_code == code and says in done.output, words
    (found,) = json.loads(CliRunner().invoke(cli.app, ["approvals", "--json"]).output)
    assert (found["state"], found["answer"]["by"], found["gates"][0]["name"]) == ("rejected", "dora", "min_auc")
