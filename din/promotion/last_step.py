"""Did the champion's last step help? The champion against its predecessor, on today's new rows.

The lesson of yesterday can be tested only today, on rows that neither of the two has learned. A candidate that
goes on from the champion carries a harmful step along, so this gate closes for it. A candidate from scratch, or one
that goes on from another bundle, does not, and replaces the champion.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from din.metrics.estimates import Metric, difference
from din.metrics.holdout import Training
from din.promotion.delta import margin_of
from din.promotion.rival import Rival
from din.promotion.verdict import Finding, from_estimate, not_outside
from din.registry.records import Record


def predecessor(history: Sequence[Record]) -> Record | None:
    """Return the newest record of the bundle that the champion replaced.

    None if it replaced none, or if a person brought it back by a rollback.
    """
    champion = history[-1]
    if champion.action == "rollback" or champion.previous is None:
        return None
    return next(record for record in reversed(history[:-1]) if record.version == champion.previous)


def last_step(champion: Rival, before: Rival | None) -> Finding:
    """Judge that the champion is not certainly worse than its predecessor.

    Args:
        champion: the champion.
        before: its predecessor, or None.
    """
    if before is None:
        return Finding("open", None, None, reason="the champion replaced no other bundle")
    if same := champion.same(None):
        return same
    rows = champion.new_rows
    if not len(rows):
        return Finding("open", None, None, rows=0, reason="the champion has learned all of today's rows")
    if Training.of_bundle(before.facts).seen_until > Training.of_bundle(champion.facts).seen_until:
        return Finding("open", None, None, reason="the champion's predecessor has learned newer rows")
    limits = champion.evidence.limits
    metric: Metric = limits.metrics[0]
    labels = rows["label"].to_numpy()
    users = rows["user"].to_numpy()
    gain = difference(metric, labels, champion.score(rows), before.score(rows), users)
    found = from_estimate(not_outside, gain, limits.confidence, -margin_of(limits, gain), rows=len(rows))
    if found.verdict == "open" or math.isnan(found.interval.lower if found.interval else math.nan):
        return found
    back = before.record.number
    harm = f"the champion's last step harms: on today's new rows its {metric.upper()} lies {-gain.value:.4f} below"
    reason = (
        f"{harm} that of record {back}, which it replaced; go back by `din registry rollback {back} --reason …`, or "
        "train from scratch"
    )
    if champion.evidence.params.train.goes_on_from(champion.record.version):
        return replace(found, reason=reason)
    return replace(found, verdict="open", reason=f"{reason}; this candidate does not go on from the champion")
