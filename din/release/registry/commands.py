"""The commands of `din registry`. Each prints its result."""

import json
from dataclasses import asdict
from datetime import timedelta

from din.base.errors import GateClosed, InputError, listed
from din.base.printing import print_table
from din.release.registry import stored_comparisons
from din.release.registry.objects import noted
from din.release.registry.records import Identity, Record
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
            (r.number, r.version[:12], r.action, r.at, r.author, r.override and r.override.in_words, r.reason)
            for r in history
        ]
        columns = ("number", "version", "action", "at", "by", "override", "reason")
        print_table(f"records of {name}", columns, rows)
    if not logs:
        print(f"{uri}: no models yet")


def show(uri: str, model_name: str, name: str) -> None:
    """Print a record, named by its number or the beginning of its version, as JSON with the metrics of its bundle."""
    registry = Registry(uri, model_name)
    record = registry.record(name)
    evaluation = registry.facts(record.version).evaluation.model_dump()
    print(json.dumps(asdict(record) | {"evaluation": evaluation}, indent=2))


def rollback(
    uri: str,
    model_name: str,
    to: str,
    by: str,
    reason: str,
    champion: int | None = None,
    identity: Identity | None = None,
) -> Record:
    """Make an earlier champion, named by a record's number or its version's beginning, the champion again.

    With `champion`, roll back only the record of that number, and only once.
    """
    registry = Registry(uri, model_name)
    record = registry.rollback(to, by=by, reason=reason, champion=champion, identity=identity)
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
        models = listed(stored) or "none"
        raise InputError(f"{uri}: nothing to verify; its models are {models}; check --registry and --model")
    checked: dict[str, dict[str, list[str]]] = {}
    for name in names:
        registry = Registry(uri, name)
        problems: list[str] = []
        remarks: list[str] = []
        with noted(problems):
            problems += registry.verify()
            remarks += registry.remarks()
        problems += stored_comparisons.damage(registry)
        checked[name] = {"problems": problems, "remarks": remarks}
        if not as_json:
            verdict = f"{len(problems)} problems" if problems else "sound"
            print("\n    ".join([f"{registry.name}: {verdict}", *remarks]))
    if as_json:
        print(json.dumps(checked, indent=2))
    if damage := [line for result in checked.values() for line in result["problems"]]:
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
