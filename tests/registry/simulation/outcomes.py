"""Check that a command ended as it should: with the right exit code, or a result that agrees with the registry."""

from typing import TYPE_CHECKING

from din.errors import GateClosed, InputError, Unavailable
from din.registry.records import Record

from .actors import Compared, Delivered, Judge, Promoter, Rollback, Verifier, candidates_by_version
from .invariants import Rules, Violation

if TYPE_CHECKING:
    from .history import Attempt

_UNANSWERED = ("500", "429", "lost", "late", "half")


def check_error(rules: Rules, attempt: "Attempt", error: Exception) -> None:
    """Check that an error is of the class, and so of the exit code, that its cause calls for.

    Raises:
        Violation: it is of another class, or has no cause.
    """
    due = _due(attempt)
    right = isinstance(error, due) if due else _has_cause(rules, attempt, error)
    if not right:
        expected = due.__name__ if due else "no such error"
        raise Violation(
            f"exit code: {attempt.actor.name} met {attempt.faults} and ended with {type(error).__name__}: {error}; "
            f"expected {expected}"
        )


def check_result(rules: Rules, attempt: "Attempt", result: object) -> None:
    """Check that a command that ended well met no fault that it had to report, and that its result is true.

    Raises:
        Violation: it did, or it is not.
    """
    if due := _due(attempt):
        raise Violation(f"exit code: {attempt.actor.name} met {attempt.faults} and ended well, expected {due.__name__}")
    actor = attempt.actor
    if isinstance(actor, Promoter | Rollback):
        assert isinstance(result, Record)
        version = actor.candidate.version if isinstance(actor, Promoter) else rules.log[actor.to - 1]["version"]
        _check_record(rules, attempt, result)
        if result.version != version:
            raise Violation(f"wrong version: {actor.name} was told that {result.version[:12]} is the champion")
        if not rules.is_sealed(result.number):
            raise Violation(f"unsealed: {actor.name} ended well, but record {result.number} has no seal")
    elif isinstance(result, Delivered):
        _check_record(rules, attempt, result.record)
        files = candidates_by_version()[result.record.version].files
        if result.files != files:
            raise Violation(f"wrong bytes: {actor.name} got other files than {result.record.version[:12]} holds")
    elif isinstance(result, Compared):
        _check_record(rules, attempt, result.champion)
        candidates = rules.looks.get(result.champion.version, [])[: len(result.looks)]
        found = [look.schema.metadata[b"candidate"].decode() for look in result.looks]
        if found != candidates or not isinstance(actor, Judge) or found[-1] != actor.candidate.version:
            raise Violation(f"lost: {actor.name} was told of {len(found)} looks, but {len(candidates)} are stored")
    elif isinstance(actor, Verifier) and rules.damaged & rules.named:
        raise Violation(f"overlooked: {actor.name} found no damage in {rules.damaged}")
    elif result is None and not isinstance(actor, Verifier | Judge) and attempt.began:
        raise Violation(f"lost: {actor.name} saw no champion, although there were {attempt.began} records")


def _check_record(rules: Rules, attempt: "Attempt", record: Record) -> None:
    """Check that a record is in the log, and was the newest at some time of the attempt."""
    name = attempt.actor.name
    stored = rules.log[record.number - 1] if record.number <= len(rules.log) else {}
    if (stored.get("nonce"), stored.get("version")) != (record.nonce, record.version):
        raise Violation(f"lost: {name} was told of record {record.number}, but the log holds another one or none")
    if record.number < attempt.began:
        raise Violation(f"stale read: {name} saw record {record.number} as the newest one of {attempt.began}")


def _due(attempt: "Attempt") -> type[Exception] | None:
    """Return the class of the error that the faults call for, or None if none of them has to be reported.

    The first such fault ends a command, except that damage may be noticed later.
    """
    damaged = False
    for verb, fault in attempt.faults:
        if fault in _UNANSWERED or (fault in ("409", "412") and verb != "create"):
            return Unavailable
        if fault == "403":
            return InputError
        damaged = damaged or fault == "flipped"
    if not damaged:
        return None
    return GateClosed if isinstance(attempt.actor, Verifier) else InputError


def _has_cause(rules: Rules, attempt: "Attempt", error: Exception) -> bool:
    """Return whether the state of the registry, or a conflict, explains an error."""
    actor = attempt.actor
    lately = {record["version"] for record in rules.log[max(attempt.began - 1, 0) :]}
    overtaken = any(author is not attempt for author in rules.authors[attempt.began :])
    if isinstance(error, Unavailable):
        return "being removed" in str(error) or any(fault in ("409", "412") for _, fault in attempt.faults)
    if isinstance(actor, Promoter):
        version = actor.candidate.version
        replaced = version in {record["version"] for record in rules.log[:-1]}
        if isinstance(error, InputError):
            return rules.is_damaged("bundles", version)
        return overtaken or replaced
    if isinstance(actor, Judge):
        return isinstance(error, InputError) and any(rules.is_damaged("looks", version) for version in lately)
    if isinstance(actor, Rollback) and isinstance(error, InputError):
        version = rules.log[actor.to - 1]["version"] if actor.to <= len(rules.log) else ""
        return actor.to > attempt.began or version in lately or rules.is_damaged("bundles", version)
    if isinstance(actor, Rollback):
        return overtaken
    if isinstance(actor, Verifier) and rules.damaged & rules.named:
        return isinstance(error, GateClosed)
    empty = attempt.began == 0 and "log of promotions is empty" in str(error)
    return empty and isinstance(error, GateClosed if isinstance(actor, Verifier) else InputError)
