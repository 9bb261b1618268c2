"""Every condition for promotion, judged from reports and the registry, into reports/gate.json.

Fail-closed: a report that is missing, malformed or can't be computed is a closed gate with its reason. The gates
themselves and their costs: `own`, `comparisons`, `plausibility`, `slices`. Does not read a clock: the same workspace
and registry give the same report, but for the latency, which is a time.
"""

from din.artifacts import write_json
from din.errors import GateClosed
from din.forms import Gate, GateReport
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
        params: block `gate` with its limits; the whole of them is bound to the report.
        score: (bundle directory, test rows) to probabilities; scores an earlier champion.
        latency: bundle directory to ms; times the candidate.

    Raises:
        GateClosed: the verdict is closed or borderline; the report is written before.
        InputError: the registry can't be read, or its log is damaged.
        Unavailable: the registry doesn't answer; there is no report then.
    """
    REPORT.unlink(missing_ok=True)  # a gate that can't judge must not leave an older verdict
    report = judge(params, score, latency)
    write_json(REPORT, report)
    print_gates(report)
    shut = [one for one in report["gates"] if one["verdict"] != "open"]
    if shut:
        heading = f"{report['verdict']}; the champion stays. To look closer:"
        raise GateClosed("\n".join([heading, *_reasons(shut)]), str(REPORT))


def judge(params: Params, score: Score = score_champion, latency: Latency = measure_latency) -> GateReport:
    """Judge every gate from the files in this workspace and the registry; write nothing.

    Raises:
        InputError: the registry can't be read, or its log is damaged.
        Unavailable: the registry doesn't answer.
    """
    registry = Registry(params.promote.registry, params.model_name)
    history = registry.history()
    champion = history[-1] if history else None
    evidence = Evidence(params)
    compared = against_earlier(evidence, registry, history, score) if history else first_run(evidence, registry)
    gates = [check(*one) for one in [*own_gates(evidence, latency), *compared]]
    return {
        "verdict": overall(gates),
        "bundle": evidence.version_or_none(),
        "champion": {"number": champion.number, "version": champion.version} if champion else None,
        "metric": params.gate.metric,
        "about": evidence.about,
        "gates": gates,
    }


def _reasons(shut: list[Gate]) -> list[str]:
    """Return each reason once, behind the names of the gates that give it, with a command that shows more."""
    by_reason: dict[str, list[Gate]] = {}
    for one in shut:
        by_reason.setdefault(one["reason"] or one["verdict"], []).append(one)
    return [
        f"{', '.join(one['name'] for one in gates)}: {reason}\n    {gates[0]['look']}"
        for reason, gates in by_reason.items()
    ]


def print_gates(report: GateReport) -> None:
    """Print the gate table of a report."""
    columns = ("gate", "verdict", "observed", "threshold", "interval", "rows")
    rows = [
        (one["name"], one["verdict"], one["observed"], one["threshold"], one["interval"], one["rows"])
        for one in report["gates"]
    ]
    print_table(f"gate: {report['verdict']}", columns, rows)
