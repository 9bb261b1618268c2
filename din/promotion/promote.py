"""Make the candidate in this workspace the champion, if an open gate says so about exactly this candidate.

Order is the safety: bundle, then the run's files, then one put-if-absent record. Killed anywhere, the old champion
stays and the same command finishes the job. Costs an upload of the bundle; one that is stored already is only compared.
"""

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from din.artifacts import read_json
from din.bundle import verify_bundle
from din.errors import GateClosed, InputError
from din.objects import to_bytes
from din.params import Params
from din.promotion.evidence import BUNDLE, REPORTS
from din.promotion.gate import REPORT, print_gates
from din.promotion.table import print_table
from din.promotion.verdict import overall
from din.record import Record
from din.registry import FACTS, Registry

_METRICS = ("auc", "gauc", "log_loss", "normalized_entropy", "calibration_ratio")


@dataclass(frozen=True)
class Promotion:
    """The champion after `promote`: its record, whether this call appended it, and how to score with it."""

    record: Record
    appended: bool
    command: str


def promote(params: Params, by: str, reason: str, run_id: str | None = None) -> Promotion:
    """Append the candidate to the registry and print version, metrics and the command to score.

    Args:
        params: block `promote`.
        by: who promotes, for the log.
        reason: why, for the log.
        run_id: default `DIN_RUN_ID`, else a new one.

    Returns:
        The champion; nothing is appended where the candidate is the champion already.

    Raises:
        GateClosed: no gate report, one that is not open, is about another bundle, or compared with another champion.
        StaleChampion: another promoter was first.
        InputError: the bundle is damaged, or the registry can't be read or written.
        Unavailable: the registry doesn't answer. If the record was stored nonetheless, a rerun finds it.
    """
    report = _open_report()
    version = verify_bundle(BUNDLE)[0]
    if report["bundle"] != version:
        _refuse(f"{REPORT} is about bundle {_short(report['bundle'])}, {BUNDLE} is {version[:12]}")
    registry = Registry(params.promote.registry, params.model_name)
    history = registry.history()
    champion = history[-1] if history else None
    appended = champion is None or champion.version != version
    if appended:
        seen = report["champion"] and (report["champion"]["number"], report["champion"]["version"])
        today = champion and (champion.number, champion.version)
        if seen != today:
            _refuse(f"{REPORT} compared with champion {_name(seen)}, today's is {_name(today)}")
        _check_not_succeeded(version, history)
        run_id = run_id or os.environ.get("DIN_RUN_ID") or _new_run_id()
        registry.put_bundle(BUNDLE)
        files = registry.put_run(run_id, _run_files())
        champion = registry.append(version, champion, by=by, reason=reason, run_id=run_id, files=files)
    assert champion is not None
    command = shlex.join(["din", "score", "--registry", registry.uri, "--model", registry.model_name])
    result = Promotion(champion, appended, f"{command} --input requests.jsonl")
    _print(result)
    return result


def _open_report() -> dict[str, Any]:
    try:
        report = read_json(REPORT)
    except InputError as error:
        raise GateClosed(f"nothing promoted: {error}", str(REPORT)) from None
    try:
        if report["verdict"] != overall(report["gates"]):
            raise LookupError("the verdict is not that of its gates")
        verdict, _ = report["verdict"], (report["bundle"], report["champion"])
        if verdict != "open":
            print_gates(report)
    except (LookupError, TypeError, AttributeError) as error:
        raise GateClosed(f"nothing promoted: {REPORT} is not a gate report ({error!r})", str(REPORT)) from None
    if verdict != "open":
        _refuse(f"the gate is {verdict}")
    return report


def _check_not_succeeded(version: str, history: list[Record]) -> None:
    """A rerun of an old day must not bring its bundle back: what had its turn returns by a decision, `rollback`."""
    for record in history:
        if record.version == version:
            raise GateClosed(
                f"nothing promoted: bundle {_short(version)} was the champion of record {record.number} and has been "
                f"succeeded; `din registry rollback {record.number}` brings it back",
                str(REPORT),
            )


def _refuse(why: str) -> NoReturn:
    raise GateClosed(f"nothing promoted: {why}; run `dvc repro` and promote what its gate opens for", str(REPORT))


def _new_run_id() -> str:
    return f"local-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"


def _run_files() -> dict[str, bytes]:
    """What this run knew: reports, parameters, lock, commit. Predictions stay out: rows are data, not a record."""
    paths = {path.relative_to(REPORTS).as_posix(): path for path in sorted(REPORTS.rglob("*.json"))}
    paths |= {path.name: path for path in map(Path, ("params.yaml", "dvc.yaml", "dvc.lock")) if path.exists()}
    return {name: path.read_bytes() for name, path in paths.items()} | {"git.json": to_bytes(_git())}


def _git() -> dict[str, Any]:
    commit, status = _output("git", "rev-parse", "HEAD"), _output("git", "status", "--porcelain")
    return {"commit": commit or None, "dirty": None if commit is None else bool(status)}


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # not a repository, or no git: the record says so with null
        return None


def _print(promotion: Promotion) -> None:
    record = promotion.record
    evaluation = json.loads((BUNDLE / FACTS).read_bytes())["evaluation"]
    blocks = {"champion": evaluation["test"], **(evaluation.get("floors") or {})}
    rows = [[name, *(block.get(metric) for metric in _METRICS)] for name, block in blocks.items()]
    print_table("test rows", ("model", *_METRICS), rows)
    print(f"{'promoted' if promotion.appended else 'already champion'}: {record.version} (record {record.number})")
    print(f"score:    {promotion.command}")


def _short(version: object) -> str:
    return str(version)[:12]


def _name(champion: tuple[int, str] | None) -> str:
    return f"{champion[1][:12]} (record {champion[0]})" if champion else "none"
