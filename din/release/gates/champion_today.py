"""The gate `champion_today`: compare the champion's AUC on today's rows with its AUC when it was promoted.

A fault that harms champion and candidate alike, e.g. a wrong item table, does not show in their difference, but it does
show in the champion's own AUC. However, a champion also gets worse with every day that it has not learned. After some
days without promotion its AUC is low although today's log is sound, and only a promotion can help. A candidate that has
learned these days distinguishes the two cases:

    the champion's AUC has fallen, and on today's test rows the judged model
    has fallen too                                           closed    the log has changed its meaning
    is better, and not far below the champion's earlier AUC  open      the champion is stale

The judged model has not learned the test days. A model that has might have learned their changed meaning.

A fall of the champion and a rise of the candidate that are both close to their limits are one signal: something in
today's log, e.g. an attribute that was made of later labels, helps only a model that has learned it. A candidate that
has learned no day more than the champion can't owe such a rise to what is new, so a person decides.
"""

import math
from dataclasses import replace
from datetime import datetime

from din.base.errors import InputError
from din.metrics.estimates import Estimate
from din.release.gates import GATES
from din.release.gates.case import Case, show_record
from din.release.gates.evidence import measured
from din.release.gates.findings import Finding, from_estimate, not_outside

NEAR = 0.5
"""The share of `max_champion_drop` from which a certain fall is reported."""
TOGETHER = 1.5
"""The sum of the shares of both limits from which a fall and a rise are one signal: three quarters of each."""
_ADVICE = "did labels, ids or side tables change their meaning? If the traffic changed, raise gate.max_champion_drop"


@GATES.register("champion_today", run="later", compares=True, equal=0.0, command=show_record)
def champion_today(case: Case) -> Finding:
    """Judge that the champion's AUC has not certainly fallen by more than `max_champion_drop`, unless it is stale."""
    champion = case.champion
    recorded = champion.facts.evaluation.test.auc
    if recorded is None:
        raise InputError("the champion has no recorded AUC")
    low = -case.limits.max_champion_drop
    confidence = case.limits.confidence
    rows = champion.rows

    def above_recorded(auc: Estimate) -> Finding:
        return from_estimate(not_outside, replace(auc, value=auc.value - recorded), confidence, low, rows=len(rows))

    now = measured("auc", rows, champion.scores)
    finding = above_recorded(now)
    fall = recorded - now.value
    certain = now.interval(confidence).upper < recorded
    is_near = finding.verdict == "open" and certain and fall >= NEAR * case.limits.max_champion_drop
    if (finding.verdict == "open" and not is_near) or math.isnan(now.standard_error):
        return finding
    text = f"the champion had AUC {recorded:.4f} on the rows it was promoted on and has {now.value:.4f} on today's"
    candidate_until = datetime.fromisoformat(case.evidence.facts.judged_until).date()
    has_learned_newer = candidate_until > datetime.fromisoformat(champion.facts.seen_until).date()
    tested = case.evidence.judged_sample
    gain = measured("auc", tested, against=champion.score(tested)).interval(confidence)
    if is_near:
        together = fall / case.limits.max_champion_drop + gain.point / case.limits.max_gain
        if has_learned_newer or gain.lower <= 0 or together < TOGETHER:
            return replace(finding, reason=f"{text}, near the limit: {_ADVICE}")
        text += f", where the candidate, which has learned no newer day, has {gain.point:.4f} more"
        return replace(finding, verdict="borderline", reason=f"{text}; both are near their limits: {_ADVICE}")
    if has_learned_newer:
        candidate = measured("auc", tested)
        text += f", where the candidate, which has learned newer days, has {candidate.value:.4f}"
        if gain.lower > 0 and above_recorded(candidate).verdict == "open":
            return replace(finding, verdict="open", reason=f"{text}: the champion is stale")
    return replace(finding, reason=f"{text}: {_ADVICE}")
