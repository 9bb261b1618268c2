"""The gate `last_step`: compare the champion with its predecessor on today's new rows.

What the champion learned in its last update can be tested only today, on rows that neither of the two has learned. A
candidate that starts from the champion inherits a harmful update, so the gate closes for it. A candidate that starts
from scratch or from another bundle does not, so the gate stays open and the candidate may replace the champion.

If the update did proven harm and the candidate does not replace the champion, the remedy is a rollback. The gate only
reports this, because it may be judged any number of times. `din promote` appends the rollback if `promote.on_harm`
allows it; otherwise a person does.
"""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from din.contracts.verdicts import GateEntry, GateReport, Harm
from din.metrics.estimates import Metric
from din.metrics.learned_rows import TrainingExtent, differences
from din.release.gates import GATES
from din.release.gates.case import Case, show_log
from din.release.gates.comparisons import margin_of
from din.release.gates.evidence import measured
from din.release.gates.findings import Claim, Finding, from_estimate, not_outside
from din.release.registry.champions import predecessor, started_from
from din.release.registry.records import Record
from din.release.registry.registry import Registry

_NAME = "last_step"


@GATES.register(_NAME, run="later", compares=True, equal=0.0, command=show_log)
def last_step(case: Case) -> Finding:
    """Judge that the champion is not certainly worse than its predecessor.

    A fault in today's log, e.g. flipped labels, makes a better model look worse. If the predecessor's own metric has
    certainly fallen by more than `max_champion_drop` since its promotion, the excess is added to the margin.
    """
    champion = case.champion
    before = case.predecessor
    if before is None:
        return Finding("open", None, None, reason="the champion replaced no other bundle, or by an override")
    rows = champion.new_rows
    if not len(rows):
        return Finding("open", None, None, rows=0, reason="the champion has learned all of today's rows")
    earlier = TrainingExtent.of_bundle(before.facts)
    unknown = differences(earlier, TrainingExtent.of_bundle(case.evidence.facts))
    if unknown:
        reason = f"the champion's predecessor may have trained on today's test rows: {'; '.join(unknown)}"
        return Finding("open", None, None, reason=reason)
    if earlier.seen_until > TrainingExtent.of_bundle(champion.facts).seen_until:
        return Finding("open", None, None, reason="the champion's predecessor has learned newer rows")
    limits = case.limits
    metric: Metric = limits.metrics[0]
    scores = before.score(rows)
    gain = measured(metric, rows, champion.scores, scores)
    margin = margin_of(limits, gain)
    lowest = (getattr(before.facts.evaluation.test, metric) or 0.0) - limits.max_champion_drop
    fall = max(0.0, lowest - measured(metric, rows, scores).interval(limits.confidence).upper)
    finding = from_estimate(not_outside, gain, limits.confidence, -margin - fall, rows=len(rows))
    bound = gain.interval(limits.confidence)
    claim = Claim(bound, -margin - fall)
    champions = f"record {champion.record.number} against record {before.record.number}, which it replaced"
    comparison = f"{champions}, on {_days(rows)}: {metric.upper()}"
    if _certainly_below(bound.upper, -margin - fall):
        starts = started_from(case.evidence.facts) == champion.record.version
        return replace(
            finding, verdict="closed" if starts else "open", reason=f"the last step harmed: {comparison} {claim}"
        )
    if _certainly_below(bound.upper, -margin):
        doubt = f"record {before.record.number} itself is certainly below {lowest:.4f}, so today's log may be broken"
        return replace(finding, reason=f"{comparison} {Claim(bound, -margin)}; but {doubt}")
    if claim.shows == "across":
        return replace(finding, reason=f"too few rows to tell: {comparison} {claim}")
    return finding


def _days(rows: pa.Table) -> str:
    times = rows["timestamp"].to_numpy().astype("datetime64[us]").astype("datetime64[D]")
    return " to ".join(dict.fromkeys([str(times.min()), str(times.max())]))


def _certainly_below(upper: float | None, low: float) -> bool:
    """Return whether a gain is certainly below a limit, given its upper bound; undefined proves nothing."""
    return upper is not None and upper < low


def harm(gates: Sequence[GateEntry], history: Sequence[Record]) -> Harm | None:
    """Return the proven harm that the gate `last_step` found, whatever its verdict, or None."""
    back = predecessor(history) if history else None
    entry = next((gate for gate in gates if gate.name == _NAME), None)
    if back is None or entry is None or not entry.reason or not entry.interval:
        return None
    if not _certainly_below(entry.interval[1], entry.threshold):
        return None
    return Harm(record=history[-1].number, back_to=back.number, reason=entry.reason)


def tell_harm(harm: Harm, report: GateReport, registry: Registry) -> str:
    """Return what did harm and what to do next, with a command ready to paste."""
    if report.harm_to_undo:
        return f"{harm.reason}. `din promote` goes back to record {harm.back_to} (promote.on_harm: rollback)"
    if report.verdict == "open":
        return f"{harm.reason}. This candidate did not start from it, and may replace it"
    options = ("--champion", str(harm.record), "--reason", harm.reason)
    command = registry.command("registry", "rollback", str(harm.back_to), *options)
    return f"{harm.reason}. To go back to record {harm.back_to}:\n    {command}"
