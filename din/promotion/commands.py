"""The commands of `din registry`: show, roll back, verify and clean up. Each prints its result and returns it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from din.errors import GateClosed
from din.promotion.printing import print_table
from din.registry.records import Record
from din.registry.registry import Registry, list_models


def show_list(uri: str, model_name: str | None = None) -> dict[str, list[Record]]:
    """Print all records of one model, or of every model below the URI; the last record of each is its champion."""
    names = [model_name] if model_name else list_models(uri)
    logs = {name: Registry(uri, name).history() for name in names}
    for name, history in logs.items():
        rows = [(r.number, r.version[:12], r.action, r.at, r.by, r.reason) for r in history]
        print_table(f"{name}: {len(rows)} records", ("number", "version", "action", "at", "by", "reason"), rows)
    if not logs:
        print(f"{uri}: no models yet")
    return logs


def show(uri: str, model_name: str, number: int | None = None) -> Record | None:
    """Print a record, by default the champion's, as JSON with the metrics of its bundle."""
    registry = Registry(uri, model_name)
    record = registry.champion() if number is None else registry.record(number)
    if record is None:
        print(f"{registry.name}: no champion yet")
        return None
    print(json.dumps(asdict(record) | {"evaluation": registry.facts(record.version)["evaluation"]}, indent=2))
    return record


def rollback(uri: str, model_name: str, to: str, by: str, reason: str) -> Record:
    """Make an earlier champion the champion again, named by a record's number or by (the start of) its version."""
    registry = Registry(uri, model_name)
    record = registry.rollback(to, by=by, reason=reason)
    print(f"{registry.name}: {record.version} is the champion again (record {record.number})")
    return record


def verify(uri: str, model_name: str | None = None) -> None:
    """Read and hash everything that the records of one or all models name, and check the chain of records.

    Raises:
        GateClosed: something is missing, damaged or changed.
    """
    damage: list[str] = []
    for name in [model_name] if model_name else list_models(uri):
        registry = Registry(uri, name)
        found = registry.verify()
        damage += found
        verdict = f"{len(found)} problems" if found else "sound"
        print(f"{registry.name}: {verdict}")
        for remark in registry.remarks():
            print(f"    {remark}")
    if damage:
        raise GateClosed("\n".join(["the registry is damaged; restore it from a copy, or promote again:", *damage]))


def gc(uri: str, model_name: str, days: float = 7, yes: bool = False, bundles: Sequence[str] = ()) -> list[str]:
    """Remove objects that no record names and that were not modified for `days` days; without `yes`, only print them.

    Args:
        uri: the registry.
        model_name: the namespace.
        days: the age in days from which objects are removed.
        yes: remove them.
        bundles: versions, or their beginnings, of bundles that were never promoted, in case the log is empty.
    """
    registry = Registry(uri, model_name)
    never_promoted = [registry.find(start) for start in bundles]
    gone = registry.gc(timedelta(days=days), dry_run=not yes, never_promoted=never_promoted)
    for location in gone:
        print(f"{'removed' if yes else 'would remove'} {location}")
    if not yes:
        print(f"{len(gone)} found; nothing removed, add --yes to remove" if gone else "nothing to remove")
    return gone
