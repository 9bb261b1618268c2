"""Compare two promotions: parameters, data, code, packages, machines, metrics and gates.

Everything is read from the registry: the facts of the bundles, and the files of the runs, verified by their hashes.
"""

import json
from collections.abc import Mapping
from typing import Any

from din.base.errors import shown
from din.base.names import Digest
from din.base.printing import flat, print_table
from din.contracts.facts import Evaluation
from din.contracts.machine import Machine
from din.contracts.manifests import FetchReport, RawManifest
from din.contracts.verdicts import GateReport
from din.release.registry.promoted import GIT, PARAMS, RAW_MANIFEST, GitState, Promoted
from din.release.registry.registry import Registry
from din.stages.code import StageCode


def show_diff(uri: str, model_name: str, first: str, second: str, as_json: bool = False) -> None:
    """Print tables of the differences between two promotions, named by a record's number or a version's beginning.

    As JSON, the differences are `{table: {name: [first, second]}}`.

    Raises:
        InputError: a name matches no promotion, or a file of a promotion is missing or damaged.
    """
    registry = Registry(uri, model_name)
    promotions = (Promoted.find(registry, first), Promoted.find(registry, second))
    parts = {
        "promotion": _origin,
        "parameters": lambda promoted: flat(promoted.yaml(PARAMS)),
        "data": _data,
        "code and packages": _code,
        "machines": machines,
        "gates": _gates,
        "metrics of the test rows": lambda promoted: metrics(promoted.facts.evaluation),
    }
    tables = {title: differences(*map(part, promotions)) for title, part in parts.items()}
    if as_json:
        report = {title: {name: [old, new] for name, old, new in rows} for title, rows in tables.items()}
        print(json.dumps(report, indent=2))
        return
    columns = [f"record {promoted.record.number} ({promoted.record.version[:12]})" for promoted in promotions]
    for title, rows in tables.items():
        if rows:
            print_table(title, ("", *columns, "difference"), [(*row, _change(*row[1:])) for row in rows])
        else:
            print(f"{title}: equal\n", flush=True)


def differences(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> list[tuple[str, Any, Any]]:
    """Return each key whose values differ, with both values. A missing value is None."""
    keys = sorted(first.keys() | second.keys())
    pairs = ((key, first.get(key), second.get(key)) for key in keys)
    return [(key, old, new) for key, old, new in pairs if old != new]


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return what differs between two nested objects, e.g. `train.seed was 1, is 2`."""
    rows = differences(flat(first), flat(second))
    return [f"{shown(key, quotes=False)} was {short(old)}, is {short(new)}" for key, old, new in rows]


def short(value: object) -> str:
    """Return a value for a message. A hash is cut to its first 12 digits."""
    return value[:12] if isinstance(value, str) and Digest.form.fullmatch(value) else shown(value)


def machines(promoted: Promoted) -> dict[str, Any]:
    """Return the machines that trained, evaluated and refitted."""
    stages = ("train", "evaluate", "refit")
    return flat({stage: promoted.document(Machine, f"machine/{stage}.json").model_dump() for stage in stages})


def _origin(promoted: Promoted) -> dict[str, Any]:
    record = promoted.record
    git = promoted.document(GitState, GIT)
    about = {"version": record.version[:12], "run": record.run_id, "by": record.author, "at": record.at}
    about["override"] = record.override and record.override.in_words
    return about | {"reason": record.reason, "commit": git.commit, "uncommitted changes": git.dirty}


def _data(promoted: Promoted) -> dict[str, Any]:
    facts = promoted.facts
    raw = promoted.document(RawManifest, RAW_MANIFEST)
    data = {
        "source": raw.source,
        "source fingerprint": promoted.document(FetchReport, "fetch.json").fingerprint[:12],
        "raw rows": raw.rows,
        "days": f"{raw.days[0]} to {raw.days[-1]} ({len(raw.days)})" if raw.days else None,
        "settings": raw.params,
        "fields": raw.fields,
        "protocol": facts.protocol.model_dump(),
        **facts.model_dump(include={"until", "train_until", "judged_until", "seen_until", "rows"}),
        **{part: digest[:12] for part, digest in dict(facts.inputs).items() if part in ("raw", "features")},
        **{f"file {name}": digest[:12] for name, digest in raw.files.items()},
    }
    return flat(data)


def _code(promoted: Promoted) -> dict[str, Any]:
    stages = [promoted.document(StageCode, name) for name in promoted.names if name.startswith("code/")]
    packages: dict[str, str | None] = dict(promoted.facts.packages)
    for stage in stages:
        packages |= stage.packages
    named = {f"package {name}": version or "missing" for name, version in packages.items()}
    return named | {name: digest[:12] for stage in stages for name, digest in stage.files.items()}


def _gates(promoted: Promoted) -> dict[str, Any]:
    report = promoted.document(GateReport, "gate.json")
    gates = {gate.name: gate.model_dump(include={"observed", "threshold", "verdict"}) for gate in report.gates}
    return flat({"champion": report.champion and report.champion.number, **gates})


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the metrics of the model and of the baselines (floors) on the test rows, by dotted name."""
    return evaluation.test.model_dump() | flat(evaluation.floors.model_dump(), "floor")


def _change(old: Any, new: Any) -> float | str:
    return new - old if isinstance(old, float) and isinstance(new, float) else ""
