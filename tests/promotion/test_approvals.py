"""Approval by a person: who must be asked, which answer counts, and what a promotion says of it for ever."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from judging import NEED_SCORES, crown, judge, set_gate
from miniature import Run, edit, score
from typer.testing import CliRunner

from din import approvals, cli
from din.approvals import decide
from din.artifacts import read_json
from din.errors import GateClosed, InputError
from din.gates.gate import gate
from din.params import Params, to_json
from din.promotion.promote import promote
from din.registry import commands
from din.registry.approval_requests import AnsweredAlready, Case
from din.registry.records import Approved
from din.registry.registry import Registry
from din.report.runs_page import write_runs
from din.workspace import Workspace

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


def states(registry: Registry) -> list[str]:
    """Return the states of all requests."""
    return [one["state"] for one in approvals.show_approvals(registry.uri, registry.model_name)]


def test_never_asks_nobody(run: Run, quick, registry):
    """By default a borderline gate is closed, and nothing is stored."""
    judge(run.here, borderline(run, quick, "never"))
    assert registry.approvals.cases() == []


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
    approvals.approve(registry.uri, registry.model_name, version[:8], "ann", "looked at the slices")
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
    decide(registry, only_case(registry).request.version, True, False, "ann", "fine")
    assert promoted(run, params).record.approval
    gate(run.here, params, score)
    assert len(registry.approvals.cases()) == 1
    assert not promoted(run, params).appended


def test_an_open_gate_needs_nobody_under_borderline(run: Run, quick, registry):
    """Only gates that are not open are asked about, and the record names nobody."""
    params = set_gate(quick, approval="borderline")
    gate(run.here, params, score)
    record = promoted(run, params).record
    assert record.approval is None and record.reason == "gate open"
    assert registry.approvals.cases() == []


def test_a_closed_gate_asks_nobody(run: Run, quick, registry):
    """No policy lets a person approve a gate that was evaluated and is closed."""
    judge(run.here, set_gate(quick, min_auc=0.95, approval="always"))
    assert registry.approvals.cases() == []
    with pytest.raises(GateClosed, match="the gate is closed"):
        promoted(run, set_gate(quick, min_auc=0.95, approval="always"))


def test_a_rejected_candidate_stays_rejected(run: Run, quick, registry):
    """Gate and promote refuse with the person's reason, a later approval is refused, and so is an open gate."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    approvals.reject(registry.uri, registry.model_name, only_case(registry).request.version, "bob", "a leak")
    for refused in (lambda: gate(run.here, params, score), lambda: promoted(run, params)):
        with pytest.raises(GateClosed, match=r"bob rejected this candidate at .*: a leak"):
            refused()
    with pytest.raises(AnsweredAlready, match=r"bob rejected this candidate .*a leak"):
        decide(registry, only_case(registry).request.version, True, False, "ann", "no leak")
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
    name = only_case(registry).request.version
    for approved in (True, False):
        with pytest.raises(GateClosed, match="nobody approved this candidate until"):
            decide(registry, name, approved, False, "ann", "late")
    with pytest.raises(GateClosed, match="nothing promoted: nobody approved"):
        promoted(run, late)
    assert states(registry) == ["expired"]
    assert registry.gc() == []  # younger than the grace period
    assert f"{registry.name}/approvals/000001-{name}" in registry.gc(timedelta(0), dry_run=False)
    gate(run.here, borderline(run, quick), score)
    assert states(registry) == ["waiting"]


def test_gc_keeps_requests_that_wait_and_answers(run: Run, quick, registry, monkeypatch):
    """With the files of the run that asks, which its promotion needs."""
    monkeypatch.setenv("DIN_RUN_ID", "nightly:1")
    gate(run.here, borderline(run, quick), score)
    registry.put_run("nightly:1", {"gate.json": b"{}"})
    assert registry.gc(timedelta(0), dry_run=False) == []
    decide(registry, "nightly:1", False, False, "bob", "no")
    assert registry.gc(timedelta(0), dry_run=False) == []
    assert states(registry) == ["rejected"]


def test_asking_again_changes_nothing(run: Run, quick, registry):
    """The gate is run again while the candidate waits: the request and its end stay as they are."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    first = only_case(registry)
    gate(run.here, replace(params, gate=replace(params.gate, approval_days=9)), score)
    assert only_case(registry) == first


def test_an_approval_covers_the_gates_that_were_asked_about(run: Run, quick, registry):
    """If another gate is not open by now, gate and promote refuse and name both sets of gates."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    decide(registry, only_case(registry).request.version, True, False, "ann", "fine")
    gauc = read_json(run.here.evaluation)["test"]["gauc"]
    more = set_gate(params, min_gauc=gauc)
    with pytest.raises(GateClosed, match=r"it names min_auc, but not open now are min_auc, min_gauc"):
        gate(run.here, more, score)
    with pytest.raises(GateClosed, match=r"nothing promoted: the request .* is about other gates"):
        promoted(run, more)
    edit(run.here.gate, lambda report: report | {"gates": [g for g in report["gates"] if g["name"] != "min_gauc"]})
    with pytest.raises(GateClosed, match="differs from its gates judged again: min_gauc"):
        promoted(run, more)
    assert registry.champion() is None


def test_an_approval_covers_the_figures_that_were_asked_about(run: Run, quick, registry):
    """If a limit has changed since, the same gate is borderline for another reason, which nobody approved."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    decide(registry, only_case(registry).request.version, True, False, "ann", "fine")
    other = set_gate(params, min_auc=read_json(run.here.evaluation)["test"]["auc"] + 0.003)
    with pytest.raises(GateClosed, match=r"is about other figures: of min_auc it says 'undecided: .*', now 'undecided"):
        gate(run.here, other, score)
    with pytest.raises(GateClosed, match=r"nothing promoted: the request .* is about other figures"):
        promoted(run, other)
    gate(run.here, params, score)
    assert promoted(run, params).record.approval


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
        decide(registry, version, True, False, "ann", "late")
    run.noise = 0.1
    run.finish()
    gate(run.here, params, score)
    assert states(registry) == ["outdated", "waiting"]
    assert decide(registry, version[:8], True, False, "ann", "fine").request.number == 2
    assert promoted(run, params).record.number == 2


@pytest.fixture
def stranded(run: Run, registry: Registry) -> Run:
    """Return a candidate beside a champion that can't score today's rows."""
    crown(registry, run)
    run.noise = 0.1
    run.finish()
    return run


@pytest.mark.parametrize("policy", ["never", "borderline"])
def test_a_champion_that_cannot_be_evaluated_is_overridden(stranded: Run, quick, registry, policy, capsys):
    """Under any policy the gate stays closed and says how; only --override passes, and every table shows it."""
    params = set_gate(quick, approval=policy)
    with pytest.raises(GateClosed, match=r"(?s)can't be evaluated any more.*din approvals .* --approve --override"):
        gate(stranded.here, params, unscorable)
    request = only_case(registry).request
    assert {gate.name for gate in request.gates} == NEED_SCORES and request.needs_override
    assert states(registry) == ["waiting"] and "needs --override" in capsys.readouterr().out
    with pytest.raises(GateClosed, match="waits for approval"):
        promoted(stranded, params, unscorable)
    with pytest.raises(InputError, match="add --override"):
        approvals.approve(registry.uri, registry.model_name, request.version, "ann", "the field is gone")
    approvals.approve(registry.uri, registry.model_name, request.version, "ann", "the field is gone", override=True)
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


def test_an_override_that_nobody_needs_is_refused(run: Run, quick, registry):
    """So that tables show overrides only where the earlier champion was not evaluated."""
    gate(run.here, borderline(run, quick), score)
    with pytest.raises(InputError, match="leave out --override"):
        decide(registry, only_case(registry).request.version, True, True, "ann", "just in case")
    assert states(registry) == ["waiting"]


def test_a_champion_that_works_again_needs_another_request(stranded: Run, quick, registry):
    """An override does not cover the same gates once they were evaluated and are borderline."""
    with pytest.raises(GateClosed):
        gate(stranded.here, quick, unscorable)
    decide(registry, only_case(registry).request.version, True, True, "ann", "gone")
    assert judge(stranded.here, quick)["verdict"] == "open"
    assert promoted(stranded, quick).record.approval is None  # open gates need nobody


def test_the_first_of_many_answers_counts(run: Run, quick, registry):
    """If sixteen people decide at once, one decision counts, and the others hear of it."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    case = only_case(registry)

    def answer(person: int) -> bool | None:
        try:
            found = decide(registry, case.request.version, person % 2 == 0, False, f"person {person}", "mine")
        except AnsweredAlready:
            return None
        assert found.answered
        return found.answered.answer.approved

    with ThreadPoolExecutor(16) as pool:
        heard = [one for one in pool.map(answer, range(16)) if one is not None]
    assert len(heard) == 8 and len(set(heard)) == 1
    assert states(registry) == ["approved" if heard[0] else "rejected"]


def test_two_gates_ask_once(run: Run, quick, registry):
    """Two runs of the gate at the same time find one request."""
    report = judge(run.here, borderline(run, quick, "never"))
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: approvals.ask(registry, report, "approval", 3, None), range(8)))
    assert len(registry.approvals.cases()) == len({case.digest for case in asked}) == 1


def test_an_equal_decision_is_no_conflict(run: Run, quick, registry):
    """A retry, or a second person of the same opinion, finds the answer that counts."""
    gate(run.here, borderline(run, quick), score)
    version = only_case(registry).request.version
    first = decide(registry, version, True, False, "ann", "fine")
    assert decide(registry, version, True, False, "bob", "fine too").answered == first.answered


@pytest.mark.parametrize("name", ["nosuch", "f" * 64, "..", ""])
def test_an_unknown_name_lists_the_requests_that_wait(run: Run, quick, registry, monkeypatch, name):
    """The message names each waiting run and version."""
    monkeypatch.setenv("DIN_RUN_ID", "scheduled__2026-01-01T00:00:00+00:00")
    gate(run.here, borderline(run, quick), score)
    with pytest.raises(InputError) as error:
        decide(registry, name, True, False, "ann", "x")
    if name not in ("..", ""):
        version = only_case(registry).request.version
        assert f"waiting: scheduled__2026-01-01T00-00-00-00-00 ({version[:12]})" in str(error.value)
    assert decide(registry, "scheduled__2026-01-01T00:00:00+00:00", True, False, "ann", "x").answered


FAULTS = {
    "the answer edited": lambda folder: edit(folder / "answer.json", lambda a: a | {"by": "eve"}),
    "the answer removed": lambda folder: (folder / "answer.json").unlink(),
    "the request edited": lambda folder: edit(folder / "request.json", lambda r: r | {"run_id": "eve"}),
    "the request removed": lambda folder: (folder / "request.json").unlink(),
    "the request of another candidate": lambda folder: edit(
        folder / "request.json", lambda r: r | {"version": "0" * 64}
    ),
    "an unknown key": lambda folder: edit(folder / "answer.json", lambda a: a | {"until": None}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_a_changed_answer(run: Run, quick, registry, fault):
    """The record holds the answer's hash, and the answer that of its request."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    version = only_case(registry).request.version
    decide(registry, version, True, False, "ann", "fine")
    record = promoted(run, params).record
    (folder,) = (run.here.root / "registry").rglob(f"approvals/*-{version}")
    FAULTS[fault](folder)
    (problem,) = registry.verify()
    assert version in problem
    assert registry.champion() == record  # serving goes on


@pytest.mark.parametrize("damage", ["{", "[]", None], ids=["cut off", "of another form", "a folder"])
def test_one_damaged_request_holds_up_no_other(run: Run, quick, registry, damage, capsys):
    """Requests are listed, answered and cleared away as before; verify and approvals name the damaged one."""
    gate(run.here, borderline(run, quick), score)
    version = only_case(registry).request.version
    (approvals,) = (run.here.root / "registry").rglob("approvals")
    damaged = approvals / f"000001-{'0' * 64}" / "request.json"
    damaged.mkdir(parents=True) if damage is None else damaged.parent.mkdir()
    (damaged / "inside" if damage is None else damaged).write_text(damage or "")
    assert states(registry) == ["waiting"]
    assert f"000001-{'0' * 64}: damaged; remove this folder" in capsys.readouterr().err
    assert decide(registry, version, True, False, "ann", "fine").answered
    assert any("remove this folder" in line for line in registry.verify())
    registry.gc(timedelta(0), dry_run=False, never_promoted=registry.versions())
    assert registry.verify() == [] and states(registry) == ["approved"]


def test_an_answer_to_another_request_promotes_nothing(run: Run, quick, registry):
    """A request that was edited after somebody approved it is damage, not an approval."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    version = only_case(registry).request.version
    decide(registry, version, True, False, "ann", "fine")
    (folder,) = (run.here.root / "registry").rglob(f"approvals/*-{version}")
    edit(folder / "request.json", lambda request: request | {"gates": []})
    with pytest.raises(InputError, match="answers another request"):
        promoted(run, params)


def test_a_late_answer_does_not_count(run: Run, quick, registry):
    """Whoever writes an answer past the commands can't answer an expired request."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    case = only_case(registry)
    decide(registry, case.request.version, True, False, "ann", "fine")
    (folder,) = (run.here.root / "registry").rglob(f"approvals/*-{case.request.version}")
    edit(folder / "answer.json", lambda answer: answer | {"at": case.request.expires})
    with pytest.raises(GateClosed, match="nobody approved"):
        promoted(run, params)


def test_a_promotion_without_a_request_is_refused(run: Run, quick, registry):
    """If the request is gone, e.g. with the registry's namespace, the message says how to ask."""
    params = borderline(run, quick)
    gate(run.here, params, score)
    for path in (run.here.root / "registry").rglob("request.json"):
        path.unlink()
    with pytest.raises(GateClosed, match="nobody was asked; run `dvc repro gate`"):
        promoted(run, params)


def test_a_rollback_names_no_approval(run: Run, quick, registry):
    """The record of a rollback carries none, whatever the record of the version said."""
    params = set_gate(quick, approval="always", max_gain=0.9)
    for noise in (0.3, 0.1):
        run.noise = noise
        version = run.finish()
        gate(run.here, params, score)
        decide(registry, version, True, False, "ann", "fine")
        assert promoted(run, params).record.approval
    assert registry.rollback(1, by="ann", reason="slow").approval is None
    assert registry.verify() == []


def test_the_commands_answer_with_exit_codes(run: Run, quick, registry, monkeypatch):
    """0 for an answer, 2 for a name that nobody asked under, 3 for a decision that comes second."""
    gate(run.here, borderline(run, quick), score)
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
    code, told = din("approvals", "--json")
    (found,) = json.loads(told)
    assert (found["state"], found["answer"]["by"], found["gates"][0]["name"]) == ("rejected", "dora", "min_auc")
    elsewhere = din("approvals", "--registry", registry.uri, "--model", registry.model_name)[1]
    assert version[:12] in elsewhere and "min_auc" in elsewhere
