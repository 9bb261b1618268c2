"""Make the candidate of a workspace the champion, if the gate judged exactly this candidate and lets it pass.

If the gate found that the champion's last update did harm, and the candidate does not replace the champion at once,
the champion is rolled back instead, provided that `promote.on_harm` says so.

If the command is killed, either the old champion stays or the new one is complete, and a rerun completes the promotion
(`Registry.promote`). A bundle that is already stored is compared, not uploaded again.
"""

import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import uuid4

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import GateClosed, InputError, listed
from din.base.names import Commit, FileName
from din.base.printing import print_table
from din.base.process import CommandFailed, environment, query
from din.base.workspace import Workspace
from din.contracts.facts import Evaluation
from din.contracts.verdicts import ChampionName, GateReport
from din.params.reading import Params
from din.release.gates import stored_crossfit
from din.release.gates.bound import is_bound
from din.release.gates.budgets import MEASURED, measure_latency
from din.release.gates.case import Latency
from din.release.gates.earlier_champion import Score, score_champion
from din.release.gates.evidence import Evidence
from din.release.gates.findings import overall
from din.release.gates.gate import OVERRIDE, judge, print_gates
from din.release.gates.report_text import explain
from din.release.registry import commands
from din.release.registry.diff import changes, short
from din.release.registry.promoted import CROSSFIT, GIT, RAW_MANIFEST, GitState
from din.release.registry.records import Identity, Override, Record
from din.release.registry.registry import Registry

_TOLERANCE = 1e-6
_METRICS = ("auc", "gauc", "log_loss", "normalized_entropy", "calibration_ratio")


@dataclass(frozen=True)
class Promotion:
    """The champion after `promote`: its record, whether this call appended it, and the command to score with it.

    The record is a rollback if the earlier champion's last update did harm.
    """

    record: Record
    appended: bool
    command: str


def promote(
    workspace: Workspace,
    params: Params,
    by: str,
    reason: str = "",
    override: bool = False,
    identity: Identity | None = None,
    score: Score = score_champion,
    latency: Latency = measure_latency,
) -> Promotion:
    """Append the candidate to the registry, and print version, metrics and the command to score.

    The gate's report is not trusted: everything is hashed again, and unless the verdict is bound to exactly these
    hashes (`din.release.gates.bound`), every gate is judged again.

    Args:
        by: the person or service that promotes, for the record.
        identity: who runs this, as the environment shows it, for the record.
        reason: the reason, for the record, by default that the gate is open. An override needs one. The reason of a
            rollback is always the harm that the gate found.
        override: promote although gates are not open; see `GateReport.may_be_overridden`.

    Returns:
        The champion. Nothing is appended if the candidate is already the champion, or if the harmful champion was
        already rolled back.

    Raises:
        GateClosed: there is no gate report; the report judged other data than the workspace holds, or compared with
            another champion; or a gate is not open, in the report or when judged again, and not overridden.
        StaleChampion: another promotion came first.
        InputError: an override has a blank reason, or no gate to override; the bundle is damaged; a value of the
            record is not of the declared type; or the registry can't be read or written.
        Unavailable: the registry doesn't answer. If the record was stored all the same, a rerun finds it.
    """
    if override and not reason.strip():
        raise InputError("--override needs a --reason, which the record keeps for those who read the log")
    report = _report(workspace, override)
    evidence = Evidence(workspace, params)
    _require_unchanged(report, evidence)
    registry = Registry.of(workspace, params)
    history = registry.history()
    champion = history[-1] if history else None
    command = f"{registry.command('score')} --input requests.jsonl"
    if harm := report.harm_to_undo:
        still_champion = champion is not None and champion.number == harm.record
        if still_champion:
            _judge_again(report, evidence, score, latency)
        place = (registry.uri, registry.model_name)
        back = commands.rollback(*place, str(harm.back_to), by, harm.reason, harm.record, identity)
        return Promotion(back, still_champion, command)
    if champion is not None and champion.version == evidence.version:
        registry.seal(champion)
        promotion = Promotion(champion, False, command)
    else:
        _require_compared_with(champion, report, workspace)
        _require_never_champion(evidence, history)
        if override or not is_bound(evidence, registry, champion):
            _judge_again(report, evidence, score, latency)
        overridden = _overridden(report) if override else None
        print(f"{by} overrides gates that are not open: {overridden.in_words}." if overridden else explain(report))
        record = registry.promote(
            workspace.bundle,
            evidence.version,
            champion,
            by=by,
            reason=reason or "gate open",
            run_id=os.environ.get("DIN_RUN_ID") or _new_run_id(),
            override=overridden,
            identity=identity,
            evidence=_run_files(evidence),
        )
        promotion = Promotion(record, True, command)
    _print(promotion, evidence.facts.evaluation)
    return promotion


def _report(workspace: Workspace, override: bool) -> GateReport:
    """Read the gate's report, and refuse a candidate that does not pass."""
    try:
        report = documents.read(GateReport, workspace.gate)
    except InputError as error:
        raise GateClosed(f"nothing promoted: {error}", workspace.gate) from None
    if report.preview:
        _refuse(workspace, f"{workspace.gate} is a preview; judge the candidate without DIN_PREVIEW")
    if report.verdict != overall(report.gates):
        _refuse(workspace, f"{workspace.gate} says {report.verdict}, but its gates do not")
    if override and report.verdict == "open":
        raise InputError("all gates are open, so there is nothing to override; leave out --override")
    passes = report.verdict == "open" or (override and report.may_be_overridden)
    if not passes and (override or not report.harm_to_undo):
        print_gates(report)
        advice = "the reasons of its gates say what to do"
        if report.may_be_overridden:
            advice += f", and `{OVERRIDE}` promotes it all the same"
        elif report.harm_to_undo:
            advice = "leave out --override to go back to the champion before, since the last step harmed"
        raise GateClosed(f"nothing promoted: the gate is {report.verdict}; {advice}", workspace.gate)
    return report


def _require_unchanged(report: GateReport, evidence: Evidence) -> None:
    """Refuse a report about another bundle, or about files that have changed since."""
    workspace = evidence.workspace
    if report.bundle != evidence.version:
        about = short(report.bundle)
        _refuse(workspace, f"{workspace.gate} is about bundle {about}, {workspace.bundle} is {evidence.version[:12]}")
    if changed := changes(report.about.model_dump(), evidence.about.model_dump()):
        _refuse(workspace, f"changed since the gate judged: {listed(changed)}")


def _require_compared_with(champion: Record | None, report: GateReport, workspace: Workspace) -> None:
    """Refuse a report that compared with another champion than today's."""
    today = ChampionName(number=champion.number, version=champion.version) if champion else None
    if report.champion != today:
        then = _name(report.champion)
        _refuse(workspace, f"{workspace.gate} compared with champion {then}, but today's is {_name(today)}")


def _require_never_champion(evidence: Evidence, history: list[Record]) -> None:
    """Refuse a bundle that was champion before: only a rollback may bring it back, not a rerun of an old day."""
    version = evidence.version
    for record in history:
        if record.version == version:
            back = f"`din registry rollback {record.number}` brings it back"
            why = f"nothing promoted: bundle {version[:12]} was the champion of record {record.number}; {back}"
            raise GateClosed(why, evidence.workspace.gate)


def _overridden(report: GateReport) -> Override:
    held = report.not_open
    return Override(gates=[gate.name for gate in held], compared=all(gate.evaluated for gate in held))


def _judge_again(report: GateReport, evidence: Evidence, score: Score, latency: Latency) -> None:
    """Judge every gate again, and refuse a report that differs in more than latencies or last bits."""
    workspace = evidence.workspace
    repeated = documents.parse(GateReport, documents.dump(judge(evidence, score, latency)), "the gates judged again")
    before = _comparable(report)
    now = _comparable(repeated)
    if repeated.verdict != report.verdict:
        print_gates(repeated)
        _refuse(workspace, f"judged again, the gate is {repeated.verdict}")
    differing = sorted(name for name in before.keys() | now.keys() if not _agree(before.get(name), now.get(name)))
    if differing or len(report.gates) != len(repeated.gates):
        names = listed(differing) or "a gate appears twice"
        _refuse(workspace, f"{workspace.gate} differs from its gates judged again: {names}")


def _comparable(report: GateReport) -> dict[str, Any]:
    """Return what must not differ, by name: the metrics, the missed days, the harm, and each gate.

    Measured latencies and errors of evaluation are left out. So are the reasons and the power of gates, which state
    figures once more.
    """
    comparable = report.model_dump(include={"metrics", "missed_days", "harm"})
    for gate in report.gates:
        is_stable = gate.evaluated and gate.name not in MEASURED
        comparable[gate.name] = gate.model_dump(exclude={"reason", "power"} | (set() if is_stable else {"observed"}))
    return comparable


def _agree(first: Any, second: Any) -> bool:
    """Return whether two values are equal; numbers may differ as those of two processors do."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_agree(first[key], second[key]) for key in first)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(_agree, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=0, abs_tol=_TOLERANCE)
    return first == second


def _refuse(workspace: Workspace, why: str) -> NoReturn:
    raise GateClosed(f"nothing promoted: {why}; run `dvc repro`, and promote once its gate is open", workspace.gate)


def _new_run_id() -> str:
    return f"local-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"


def _run_files(evidence: Evidence) -> dict[str, bytes]:
    """Return the files to store with the record, by name.

    They are the run's reports and page, the raw log's manifest, params.yaml, dvc.yaml, dvc.lock and the commit. Hidden
    files, such as the copies of a notebook server, are left out. Of the predictions, only those that a later run of the
    same day needs are stored, with hashed users.
    """
    workspace = evidence.workspace
    reports = workspace.reports
    json_files = {path.relative_to(reports).as_posix(): path for path in sorted(reports.rglob("*.json"))}
    paths = {name: path for name, path in json_files.items() if FileName.form.fullmatch(name)}
    others = (workspace.report, workspace.params, workspace.pipeline, workspace.lock)
    paths |= {path.name: path for path in others if path.exists()}
    paths[RAW_MANIFEST] = workspace.raw / MANIFEST
    git = documents.dump(_git(workspace))
    files = {name: path.read_bytes() for name, path in paths.items()}
    return files | {GIT: git, CROSSFIT: stored_crossfit.dump(evidence)}


def _git(workspace: Workspace) -> GitState:
    copied = [f":!{path.name}" for path in (workspace.params, workspace.pipeline, workspace.lock)]

    def git(*words: str) -> str:
        return query(["git", *words], workspace.root, environment()).strip()

    try:
        return GitState(
            commit=Commit(git("rev-parse", "HEAD")),
            dirty=bool(git("status", "--porcelain", "--", ".", *copied)),
        )
    except CommandFailed:  # no git, or no repository
        return GitState(commit=None, dirty=None)


def _print(promotion: Promotion, evaluation: Evaluation) -> None:
    record = promotion.record
    blocks: dict[str, Any] = {"champion": evaluation.test, **dict(evaluation.floors)}
    rows = [[name, *(getattr(block, metric, None) for metric in _METRICS)] for name, block in blocks.items() if block]
    print_table("test rows", ("model", *_METRICS), rows)
    print(f"{'promoted' if promotion.appended else 'already champion'}: {record.version} (record {record.number})")
    print(f"score:    {promotion.command}")


def _name(champion: ChampionName | None) -> str:
    return f"{champion.version[:12]} (record {champion.number})" if champion else "none"
