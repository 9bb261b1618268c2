"""Approval by a person: who must be asked, which answer counts, and what a promotion says of it for ever."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from din import approvals, cli, documents
from din.approvals import decide
from din.artifacts import read_json
from din.errors import GateClosed, InputError
from din.gates.gate import gate
from din.params import Params, to_json
from din.promotion.promote import promote
from din.registry import commands
from din.registry.approval_requests import Case
from din.registry.records import Approved
from din.registry.registry import Registry
from din.report.runs import write_runs
from din.verdicts import GateReport
from din.workspace import Workspace
from tests.factories.run import NEED_SCORES, Run, crown, edit, judge, score, set_gate

MOMENT = 1e-12  # of a day: the request has expired when it is stored


def promoted(run: Run, params: Params, score: Callable = score):
    """Promote with the tests' defaults."""
    return promote(run.here, params, by="nightly", score=score)


def unscorable(workspace: Workspace, bundle, rows):
    """Fail as a bundle that needs a field of the log that is gone."""
    raise RuntimeError("needs a field 'age' that is gone")


def borderline(run: Run, params: Params, policy: str = "borderline", **settings) -> Params:
    """Return parameters with which `min_auc` alone is borderline."""
    auc = read_json(run.here.evaluation)["test"]["auc"]
    return set_gate(params, min_auc=auc, approval=policy, **settings)


def only_case(registry: Registry) -> Case:
    """Return the registry's only request."""
    (case,) = registry.approvals.cases()
    return case


def answered(
    registry: Registry, approved=True, override=False, by="ann", reason="fine", name: str | None = None
) -> Case:
    """Answer the registry's only request, or one by its name."""
    return decide(registry, name or only_case(registry).request.version, approved, override, by, reason)


def states(registry: Registry) -> list[str]:
    """Return the states of all requests."""
    return [one["state"] for one in approvals.show_approvals(registry.uri, registry.model_name)]


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
    version = read_json(run.here.gate)["bundle"]
    assert read_json(run.here.gate)["verdict"] == "borderline"
    request = only_case(registry).request
    assert (request.number, request.version, request.run_id, request.needs_override) == (1, version, None, False)
    assert [gate.name for gate in request.gates] == ["min_auc"] and "not all of it above" in request.gates[0].reason
    printed = capsys.readouterr().out
    where = f"--registry {registry.uri} --model {registry.model_name} --reason WHY"
    assert f"waits for a person's approval until {request.expires}" in printed
    assert all(f"din approvals {version[:12]} --{answer} {where}" in printed for answer in ("approve", "reject"))
    with pytest.raises(GateClosed, match="nothing promoted: it waits for approval until"):
        promoted(run, params)
    assert states(registry) == ["waiting"]
    approvals.answer(registry.uri, registry.model_name, version[:8], True, "ann", "looked at the slices")
    assert states(registry) == ["approved"]
    gate(run.here, params, score)
    assert "approved by ann" in capsys.readouterr().out
    record = promoted(run, params).record
    assert "ann approved the gates that are not open: min_auc." in capsys.readouterr().out
    case = only_case(registry)
    assert case.answered
    assert record.approval == Approved(by="ann", override=False, answer=case.answered.digest)
    assert (record.by, record.reason) == ("nightly", "approved by ann")
    assert registry.verify() == [] and registry.champion() == record
    assert not promoted(run, params).appended


def test_always_asks_about_open_gates_too(run: Run, quick, registry):
    """The verdict stays open, and the promotion waits nevertheless; the champion itself needs no second approval."""
    params = set_gate(quick, approval="always")
    assert judge(run.here, params)["verdict"] == "open"
    assert only_case(registry).request.gates == ()
    with pytest.raises(GateClosed, match="waits for approval"):
        promoted(run, params)
    answered(registry)
    assert promoted(run, params).record.approval
    gate(run.here, params, score)
    assert len(registry.approvals.cases()) == 1
    assert not promoted(run, params).appended


NOBODY = {
    "a borderline gate under never": (lambda run, quick: borderline(run, quick, "never"), "the gate is borderline"),
    "an open gate under borderline": (lambda run, quick: set_gate(quick, approval="borderline"), None),
    "a closed gate": (lambda run, quick: set_gate(quick, min_auc=0.95, approval="always"), "the gate is closed"),
}


@pytest.mark.parametrize("case", NOBODY)
def test_nobody_is_asked(case: str, run: Run, quick, registry):
    """A gate that needs nobody, or that nobody may approve, stores no request, and a record names nobody."""
    limits, refusal = NOBODY[case]
    params = limits(run, quick)
    judge(run.here, params)
    assert registry.approvals.cases() == []
    if refusal:
        with pytest.raises(GateClosed, match=refusal):
            promoted(run, params)
    else:
        record = promoted(run, params).record
        assert record.approval is None and record.reason == "gate open"


def test_a_rejected_candidate_stays_rejected(run: Run, asked, quick, registry):
    """Gate and promote refuse with the person's reason, a later approval is refused, and so is an open gate."""
    approvals.answer(registry.uri, registry.model_name, only_case(registry).request.version, False, "bob", "a leak")
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
    with pytest.raises(GateClosed, match="nobody approved this candidate until"):
        gate(run.here, late, score)
    for approved in (True, False):
        with pytest.raises(GateClosed, match="nobody approved this candidate until"):
            answered(registry, approved)
    with pytest.raises(GateClosed, match="nothing promoted: nobody approved"):
        promoted(run, late)
    assert states(registry) == ["expired"]
    assert registry.gc() == []  # younger than the grace period
    version = only_case(registry).request.version
    assert f"{registry.name}/approvals/000001-{version}" in registry.gc(timedelta(0), dry_run=False)
    gate(run.here, borderline(run, quick), score)
    assert states(registry) == ["waiting"]


def test_asking_again_changes_nothing(run: Run, asked, registry):
    """Gates that ask later, or at the same time, find the first request with its end."""
    first = only_case(registry)
    gate(run.here, set_gate(asked, approval_days=9), score)
    report = documents.read(GateReport, run.here.gate)
    with ThreadPoolExecutor(8) as pool:
        cases = list(pool.map(lambda _: approvals.ask(registry, report, "approval", 3, None), range(8)))
    assert cases == [first] * 8 and only_case(registry) == first


def test_an_approval_covers_the_gates_that_were_asked_about(run: Run, asked, registry):
    """If another gate is not open by now, gate and promote refuse and name both sets of gates."""
    answered(registry)
    more = set_gate(asked, min_gauc=read_json(run.here.evaluation)["test"]["gauc"])
    with pytest.raises(GateClosed, match=r"it names min_auc, but not open now are min_auc, min_gauc"):
        gate(run.here, more, score)
    with pytest.raises(GateClosed, match=r"nothing promoted: the request .* is about other gates"):
        promoted(run, more)
    edit(run.here.gate, lambda report: report | {"gates": [g for g in report["gates"] if g["name"] != "min_gauc"]})
    with pytest.raises(GateClosed, match="differs from its gates judged again: min_gauc"):
        promoted(run, more)
    assert registry.champion() is None


def test_an_approval_covers_the_figures_that_were_asked_about(run: Run, asked, registry):
    """If a limit has changed since, the same gate is borderline for another reason, which nobody approved."""
    answered(registry)
    other = set_gate(asked, min_auc=read_json(run.here.evaluation)["test"]["auc"] + 0.003)
    with pytest.raises(GateClosed, match=r"is about other figures: of min_auc it says 'undecided: .*', now 'undecided"):
        gate(run.here, other, score)
    with pytest.raises(GateClosed, match=r"nothing promoted: the request .* is about other figures"):
        promoted(run, other)
    gate(run.here, asked, score)
    assert promoted(run, asked).record.approval


def test_a_champion_that_appears_meanwhile_ends_the_request(run: Run, quick, registry):
    """The answer would be about a comparison with an outdated champion, so it is refused, and the gate asks again."""
    run.noise = 0.1
    run.finish()
    params = borderline(run, quick)
    gate(run.here, params, score)
    version = only_case(registry).request.version
    run.noise = 0.3
    run.finish()
    crown(registry, run)
    assert states(registry) == ["outdated"]
    with pytest.raises(GateClosed, match="another champion has appeared"):
        answered(registry)
    run.noise = 0.1
    run.finish()
    gate(run.here, params, score)
    assert states(registry) == ["outdated", "waiting"]
    assert answered(registry, name=version[:8]).request.number == 2
    assert promoted(run, params).record.number == 2


@pytest.fixture
def stranded(run: Run, registry: Registry) -> Run:
    """Return a candidate beside a champion that can't score today's rows."""
    crown(registry, run)
    run.noise = 0.1
    run.finish()
    return run


def test_a_champion_that_cannot_be_evaluated_is_overridden(stranded: Run, quick, registry, capsys):
    """Even if nobody approves, the gate stays closed and says how; only --override passes, and every table shows it."""
    params = set_gate(quick, approval="never")
    with pytest.raises(GateClosed, match=r"(?s)can't be evaluated any more.*din approvals .* --approve --override"):
        gate(stranded.here, params, unscorable)
    request = only_case(registry).request
    assert {gate.name for gate in request.gates} == NEED_SCORES and request.needs_override
    assert states(registry) == ["waiting"] and "needs --override" in capsys.readouterr().out
    with pytest.raises(GateClosed, match="waits for approval"):
        promoted(stranded, params, unscorable)
    with pytest.raises(InputError, match="add --override"):
        answered(registry)
    answered(registry, override=True, reason="the field is gone")
    gate(stranded.here, params, unscorable)
    record = promoted(stranded, params, unscorable).record
    assert record.approval and record.approval.override and registry.verify() == []
    assert "ann overrode the gates that are not open: champion_today" in capsys.readouterr().out
    commands.show_list(registry.uri)
    assert "ann (override)" in capsys.readouterr().out
    commands.show(registry.uri, registry.model_name)
    assert json.loads(capsys.readouterr().out)["approval"]["override"] is True
    write_runs(stranded.here, registry.uri, registry.model_name)
    assert "approved by ann (override): " in stranded.here.runs_page.read_text("utf-8")


def test_an_override_covers_nothing_else(stranded: Run, quick, registry):
    """Beside a gate that is closed by its figure, or borderline where nobody may approve that, nobody is asked."""
    for limits in (set_gate(quick, min_auc=0.95, approval="always"), borderline(stranded, quick, "never")):
        with pytest.raises(GateClosed):
            gate(stranded.here, limits, unscorable)
    assert registry.approvals.cases() == []
    both = borderline(stranded, quick)
    with pytest.raises(GateClosed, match="--override"):
        gate(stranded.here, both, unscorable)
    assert {gate.name for gate in only_case(registry).request.gates} == NEED_SCORES | {"min_auc"}


FAULTS = {
    "the answer edited": lambda folder: edit(folder / "answer.json", lambda a: a | {"by": "eve"}),
    "the answer removed": lambda folder: (folder / "answer.json").unlink(),
    "the request edited": lambda folder: edit(folder / "request.json", lambda r: r | {"run_id": "eve"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_a_changed_answer(run: Run, asked, registry, fault):
    """The record holds the answer's hash, and the answer that of its request."""
    answered(registry)
    record = promoted(run, asked).record
    (folder,) = (run.here.root / "registry").rglob(f"approvals/*-{record.version}")
    FAULTS[fault](folder)
    (problem,) = registry.verify()
    assert record.version in problem
    assert registry.champion() == record  # serving goes on


def test_one_damaged_request_holds_up_no_other(run: Run, asked, registry, capsys):
    """Requests are listed, answered and cleared away as before; verify and approvals name the damaged one."""
    (folder,) = (run.here.root / "registry").rglob("approvals")
    damaged = folder / f"000001-{'0' * 64}" / "request.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    assert states(registry) == ["waiting"]
    assert f"000001-{'0' * 64}: damaged; remove this folder" in capsys.readouterr().err
    assert answered(registry).answered
    assert any("remove this folder" in line for line in registry.verify())
    registry.gc(timedelta(0), dry_run=False, never_promoted=registry.versions())
    assert registry.verify() == [] and states(registry) == ["approved"]


TAMPERED = {
    "a request that was edited after somebody approved it": (
        lambda folder: edit(folder / "request.json", lambda request: request | {"gates": []}),
        InputError,
        "answers another request",
    ),
    "an answer from after the request's end": (
        lambda folder: edit(
            folder / "answer.json", lambda answer: answer | {"at": read_json(folder / "request.json")["expires"]}
        ),
        GateClosed,
        "nobody approved",
    ),
    "a request that is gone": (
        lambda folder: (folder / "request.json").unlink(),
        GateClosed,
        "nobody was asked; run `dvc repro gate`",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_approval_promotes_nothing(how: str, run: Run, asked, registry):
    """Whoever writes past the commands approves nothing."""
    tamper, error, says = TAMPERED[how]
    version = answered(registry).request.version
    (folder,) = (run.here.root / "registry").rglob(f"approvals/*-{version}")
    tamper(folder)
    with pytest.raises(error, match=says):
        promoted(run, asked)


def test_the_commands_answer_with_exit_codes(run: Run, asked, quick, registry, monkeypatch):
    """0 for an answer, 2 for a name that nobody asked under, 3 for a decision that comes second."""
    version = only_case(registry).request.version
    run.here.params.write_text(json.dumps(to_json(quick)))
    monkeypatch.chdir(run.here.root)
    monkeypatch.setenv("LOGNAME", "dora")

    def din(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.app, list(words))
        return done.exit_code, done.output

    assert din("approvals", "nosuch", "--approve", "--reason", "x")[0] == 2
    for incomplete in (["--approve"], ["--reject", "--reason", " "], ["--reason", "x"]):
        code, told = din("approvals", version[:10], *incomplete)
        assert code == 2 and "an answer needs a RUN, --approve or --reject, and a --reason" in told
    assert din("approvals", version[:10], "--approve", "--reason", "fine", "--override")[0] == 2
    done = CliRunner().invoke(cli.app, ["approvals", version[:10], "--reject", "--reason", "a leak", "--json"])
    assert done.exit_code == 0 and "rejected by dora" in done.stderr
    assert json.loads(done.stdout)["answered"]["answer"]["by"] == "dora"
    code, told = din("approvals", version[:10], "--approve", "--reason", "fine")
    assert code == 3 and "dora rejected this candidate" in told
    (found,) = json.loads(din("approvals", "--json")[1])
    assert (found["state"], found["answer"]["by"], found["gates"][0]["name"]) == ("rejected", "dora", "min_auc")
    elsewhere = din("approvals", "--registry", registry.uri, "--model", registry.model_name)[1]
    assert version[:12] in elsewhere and "min_auc" in elsewhere
