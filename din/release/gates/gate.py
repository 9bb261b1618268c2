"""The stage `gate`: judge every condition for promotion from reports and the registry, and write reports/gate.json.

A gate that can't be judged, because a report is missing or malformed, is closed and states why. No gate reads a clock:
equal workspaces and registries give equal reports, except for measured latencies.
"""

import os
from contextlib import suppress
from typing import Any

from din.base.artifacts import write_json
from din.base.errors import GateClosed, InputError
from din.base.printing import print_table
from din.base.workspace import Workspace
from din.contracts.verdicts import ChampionName, GateEntry, GateReport
from din.params.reading import Params
from din.release.gates.bound import bind
from din.release.gates.budgets import measure_latency
from din.release.gates.case import Case, Latency
from din.release.gates.earlier_champion import Compare, Score, score_champion
from din.release.gates.evidence import Evidence
from din.release.gates.findings import overall
from din.release.gates.last_step import harm, tell_harm
from din.release.gates.missed_days import missed_days
from din.release.gates.report_text import LEARN_MISSED, MODELS, explain, tell_missed
from din.release.registry.registry import Registry

_SHOWN = ("name", "model", "verdict", "observed", "threshold", "interval")
_POWER = ("excludes", "users", "users_needed")
"""The keys of gate.json, and of its `power`, that are printed."""
OVERRIDE = "din promote --override --reason WHY"
"""The command that promotes although gates are not open; see `GateReport.may_be_overridden`."""


def gate(
    workspace: Workspace, params: Params, score: Score = score_champion, latency: Latency = measure_latency
) -> None:
    """Judge the candidate of a workspace, write reports/gate.json, and print the table of gates.

    With `DIN_PREVIEW=1` in the environment, the report is a preview, by which nothing can be promoted.

    Args:
        params: all parameters. The block `gate` holds the limits, and the report records all blocks.
        score: scores test rows with an earlier champion.
        latency: measures the latency of a request.

    Raises:
        GateClosed: the verdict is closed or borderline. The report is written first.
        InputError: the registry can't be read, or its log is damaged.
        Unavailable: the registry doesn't answer.
    """
    for older in (workspace.gate, workspace.bound):  # leave no older verdict behind if judging fails
        older.unlink(missing_ok=True)
    preview = os.environ.get("DIN_PREVIEW", "0") not in ("", "0")
    evidence = Evidence(workspace, params)
    report = judge(evidence, score, latency, "as a preview" if preview else "to promote")
    write_json(workspace.gate, report)
    if report.verdict == "open":
        bind(evidence, Registry.of(workspace, params))
    print_gates(report)
    if report.harm:
        print(f"warning: {tell_harm(report.harm, report, Registry.of(workspace, params))}")
    if report.verdict != "open":
        raise GateClosed(_refusal(report), workspace.gate)


def _refusal(report: GateReport) -> str:
    outcome = "the champion stays" if report.champion else "there is still no champion"
    lines = [f"{report.verdict}; {outcome}. To look closer:", *_reasons(report.not_open)]
    if report.may_be_overridden and not report.preview:
        lines.append("A person who answers for these gates can promote it all the same:\n    " + OVERRIDE)
    return "\n".join(lines)


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
    for entry in held:
        by_reason.setdefault(entry.reason or entry.verdict, []).append(entry)
    return [
        f"{', '.join(entry.name for entry in gates)}: {reason}\n    {gates[0].command}"
        for reason, gates in by_reason.items()
    ]


def print_gates(report: GateReport) -> None:
    """Print a report's table of gates, what it means for the champion, and a warning about days that are missed."""
    rows = []
    for entry in report.gates:
        shown = [getattr(entry, key) for key in _SHOWN]
        rows.append([*shown, *(getattr(entry.power, key, None) for key in _POWER), entry.rows])
    print_table(f"gate: {report.verdict}", ["gate", *_SHOWN[1:], *_POWER[:2], "users needed", "rows"], rows)
    print(explain(report))
    print(MODELS)
    if report.missed_days:
        print(f"warning: {tell_missed(report.missed_days)} {LEARN_MISSED}")
