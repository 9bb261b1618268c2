"""A person's approval of a candidate: when it is needed, how it is requested and answered, and what it covers.

    approvals/000017-<version>/request.json   which gates are not open, and when the request expires
                               answer.json    approved or rejected, by whom and why

A candidate whose gates are not all open may pass in two ways. An approval covers borderline gates, if `gate.approval`
allows it. An override covers gates that compare with an earlier champion that can no longer be evaluated. Either covers
exactly the gates and figures that its request states, for one candidate and one champion before it.

The number is the record number that the promotion would get, so a request becomes outdated when another champion
appears. Both files are written only if absent: asking twice changes nothing, and the first answer counts. An answer has
the hash of its request, and the record of a promotion has the hash of the answer, so `verify` detects edits.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from pydantic import PositiveInt

from din.base import documents
from din.base.errors import GateClosed, InputError, listed, shown
from din.base.names import Digest, Line, Moment, RunId, Version
from din.contracts.verdicts import GateEntry, GateReport
from din.params.gate import Policy
from din.release.registry.objects import Objects, noted
from din.release.registry.records import Approved

APPROVALS = "approvals"
_KEY = re.compile(rf"{APPROVALS}/(\d{{6,}})-([0-9a-f]{{64}})/.*")

State = Literal["waiting", "approved", "rejected", "expired", "outdated"]
Need = Literal["nothing", "approval", "override", "another candidate"]
"""The help that a candidate needs to pass, from the least to the most."""
_NEEDS: tuple[Need, ...] = get_args(Need)
_MOST_REASON = 1000


@dataclass(frozen=True, kw_only=True)
class HeldGate:
    """A gate that is not open, and why."""

    __pydantic_config__ = documents.STRICT

    name: Line
    reason: Line


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for a person's approval of a candidate.

    Attributes:
        number: the record number that the promotion would get.
        run_id: the run that asks, or None.
        gates: the gates that are not open. An approval covers these and no others.
        needs_override: whether a gate is closed because the earlier champion can no longer be evaluated.
        expires: the time from which on no answer counts.
    """

    __pydantic_config__ = documents.STRICT

    number: PositiveInt
    version: Version
    run_id: RunId | None
    gates: tuple[HeldGate, ...]
    needs_override: bool
    at: Moment
    expires: Moment


@dataclass(frozen=True, kw_only=True)
class ApprovalAnswer:
    """A person's decision.

    Attributes:
        request: the sha256 of the request's bytes.
        approved: False rejects the candidate.
        override: whether the person approved although the earlier champion was not evaluated.
    """

    __pydantic_config__ = documents.STRICT

    request: Digest
    approved: bool
    override: bool
    by: Line
    reason: Line
    at: Moment


@dataclass(frozen=True)
class Answered:
    """A stored answer, and the sha256 of its bytes."""

    answer: ApprovalAnswer
    digest: Digest


@dataclass(frozen=True)
class Asked:
    """A stored request with the sha256 of its bytes, and its answer, if there is one."""

    request: Request
    digest: Digest
    answered: Answered | None = None

    def state(self, now: datetime, newest: int) -> State:
        """Return the state of the request. An answer given after the request expired does not count.

        Args:
            newest: the number of the newest record. An unanswered request is outdated unless its number is the next.
        """
        answer = self.answered.answer if self.answered else None
        if answer is None and self.request.number != newest + 1:
            return "outdated"
        time = datetime.fromisoformat(answer.at) if answer else now
        if time >= datetime.fromisoformat(self.request.expires):
            return "expired"
        if answer is None:
            return "waiting"
        return "approved" if answer.approved else "rejected"


def request_key(number: int, version: str) -> str:
    """Return the folder key of the request for this promotion and its answer."""
    return f"{APPROVALS}/{number:06d}-{version}"


class Approvals:
    """The requests of one namespace.

    Raises:
        InputError: from `request`, `ask` and `answer`, if the request or its answer is damaged. The other errors are
            those of `Objects`.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def request(self, number: int, version: Version) -> Asked | None:
        """Return the request for this promotion with its answer, or None if nobody asked."""
        key = f"{request_key(number, version)}/request.json"
        return self._read(number, version) if self._objects.exists(key) else None

    def requests(self, damage: list[str] | None = None) -> list[Asked]:
        """Return all undamaged requests with their answers, ordered by number and time.

        Args:
            damage: gets one line for each request that is damaged or has a damaged answer.
        """
        lines = [] if damage is None else damage
        requests: list[Asked] = []
        found = filter(None, map(_KEY.fullmatch, self._objects.keys(APPROVALS)))
        for number, version in sorted({(int(key[1]), Version(key[2])) for key in found}):
            problems: list[str] = []
            with noted(problems):
                requests.append(self._read(number, version))
            advice = "damaged; remove this folder, unless a promotion was approved in it"
            lines += [f"{self._objects.at(request_key(number, version))}: {advice} ({line})" for line in problems]
        return sorted(requests, key=lambda one: (one.request.number, datetime.fromisoformat(one.request.at)))

    def find(self, name: str, newest: int) -> Asked:
        """Return the request whose run id is `name`, or whose candidate's version begins with it.

        If several match, return the one that waits, or else the newest.

        Args:
            newest: the number of the newest record.

        Raises:
            InputError: none matches, or several matching ones wait.
        """
        requests = self.requests()
        run_id = RunId.of(name)
        found = [one for one in requests if one.request.run_id == run_id or one.request.version.startswith(name)]
        now = datetime.now(UTC)
        every = [one for one in requests if one.state(now, newest) == "waiting"]
        waiting = [one for one in found if one in every]
        if len(waiting) == 1 or (found and not waiting):
            return (waiting or found)[-1]
        known = listed(f"{one.request.run_id or 'no run'} ({one.request.version[:12]})" for one in every) or "none"
        raise InputError(
            f"{self._objects.name}: {shown(name)} names {len(waiting)} requests, expected one; waiting: {known}"
        )

    def ask(self, request: Request) -> Asked:
        """Store a request, unless one exists for this promotion, and return the stored one with its answer."""
        self._objects.create_document(f"{request_key(request.number, request.version)}/request.json", request)
        return self._read(request.number, request.version)

    def answer(self, asked: Asked, answer: ApprovalAnswer) -> Answered:
        """Store the answer to a request, and return the one that counts, which may be an earlier equal decision.

        Raises:
            GateClosed: somebody has already decided otherwise.
        """
        folder = request_key(asked.request.number, asked.request.version)
        key = f"{folder}/answer.json"
        self._objects.create_document(key, answer)
        found = self._answered(folder, asked.digest)
        stored = found.answer
        if (stored.approved, stored.override) != (answer.approved, answer.override):
            verb = "approved" if stored.approved else "rejected"
            told = f"{stored.by} {verb} this candidate at {stored.at} ({stored.reason})"
            raise GateClosed(f"{self._objects.at(key)}: {told}; the first answer counts, so train another candidate")
        return found

    def _read(self, number: int, version: Version) -> Asked:
        folder = request_key(number, version)
        key = f"{folder}/request.json"
        request, digest = self._objects.read_document(Request, key)
        if (request.number, request.version) != (number, version):
            at = self._objects.at(key)
            raise InputError(f"{at}: holds the request for record {request.number}, bundle {request.version[:12]}")
        if not self._objects.exists(f"{folder}/answer.json"):
            return Asked(request, digest)
        return Asked(request, digest, self._answered(folder, digest))

    def _answered(self, folder: str, request: Digest) -> Answered:
        key = f"{folder}/answer.json"
        answer, digest = self._objects.read_document(ApprovalAnswer, key)
        if answer.request != request:
            at = self._objects.at(key)
            raise InputError(f"{at}: answers another request than the one beside it; one of them was changed")
        return Answered(answer, digest)


def need(report: GateReport, policy: Policy) -> Need:
    """Return the help that a candidate needs to pass.

    Nobody is asked about the champion itself, nor about a candidate while the champion is due to be rolled back.
    """
    if report.harm_to_undo:
        return "another candidate"
    if report.verdict == "open":
        return "approval" if policy == "always" and not report.of_the_champion else "nothing"
    if report.of_the_champion:
        return "another candidate"
    needs: list[Need] = [_need(gate, policy) for gate in report.not_open]
    return max(needs, key=_NEEDS.index) if needs else "another candidate"


def _need(gate: GateEntry, policy: Policy) -> Need:
    """Return the help that a candidate needs to pass this gate, which is not open."""
    if gate.verdict == "borderline" and policy != "never":
        return "approval"
    return "override" if gate.compares and not gate.evaluated else "another candidate"


def request_for(report: GateReport, needed: Need, days: float, run_id: RunId | None) -> Request:
    """Return a request for an approval or override of a report's candidate, which expires after `days` days."""
    assert report.bundle  # without a sound bundle, gates on the candidate itself are closed
    now = datetime.now(UTC)
    return Request(
        number=next_number(report),
        version=report.bundle,
        run_id=run_id,
        gates=tuple(HeldGate(name=one.name, reason=_reason(one)) for one in report.not_open),
        needs_override=needed == "override",
        at=now.isoformat(timespec="seconds"),
        expires=(now + timedelta(days=days)).isoformat(timespec="seconds"),
    )


def next_number(report: GateReport) -> int:
    """Return the record number that the promotion of a report's candidate would get."""
    champion = report.champion
    return champion.number + 1 if champion else 1


def check_same_gates(asked: Asked, report: GateReport, needed: Need) -> None:
    """Check that an approval was requested for the same gates, figures and limits that a report holds back.

    Raises:
        GateClosed: a gate was added or removed, only one of request and report needs an override, or the reason of an
            evaluated gate, which states figures and limits, has changed.
    """
    request = asked.request
    advice = "Bring back the parameters with which the gate asked, or train another candidate"
    about = f"the request for approval of {request.version[:12]} (record {request.number}) is about other"
    covered = {gate.name: gate.reason for gate in request.gates}
    found = {gate.name: gate for gate in report.not_open}
    if covered.keys() != found.keys() or request.needs_override != (needed == "override"):
        raise GateClosed(
            f"{about} gates: it names {listed(sorted(covered)) or 'none'}, but not open now are "
            f"{listed(sorted(found)) or 'none'}. {advice}"
        )
    for name, gate in found.items():
        if gate.evaluated and _reason(gate) != covered[name]:
            raise GateClosed(f"{about} figures: of {name} it says {covered[name]!r}, now {_reason(gate)!r}. {advice}")


def covers(asked: Asked, report: GateReport) -> bool:
    """Return whether a person approved of all gates that are not open, with the figures that a report states."""
    approved = asked.answered is not None and asked.answered.answer.approved
    told = {gate.name: gate.reason for gate in asked.request.gates}
    return approved and all(told.get(gate.name) == _reason(gate) for gate in report.not_open)


def granted(asked: Asked | None, report: GateReport, needed: Need) -> Approved | None:
    """Return the approval that lets a candidate pass, or None if it needs none.

    Raises:
        GateClosed: nobody was asked, nobody has answered, the candidate was rejected, the request has expired, or it
            names other gates or figures.
    """
    if asked is None:
        if needed == "nothing":
            return None
        raise GateClosed("a person must approve, and nobody was asked; run `dvc repro gate`, which asks")
    state = asked.state(datetime.now(UTC), asked.request.number - 1)
    if state == "rejected" or (needed != "nothing" and state == "expired"):
        raise GateClosed(why_rejected(asked))
    if needed == "nothing":
        return None
    check_same_gates(asked, report, needed)
    if asked.answered is None:
        raise GateClosed(f"it waits for approval until {asked.request.expires}; `din approvals` shows the requests")
    answer = asked.answered.answer
    if needed == "override" and not answer.override:
        raise GateClosed(f"{answer.by} approved without an override, and the earlier champion was not evaluated")
    return Approved(by=answer.by, override=answer.override, answer=asked.answered.digest)


def why_rejected(asked: Asked) -> str:
    """Return a sentence that names who rejected a candidate, or says that nobody answered in time."""
    if asked.answered and not asked.answered.answer.approved:
        answer = asked.answered.answer
        return f"{answer.by} rejected this candidate at {answer.at}: {answer.reason}"
    return (
        f"nobody approved this candidate until {asked.request.expires}, which rejects it; train another one, or ask "
        "again once `din registry gc` has removed the request"
    )


def _reason(gate: GateEntry) -> str:
    """Return why a gate is not open, as one printable line of at most `_MOST_REASON` characters."""
    text = gate.reason or gate.verdict
    return (text if text.isprintable() else shown(text))[:_MOST_REASON]
