"""Every condition for promotion, judged from reports and the registry, into reports/gate.json.

Fail-closed: what is missing, malformed or can't be computed is a closed gate with its reason. The gates themselves and
what they cost: `own`, `comparisons`, `slices`. It gives up a clock: the same workspace and registry give the same
report, but for the latency, which is a time.
"""

from typing import Any

from din.artifacts import write_json
from din.errors import GateClosed
from din.params import Params
from din.promotion.champion import Score, score_champion
from din.promotion.comparisons import against_earlier, first_run
from din.promotion.evidence import REPORTS, Evidence
from din.promotion.own import Latency, measure_latency, own_gates
from din.promotion.table import print_table
from din.promotion.verdict import check, overall
from din.registry import Registry

REPORT = REPORTS / "gate.json"


def gate(params: Params, score: Score = score_champion, latency: Latency = measure_latency) -> None:
    """Judge the candidate in this workspace; write reports/gate.json and print the table of gates.

    Args:
        params: blocks `gate`, `promote` and `check_parity`.
        score: (bundle directory, test rows) to probabilities; what scores an earlier champion.
        latency: bundle directory to ms; what times the candidate.

    Raises:
        GateClosed: the verdict is closed, or borderline (`approval: never`); the report is written before.
        InputError: the registry can't be read.
        Unavailable: the registry doesn't answer; there is no report then.
    """
    REPORT.unlink(missing_ok=True)  # a gate that can't judge must not leave an older verdict
    registry = Registry(params.promote.registry, params.model_name)
    history = registry.history()
    champion = history[-1] if history else None
    evidence = Evidence(params)
    compared = against_earlier(evidence, registry, history, score) if history else first_run(evidence)
    gates = [check(*gate) for gate in [*own_gates(evidence, latency), *compared]]
    verdict = overall(gates)
    report = {
        "verdict": verdict,
        "bundle": evidence.version_or_none(),
        "champion": {"number": champion.number, "version": champion.version} if champion else None,
        "metric": params.gate.metric,
        "gates": gates,
    }
    write_json(REPORT, report)
    print_gates(report)
    if verdict != "open":
        shut = [f"{g['name']}: {g['reason'] or g['verdict']}\n    {g['look']}" for g in gates if g["verdict"] != "open"]
        raise GateClosed("\n".join([f"{verdict}; the champion stays. To look closer:", *shut]), str(REPORT))


def print_gates(report: dict[str, Any]) -> None:
    """The gate table of a report."""
    columns = ("gate", "verdict", "observed", "threshold", "interval", "rows")
    rows = [[g["name"], g["verdict"], *(g.get(column) for column in columns[2:])] for g in report["gates"]]
    print_table(f"gate: {report['verdict']}", columns, rows)
