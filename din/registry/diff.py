"""Compare two promotions: parameters, data, code, packages, machines, metrics and gates.

Everything is read from the registry: the facts of the bundles, and the files of the runs, verified by their hashes.
"""

import json
from collections.abc import Mapping
from typing import Any

from din.code import Machine, StageCode
from din.manifests import FetchReport, RawManifest
from din.printing import flat, print_table
from din.registry.promoted import GIT, PARAMS, RAW_MANIFEST, GitState, Promoted
from din.registry.registry import Registry
from din.verdicts import GateReport

_METRICS = ("auc", "gauc", "log_loss", "normalized_entropy", "calibration_ratio", "ece", "ctr", "rows", "users")
_METRICS_TITLE = "metrics of the test rows"
_JUDGED = ("observed", "threshold", "verdict")


def show_diff(uri: str, model_name: str, first: str, second: str, as_json: bool = False) -> None:
    """Print tables of the differences between two promotions, named by a record's number or a version's beginning.

    As JSON, the differences are `{table: {name: [first, second]}}`.

    Raises:
        InputError: a name matches no promotion, or a file of a promotion is missing or damaged.
    """
    registry = Registry(uri, model_name)
    promotions = (Promoted.find(registry, first), Promoted.find(registry, second))
    columns = [f"record {promoted.title}" for promoted in promotions]
    tables = {
        title: differences(*(parts(promoted) for promoted in promotions))
        for title, parts in (
            ("promotion", _origin),
            ("parameters", lambda promoted: flat(promoted.yaml(PARAMS))),
            ("data", _data),
            ("code and packages", _code),
            ("machines", machines),
            ("gates", _gates),
            (_METRICS_TITLE, _metrics),
        )
    }
    if as_json:
        found = {title: {name: [one, other] for name, one, other in rows} for title, rows in tables.items()}
        print(json.dumps(found, indent=2))
        return
    for title, rows in tables.items():
        if not rows:
            print(f"{title}: equal\n")
        elif title == _METRICS_TITLE:
            print_table(title, ("", *columns, "difference"), [(*row, _change(*row[1:])) for row in rows])
        else:
            print_table(title, ("", *columns), rows)


def differences(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> list[tuple[str, Any, Any]]:
    """Return (key, first value, second value) for each key whose values differ. A missing value is None."""
    keys = sorted(first.keys() | second.keys())
    pairs = ((key, first.get(key), second.get(key)) for key in keys)
    return [(key, one, other) for key, one, other in pairs if one != other]


def machines(promoted: Promoted) -> dict[str, Any]:
    """Return the machines that trained, evaluated and refitted."""
    stages = ("train", "evaluate", "refit")
    return flat({stage: promoted.document(Machine, f"machine/{stage}.json").model_dump() for stage in stages})


def _origin(promoted: Promoted) -> dict[str, Any]:
    record = promoted.record
    git = promoted.document(GitState, GIT)
    about = {"version": record.version[:12], "run": record.run_id, "by": record.by, "at": record.at}
    about["approved by"] = record.approval and record.approval.in_words
    return about | {"reason": record.reason, "commit": git.commit, "uncommitted changes": git.dirty}


def _data(promoted: Promoted) -> dict[str, Any]:
    facts = promoted.facts
    raw = promoted.document(RawManifest, RAW_MANIFEST)
    found = {
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
    return flat(found)


def _code(promoted: Promoted) -> dict[str, Any]:
    names = sorted(name for name in promoted.names if name.startswith("code/"))
    stages = [promoted.document(StageCode, name) for name in names]
    packages = dict(promoted.facts.packages)
    files: dict[str, str] = {}
    for stage in stages:
        packages |= {name: version or "missing" for name, version in stage.packages.items()}
        files |= {name: digest[:12] for name, digest in stage.files.items()}
    return {f"package {name}": version for name, version in packages.items()} | files


def _gates(promoted: Promoted) -> dict[str, Any]:
    report = promoted.document(GateReport, "gate.json")
    gates: dict[str, Any] = {gate.name: {key: getattr(gate, key) for key in _JUDGED} for gate in report.gates}
    return flat({"champion": report.champion and report.champion.number, **gates})


def _metrics(promoted: Promoted) -> dict[str, float | None]:
    evaluation = promoted.facts.evaluation
    found: dict[str, Any] = {name: getattr(evaluation.test, name) for name in _METRICS}
    return found | flat({"floor": evaluation.floors.model_dump()})


def _change(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else other - one
