"""Decide whether a candidate needs a person's approval, request it, and check the answer.

A candidate whose gates are not all open may pass in two ways. An approval covers borderline gates, if `gate.approval`
allows it. An override covers gates that compare with an earlier champion that can no longer be evaluated. Either covers
exactly the gates and figures that its request states, for one candidate and one champion before it.
"""

import json
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from din.errors import GateClosed, InputError, listed, shown
from din.names import RunId
from din.params.gate import Policy
from din.printing import print_table
from din.registry.approval_requests import Answer, Case, HeldGate, Request
from din.registry.records import Approved
from din.registry.registry import Registry
from din.verdicts import GateEntry, GateReport

Need = Literal["nothing", "approval", "override", "another candidate"]
"""The help that a candidate needs to pass, from the least to the most."""
_NEEDS: tuple[Need, ...] = get_args(Need)
_MOST_REASON = 1000


def need(report: GateReport, policy: Policy) -> Need:
    """Return the help that a candidate needs to pass.

    Nobody is asked about the champion itself, nor about a candidate while the champion is due to be rolled back.
    """
    champion = report.champion
    is_champion = champion is not None and champion.version == report.bundle
    if report.verdict == "open":
        return "approval" if policy == "always" and not is_champion else "nothing"
    if is_champion or report.harm_to_undo:
        return "another candidate"
    needs: list[Need] = sorted((_need(gate, policy) for gate in report.not_open), key=_NEEDS.index)
    return needs[-1] if needs else "another candidate"


def _need(gate: GateEntry, policy: Policy) -> Need:
    """Return the help that a candidate needs to pass this gate, which is not open."""
    if gate.verdict == "borderline" and policy != "never":
        return "approval"
    return "override" if gate.compares and not gate.evaluated else "another candidate"


def ask(registry: Registry, report: GateReport, needed: Need, days: float, run_id: RunId | None) -> Case:
    """Return the request for an approval or override of a report's candidate, and store it if there is none yet.

    A new request expires after `days` days.

    Raises:
        GateClosed: the stored request names other gates or figures than the report.
    """
    assert report.bundle  # without a sound bundle, gates on the candidate itself are closed
    now = datetime.now(UTC)
    request = Request(
        number=next_number(report),
        version=report.bundle,
        run_id=run_id,
        gates=tuple(HeldGate(name=one.name, reason=_reason(one)) for one in report.not_open),
        needs_override=needed == "override",
        at=now.isoformat(timespec="seconds"),
        expires=(now + timedelta(days=days)).isoformat(timespec="seconds"),
    )
    case = registry.approvals.ask(request)
    check_same_gates(case, report, needed)
    return case


def next_number(report: GateReport) -> int:
    """Return the record number that the promotion of a report's candidate would get."""
    champion = report.champion
    return champion.number + 1 if champion else 1


def check_same_gates(case: Case, report: GateReport, needed: Need) -> None:
    """Check that an approval was requested for the same gates, figures and limits that a report holds back.

    Raises:
        GateClosed: a gate was added or removed, only one of request and report needs an override, or the reason of an
            evaluated gate, which states figures and limits, has changed.
    """
    request = case.request
    advice = "Bring back the parameters with which the gate asked, or train another candidate"
    about = f"the request for approval of {request.version[:12]} (record {request.number}) is about other"
    asked = {gate.name: gate.reason for gate in request.gates}
    found = {gate.name: gate for gate in report.not_open}
    if asked.keys() != found.keys() or request.needs_override != (needed == "override"):
        raise GateClosed(
            f"{about} gates: it names {listed(sorted(asked)) or 'none'}, but not open now are "
            f"{listed(sorted(found)) or 'none'}. {advice}"
        )
    for name, gate in found.items():
        if gate.evaluated and _reason(gate) != asked[name]:
            raise GateClosed(f"{about} figures: of {name} it says {asked[name]!r}, now {_reason(gate)!r}. {advice}")


def granted(case: Case | None, report: GateReport, needed: Need) -> Approved | None:
    """Return the approval that lets a candidate pass, or None if it needs none.

    Raises:
        GateClosed: nobody was asked, nobody has answered, the candidate was rejected, the request has expired, or it
            names other gates or figures.
    """
    if case is None:
        if needed == "nothing":
            return None
        raise GateClosed("a person must approve, and nobody was asked; run `dvc repro gate`, which asks")
    state = case.state(datetime.now(UTC), case.request.number - 1)
    if state == "rejected" or (needed != "nothing" and state == "expired"):
        raise GateClosed(why_rejected(case))
    if needed == "nothing":
        return None
    check_same_gates(case, report, needed)
    if case.answered is None:
        raise GateClosed(f"it waits for approval until {case.request.expires}; `din approvals` shows the requests")
    answer = case.answered.answer
    if needed == "override" and not answer.override:
        raise GateClosed(f"{answer.by} approved without an override, and the earlier champion was not evaluated")
    return Approved(by=answer.by, override=answer.override, answer=case.answered.digest)


def why_rejected(case: Case) -> str:
    """Return a sentence that names who rejected a candidate, or says that nobody answered in time."""
    if case.answered and not case.answered.answer.approved:
        answer = case.answered.answer
        return f"{answer.by} rejected this candidate at {answer.at}: {answer.reason}"
    return (
        f"nobody approved this candidate until {case.request.expires}, which rejects it; train another one, or ask "
        "again once `din registry gc` has removed the request"
    )


def how_to_answer(registry: Registry, case: Case) -> str:
    """Return the commands that approve and reject, with a placeholder for the reason."""
    where = ["--registry", registry.uri, "--model", registry.model_name]
    name = case.request.version[:12]
    override = ["--override"] if case.request.needs_override else []
    approve = shlex.join(["din", "approvals", name, "--approve", *override, *where])
    reject = shlex.join(["din", "approvals", name, "--reject", *where])
    return f"    {approve} --reason WHY\n    {reject} --reason WHY"


def answer(uri: str, model_name: str, name: str, approved: bool, by: str, reason: str, override: bool = False) -> Case:
    """Store and print a person's answer to a request, named by its run or by the beginning of its candidate's version.

    With `override`, approve although the earlier champion was not evaluated.

    Returns:
        The request with the answer that counts, which may be an earlier equal decision.

    Raises:
        InputError: none or several requests have that name, or `override` is not what the request needs.
        GateClosed: the request has expired, another champion has appeared since, or somebody decided otherwise.
    """
    registry = Registry(uri, model_name)
    case = _find(registry, name)
    request = case.request
    place = f"{registry.name}: record {request.number}, bundle {request.version[:12]}"
    if approved and override != request.needs_override:
        was, advice = ("can't be", "add") if request.needs_override else ("was", "leave out")
        raise InputError(f"{place}: the earlier champion {was} evaluated, so {advice} --override")
    now = datetime.now(UTC)
    state = case.state(now, registry.newest())
    if state == "outdated":
        raise GateClosed(f"{place}: another champion has appeared since this candidate was judged; run the gate again")
    if state == "expired":
        raise GateClosed(f"{place}: {why_rejected(case)}")
    given = Answer(
        request=case.digest,
        approved=approved,
        override=approved and override,
        by=by,
        reason=reason,
        at=now.isoformat(timespec="seconds"),
    )
    answered = registry.approvals.answer(case, given)
    stored = answered.answer
    verb = "approved" if approved else "rejected"
    advice = "; `din promote` makes it the champion" if approved else ""
    print(f"{request.version} (record {request.number}): {verb} by {stored.by} at {stored.at}{advice}")
    return Case(request, case.digest, answered)


def _find(registry: Registry, name: str) -> Case:
    """Return the matching request: the one that waits for an answer, or else the newest.

    Raises:
        InputError: none matches, or several matching ones wait.
    """
    cases = registry.approvals.cases()
    run_id = RunId.of(name)
    found = [case for case in cases if case.request.run_id == run_id or case.request.version.startswith(name)]
    now = datetime.now(UTC)
    number = registry.newest()
    every = [case for case in cases if case.state(now, number) == "waiting"]
    waiting = [case for case in found if case in every]
    if len(waiting) == 1 or (found and not waiting):
        return (waiting or found)[-1]
    known = listed(f"{case.request.run_id or 'no run'} ({case.request.version[:12]})" for case in every) or "none"
    raise InputError(f"{registry.name}: {shown(name)} names {len(waiting)} requests, expected one; waiting: {known}")


def _reason(gate: GateEntry) -> str:
    """Return why a gate is not open, as one printable line of at most `_MOST_REASON` characters."""
    text = gate.reason or gate.verdict
    return (text if text.isprintable() else shown(text))[:_MOST_REASON]


def show_approvals(uri: str, model_name: str, as_json: bool = False) -> list[dict[str, Any]]:
    """Print all requests for approval with their states and answers, as a table or as JSON."""
    registry = Registry(uri, model_name)
    newest = registry.newest()
    now = datetime.now(UTC)
    found = [
        asdict(case.request)
        | {"state": case.state(now, newest), "answer": asdict(case.answered.answer) if case.answered else None}
        for case in registry.approvals.cases()
    ]
    if as_json:
        print(json.dumps(found, indent=2))
        return found
    columns = ("number", "version", "run", "state", "gates", "asked", "expires", "answered by", "reason")
    rows = [
        (
            one["number"],
            one["version"][:12],
            one["run_id"],
            one["state"] + (" (needs --override)" if one["needs_override"] and one["state"] == "waiting" else ""),
            ", ".join(gate["name"] for gate in one["gates"]) or "all open",
            one["at"],
            one["expires"],
            _answerer(one["answer"]),
            one["answer"]["reason"] if one["answer"] else None,
        )
        for one in found
    ]
    print_table(f"{registry.name}: {len(rows)} requests for approval", columns, rows)
    for line in registry.approvals.damage():
        print(f"warning: {line}", file=sys.stderr)
    return found


def _answerer(answer: dict[str, Any] | None) -> str | None:
    return None if answer is None else answer["by"] + (" (override)" if answer["override"] else "")
