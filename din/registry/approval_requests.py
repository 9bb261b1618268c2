"""Requests for a person's approval, and their answers.

    approvals/000017-<version>/request.json   which gates are not open, and when the request expires
                               answer.json    approved or rejected, by whom and why

The number is the record number that the promotion would get, so a request becomes outdated when another champion
appears. Both files are written only if absent: asking twice changes nothing, and the first answer counts. An answer has
the hash of its request, and the record of a promotion has the hash of the answer, so `verify` detects edits. Nothing
here judges gates.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import PositiveInt

from din import documents
from din.errors import GateClosed, InputError
from din.names import Digest, Line, Moment, RunId, Version
from din.registry.objects import Objects, noted

APPROVALS = "approvals"
_KEY = re.compile(rf"{APPROVALS}/(\d{{6,}})-([0-9a-f]{{64}})/.*")

State = Literal["waiting", "approved", "rejected", "expired", "outdated"]


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
class Answer:
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

    answer: Answer
    digest: Digest


@dataclass(frozen=True)
class Case:
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


def case_key(number: int, version: str) -> str:
    """Return the folder key of the request for this promotion and its answer."""
    return f"{APPROVALS}/{number:06d}-{version}"


class Approvals:
    """The requests of one namespace.

    Raises:
        InputError: from every method, if the store can't be read or written; from `case` and `answer`, if the request
            or its answer is damaged.
        Unavailable: from every method, if the store doesn't answer.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def case(self, number: int, version: Version) -> Case | None:
        """Return the request for this promotion with its answer, or None if nobody asked."""
        key = f"{case_key(number, version)}/request.json"
        return self._read(number, version) if self._objects.exists(key) else None

    def cases(self) -> list[Case]:
        """Return all undamaged requests with their answers, ordered by number and time."""
        return self._read_all([])

    def damage(self) -> list[str]:
        """Return one line for each request that is damaged or has a damaged answer. Other requests are unaffected."""
        damage: list[str] = []
        with noted(damage):
            self._read_all(damage)
        return damage

    def _read_all(self, damage: list[str]) -> list[Case]:
        cases: list[Case] = []
        found = filter(None, map(_KEY.fullmatch, self._objects.keys(APPROVALS)))
        for number, version in sorted({(int(key[1]), Version(key[2])) for key in found}):
            problems: list[str] = []
            with noted(problems):
                cases.append(self._read(number, version))
            advice = "damaged; remove this folder, unless a promotion was approved in it"
            damage += [f"{self._objects.at(case_key(number, version))}: {advice} ({line})" for line in problems]
        return sorted(cases, key=lambda case: (case.request.number, datetime.fromisoformat(case.request.at)))

    def ask(self, request: Request) -> Case:
        """Store a request, unless one exists for this promotion, and return the stored one with its answer.

        Raises:
            InputError: a value is not of the declared type.
        """
        self._objects.create_document(f"{case_key(request.number, request.version)}/request.json", request)
        return self._read(request.number, request.version)

    def answer(self, case: Case, answer: Answer) -> Answered:
        """Store the answer to a request, and return the one that counts, which may be an earlier equal decision.

        Raises:
            GateClosed: somebody has already decided otherwise.
            InputError: a value is not of the declared type.
        """
        folder = case_key(case.request.number, case.request.version)
        key = f"{folder}/answer.json"
        self._objects.create_document(key, answer)
        found = self._answered(folder, case.digest)
        stored = found.answer
        if (stored.approved, stored.override) != (answer.approved, answer.override):
            verb = "approved" if stored.approved else "rejected"
            raise GateClosed(
                f"{self._objects.at(key)}: {stored.by} {verb} this candidate at {stored.at} ({stored.reason}); the "
                "first answer counts. To decide otherwise, train another candidate"
            )
        return found

    def _read(self, number: int, version: Version) -> Case:
        folder = case_key(number, version)
        key = f"{folder}/request.json"
        request, digest = self._objects.read_document(Request, key)
        if (request.number, request.version) != (number, version):
            at = self._objects.at(key)
            raise InputError(f"{at}: holds the request for record {request.number}, bundle {request.version[:12]}")
        if not self._objects.exists(f"{folder}/answer.json"):
            return Case(request, digest)
        return Case(request, digest, self._answered(folder, digest))

    def _answered(self, folder: str, request: Digest) -> Answered:
        key = f"{folder}/answer.json"
        answer, digest = self._objects.read_document(Answer, key)
        if answer.request != request:
            at = self._objects.at(key)
            raise InputError(f"{at}: answers another request than the one beside it; one of them was changed")
        return Answered(answer, digest)
