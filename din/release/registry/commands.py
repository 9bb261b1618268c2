"""The commands of `din registry` and `din approvals`. Each prints its result."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from din.base.errors import GateClosed, InputError, listed
from din.base.printing import print_table
from din.release.registry import stored_comparisons
from din.release.registry.approvals import ApprovalAnswer, Asked, why_rejected
from din.release.registry.objects import noted
from din.release.registry.records import Record
from din.release.registry.registry import Registry, list_models


def show_list(uri: str, model_name: str | None = None, as_json: bool = False) -> None:
    """Print all records of one model, or of every model at the URI. The last record of a model is its champion."""
    names = [model_name] if model_name else list_models(uri)
    logs = {name: Registry(uri, name).history() for name in names}
    if as_json:
        print(json.dumps({name: [asdict(record) for record in history] for name, history in logs.items()}, indent=2))
        return
    for name, history in logs.items():
        rows = [
            (r.number, r.version[:12], r.action, r.at, r.by, r.approval and r.approval.in_words, r.reason)
            for r in history
        ]
        columns = ("number", "version", "action", "at", "by", "approved by", "reason")
        print_table(f"records of {name}", columns, rows)
    if not logs:
        print(f"{uri}: no models yet")


def show(uri: str, model_name: str, name: str) -> None:
    """Print a record, named by its number or the beginning of its version, as JSON with the metrics of its bundle."""
    registry = Registry(uri, model_name)
    record = registry.record(name)
    evaluation = registry.facts(record.version).evaluation.model_dump()
    print(json.dumps(asdict(record) | {"evaluation": evaluation}, indent=2))


def rollback(uri: str, model_name: str, to: str, by: str, reason: str, champion: int | None = None) -> Record:
    """Make an earlier champion, named by a record's number or its version's beginning, the champion again.

    With `champion`, roll back only the record of that number, and only once.
    """
    registry = Registry(uri, model_name)
    record = registry.rollback(to, by=by, reason=reason, champion=champion)
    print(f"{registry.name}: record {record.number} made {record.version} the champion again")
    return record


def verify(uri: str, model_name: str | None = None, as_json: bool = False) -> None:
    """Verify the chain of records, and the hashes of all files that they name, for one or all models.

    Raises:
        InputError: there is nothing to verify: no model, or none of that name.
        GateClosed: something is missing, damaged or changed.
    """
    stored = list_models(uri)
    names = [name for name in stored if model_name in (None, name)]
    if not names:
        known = listed(stored) or "none"
        raise InputError(f"{uri}: nothing to verify; its models are {known}; check --registry and --model")
    checked: dict[str, dict[str, list[str]]] = {}
    for name in names:
        registry = Registry(uri, name)
        found: list[str] = []
        remarks: list[str] = []
        with noted(found):
            found += registry.verify()
            remarks += registry.remarks()
        found += stored_comparisons.damage(registry)
        checked[name] = {"problems": found, "remarks": remarks}
        if not as_json:
            verdict = f"{len(found)} problems" if found else "sound"
            print("\n    ".join([f"{registry.name}: {verdict}", *remarks]))
    if as_json:
        print(json.dumps(checked, indent=2))
    if damage := [line for one in checked.values() for line in one["problems"]]:
        raise GateClosed("\n".join(["the registry is damaged; restore it from a copy, or promote again:", *damage]))


def gc(uri: str, model_name: str, days: float = 7, yes: bool = False, as_json: bool = False) -> None:
    """Remove objects that no record names and that were not modified for `days` days. Without `yes`, only list them."""
    gone = Registry(uri, model_name).gc(timedelta(days=days), dry_run=not yes)
    if as_json:
        print(json.dumps({"removed": yes, "found": gone}, indent=2))
        return
    for location in gone:
        print(f"{'removed' if yes else 'would remove'} {location}")
    if not yes:
        print(f"{len(gone)} found; nothing removed, add --yes to remove" if gone else "nothing to remove")


def answer(uri: str, model_name: str, name: str, approved: bool, by: str, reason: str, override: bool = False) -> Asked:
    """Store and print a person's answer to a request, named by its run or by the beginning of its candidate's version.

    With `override`, approve although the earlier champion was not evaluated.

    Returns:
        The request with the answer that counts, which may be an earlier equal decision.

    Raises:
        InputError: none or several requests have that name, or `override` is not what the request needs.
        GateClosed: the request has expired, another champion has appeared since, or somebody decided otherwise.
    """
    registry = Registry(uri, model_name)
    asked = registry.approvals.find(name, registry.newest())
    request = asked.request
    place = f"{registry.name}: record {request.number}, bundle {request.version[:12]}"
    if approved and override != request.needs_override:
        was, advice = ("can't be", "add") if request.needs_override else ("was", "leave out")
        raise InputError(f"{place}: the earlier champion {was} evaluated, so {advice} --override")
    now = datetime.now(UTC)
    state = asked.state(now, registry.newest())  # reading all requests may have taken seconds
    if state == "outdated":
        raise GateClosed(f"{place}: another champion has appeared since this candidate was judged; run the gate again")
    if state == "expired":
        raise GateClosed(f"{place}: {why_rejected(asked)}")
    given = ApprovalAnswer(
        request=asked.digest,
        approved=approved,
        override=approved and override,
        by=by,
        reason=reason,
        at=now.isoformat(timespec="seconds"),
    )
    answered = registry.approvals.answer(asked, given)
    stored = answered.answer
    verb = "approved" if approved else "rejected"
    advice = "; `din promote` makes it the champion" if approved else ""
    print(f"{request.version} (record {request.number}): {verb} by {stored.by} at {stored.at}{advice}")
    return Asked(request, asked.digest, answered)


def show_approvals(uri: str, model_name: str, as_json: bool = False) -> list[dict[str, Any]]:
    """Print all requests for approval with their states and answers, as a table or as JSON."""
    registry = Registry(uri, model_name)
    newest = registry.newest()
    now = datetime.now(UTC)
    damage: list[str] = []
    found = [
        asdict(asked.request)
        | {"state": asked.state(now, newest), "answer": asdict(asked.answered.answer) if asked.answered else None}
        for asked in registry.approvals.requests(damage)
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
    for line in damage:
        print(f"warning: {line}", file=sys.stderr)
    return found


def _answerer(answer: dict[str, Any] | None) -> str | None:
    return None if answer is None else answer["by"] + (" (override)" if answer["override"] else "")
