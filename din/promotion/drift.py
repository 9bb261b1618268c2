"""Predictions of a model against those of another on the same rows: is their distribution another one?

Equal trainings differ in sharpness and level, on small logs by a population stability index (PSI) far above any usual
limit. So a large index alone closes no gate: the labels tell which of the two is right.
"""

import pyarrow as pa
from numpy.typing import NDArray

from din.metrics import population_stability_index
from din.metrics.estimates import difference
from din.promotion.evidence import Evidence
from din.promotion.verdict import Finding


def drift(evidence: Evidence, rows: pa.Table, scores: NDArray, others: NDArray, limit: float, other: str) -> Finding:
    """Judge that scores moved less than the limit, or that their log loss is not certainly worse than the others'.

    Args:
        rows: rows with `label` and `user`, [B].
        scores: probabilities of the model that is judged, [B].
        others: those of the other model, [B].
        limit: the largest PSI.
        other: names the owner of `others` in the reason, e.g. "the champion's".
    """
    observed = population_stability_index(others, scores)
    if observed <= limit:
        return Finding("open", observed, limit, rows=len(rows))
    labels = rows["label"].to_numpy()
    users = rows["user"].to_numpy()
    loss = difference("log_loss", labels, scores, others, users).interval(evidence.limits.confidence)
    harmless = loss.lower <= 0  # False for NaN, which means undecided
    told = "the labels don't contradict them" if harmless else "the labels contradict them"
    reason = (
        f"predictions are distributed differently from {other} (mean {scores.mean():.4f}, {other} {others.mean():.4f}) "
        f"and {told}: log loss {loss.point:+.4f} [{loss.lower:+.4f}, {loss.upper:+.4f}]"
    )
    return Finding("open" if harmless else "closed", observed, limit, rows=len(rows), reason=reason)
