"""The stage `gate`: judge every condition for promotion from reports and the registry, and write reports/gate.json.

A gate that can't be judged, because a report is missing or malformed, is closed and states why. No gate reads a clock:
equal workspaces and registries give equal reports, except for measured latencies.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from din.base.artifacts import write_json
from din.base.errors import GateClosed, InputError
from din.base.names import RunId
from din.base.printing import print_table
from din.base.workspace import Workspace
from din.contracts.verdicts import ChampionName, GateEntry, GateReport
from din.params.reading import Params
from din.release.gates.budgets import measure_latency
from din.release.gates.case import Case, Latency
from din.release.gates.earlier_champion import Compare, Score, score_champion
from din.release.gates.evidence import Evidence
from din.release.gates.findings import overall
from din.release.gates.last_step import harm, tell_harm
from din.release.gates.missed_days import missed_days
from din.release.gates.report_text import LEARN_MISSED, MODELS, explain, tell_missed
from din.release.registry import approvals
from din.release.registry.registry import Registry

_SHOWN = ("name", "model", "verdict", "observed", "threshold", "interval")
_POWER = ("excludes", "users", "users_needed")
"""The keys of gate.json, and of its `power`, that are printed."""


def gate(
    workspace: Workspace, params: Params, score: Score = score_champion, latency: Latency = measure_latency
) -> None:
    """Judge the candidate of a workspace, write reports/gate.json, and print the table of gates.

    If the candidate needs a person's approval, store a request in the registry and print how to answer it. With
    `DIN_PREVIEW=1` in the environment, the report is a preview: it asks nobody, and nothing can be promoted by it.

    Args:
        params: all parameters. The block `gate` holds the limits, and the report records all blocks.
        score: scores test rows with an earlier champion.
        latency: measures the latency of a request.

    Raises:
        GateClosed: the verdict is closed, or borderline and nobody may approve that, or a person rejected the candidate
            or did not answer in time. The report is written first.
        InputError: the registry can't be read, or its log is damaged.
        Unavailable: the registry doesn't answer.
    """
    workspace.gate.unlink(missing_ok=True)  # leave no older verdict behind if judging fails
    preview = os.environ.get("DIN_PREVIEW", "0") not in ("", "0")
    report = judge(Evidence(workspace, params), score, latency, "as a preview" if preview else "to promote")
    write_json(workspace.gate, report)
    print_gates(report)
    if report.harm:
        print(f"warning: {tell_harm(report.harm, report, Registry.of(workspace, params))}")
    if preview:
        if report.verdict != "open":
            raise GateClosed(_refusal(report), workspace.gate)
        return
    needed = approvals.need(report, params.gate.approval)
    if needed != "nothing":
        _consult(workspace, params, report, needed)


def _consult(workspace: Workspace, params: Params, report: GateReport, needed: approvals.Need) -> None:
    """Reject a candidate, or request a person's approval and check for the answer."""
    registry = Registry.of(workspace, params)
    if report.of_the_champion and report.champion and report.bundle:
        before = registry.approvals.request(report.champion.number, report.bundle)
        if before and approvals.covers(before, report):
            print("the champion is this bundle, and its promotion was approved")
            return
    refusal = _refusal(report)
    if report.harm_to_undo and report.verdict == "open":
        refusal = "the champion's last step harmed; `din promote` rolls it back, before anybody is asked"
    if needed == "another candidate":
        raise GateClosed(refusal, workspace.gate)
    run_id = os.environ.get("DIN_RUN_ID")
    days = params.gate.approval_days
    asked = registry.approvals.ask(approvals.request_for(report, needed, days, RunId.of(run_id) if run_id else None))
    approvals.check_same_gates(asked, report, needed)
    request = asked.request
    if asked.state(datetime.now(UTC), request.number - 1) != "waiting":
        answer = approvals.granted(asked, report, needed)
        assert answer  # it is None only if nothing is needed
        print(f"approved by {answer.by}; `din promote` makes it the champion")
        return
    commands = _how_to_answer(registry, request)
    if needed == "override":
        override = "If the earlier champion can't be evaluated any more, a person may override this"
        raise GateClosed(f"{refusal}\n{override} until {request.expires}:\n{commands}", workspace.gate)
    print(f"waits for a person's approval until {request.expires}:\n{commands}")


def _refusal(report: GateReport) -> str:
    return "\n".join([f"{report.verdict}; the champion stays. To look closer:", *_reasons(report.not_open)])


def _how_to_answer(registry: Registry, request: approvals.Request) -> str:
    """Return the commands that approve and reject, with a placeholder for the reason."""
    name = request.version[:12]
    override = ["--override"] if request.needs_override else []
    approve = registry.command("approvals", name, "--approve", *override)
    reject = registry.command("approvals", name, "--reject")
    return f"    {approve} --reason WHY\n    {reject} --reason WHY"


def judge(evidence: Evidence, score: Score, latency: Latency, compare: Compare = "never") -> GateReport:
    """Judge every gate from the evidence and the registry.

    Args:
        compare: if no comparison with the champion is stored, whether to make it and store it. Otherwise nothing is
            written, and the gates that need the comparison are closed.

    Raises:
        InputError: the registry can't be read, or its log is damaged.
        Unavailable: the registry doesn't answer.
    """
    registry = Registry.of(evidence.workspace, evidence.params)
    history = registry.history()
    champion = history[-1] if history else None
    gates = list(Case(evidence, registry, history, score, latency, compare).judge())
    notes: dict[str, Any] = {"missed_days": missed_days(evidence, registry), "harm": harm(gates, history)}
    bundle = None
    with suppress(InputError):  # it is missing or damaged
        bundle = evidence.version
    return GateReport(
        verdict=overall(gates),
        bundle=bundle,
        champion=ChampionName(number=champion.number, version=champion.version) if champion else None,
        metrics=list(evidence.limits.metrics),
        about=evidence.about,
        gates=gates,
        preview=compare == "as a preview",
        **{name: note for name, note in notes.items() if note},
    )


def _reasons(held: list[GateEntry]) -> list[str]:
    """Return each reason once, after the names of the gates that give it, with a command that shows more."""
    by_reason: dict[str, list[GateEntry]] = {}
    for one in held:
        by_reason.setdefault(one.reason or one.verdict, []).append(one)
    return [
        f"{', '.join(one.name for one in gates)}: {reason}\n    {gates[0].look}" for reason, gates in by_reason.items()
    ]


def print_gates(report: GateReport) -> None:
    """Print a report's table of gates, what it means for the champion, and a warning about days that are missed."""
    rows = []
    for one in report.gates:
        shown = [getattr(one, key) for key in _SHOWN]
        rows.append([*shown, *(getattr(one.power, key, None) for key in _POWER), one.rows])
    print_table(f"gate: {report.verdict}", ["gate", *_SHOWN[1:], *_POWER[:2], "users needed", "rows"], rows)
    print(explain(report))
    print(MODELS)
    if report.missed_days:
        print(f"warning: {tell_missed(report.missed_days)} {LEARN_MISSED}")
