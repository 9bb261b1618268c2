"""Gates that compare the candidate with floors on a first run, and otherwise with the champion and the anchor.

Both sides score the same rows. The gates compute a few intervals, and one per slice. Except on a first run, the
champion and the anchor score up to `gate.max_rows` test rows.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.document_types import Facts
from din.errors import InputError, listed
from din.metrics import population_stability_index
from din.metrics.estimates import Interval
from din.promotion import plausibility, slices
from din.promotion.champion import Score, anchor, fair_rows, rolled_back, until
from din.promotion.evidence import Evidence
from din.promotion.verdict import Finding, Gate, Verdict, from_interval, not_outside, within
from din.registry.records import Record
from din.registry.registry import Registry


def first_run(evidence: Evidence, registry: Registry) -> list[Gate]:
    """Return the gates of a run without a champion.

    The candidate must be better than popularity, not worse than LR, and not plainly wrong on a slice.
    """
    look = evidence.show(evidence.workspace.evaluation)
    metric = evidence.limits.metric
    return [
        Gate("no_earlier_champion", "din registry verify", partial(_no_earlier_champion, evidence, registry)),
        Gate(f"{metric}_over_popularity", look, partial(_floor, evidence, "popularity", within)),
        Gate(f"{metric}_over_lr", look, partial(_floor, evidence, "lr", not_outside)),
        Gate("slice_auc", look, partial(slices.auc, evidence)),
        Gate("slice_calibration", look, partial(slices.calibration, evidence)),
        Gate("implausible_gain", look, partial(plausibility.first_gain, evidence)),
    ]


def against_earlier(evidence: Evidence, registry: Registry, history: list[Record], score: Score) -> list[Gate]:
    """Return the gates of a run with a champion.

    The candidate must not be older or rolled back, not be worse overall or on a slice, and not predict another
    distribution.
    """
    look = f"din registry show {history[-1].number}"
    champion = Rival("champion", history[-1], evidence, registry, score)
    return [
        Gate("data_until", look, partial(_until, champion)),
        Gate("not_rolled_back", "din registry list", partial(_not_rolled_back, evidence, history)),
        Gate("champion_today", look, partial(_today, champion)),
        Gate("champion_delta", look, partial(_delta, champion)),
        Gate("slice_delta", evidence.show(evidence.workspace.evaluation), partial(_slice_delta, champion)),
        Gate("prediction_drift", look, partial(_drift, champion)),
        Gate("anchor_delta", "din registry list", partial(_anchor_delta, evidence, registry, history, score)),
        Gate("implausible_gain", look, partial(_gain, champion, registry, history)),
    ]


class Rival:
    """An earlier champion, with its scores of the test rows that it did not train on, computed when first needed."""

    def __init__(self, role: str, record: Record, evidence: Evidence, registry: Registry, score: Score) -> None:
        self.role = role
        self.evidence = evidence
        self._record = record
        self._registry = registry
        self._score = score

    def same(self, threshold: Any) -> Finding | None:
        """Return an open finding if the candidate is this rival, else None."""
        if self._record.version != self.evidence.version:
            return None
        return Finding("open", 0.0, threshold, reason=f"the {self.role} is this bundle")

    @cached_property
    def facts(self) -> Facts:
        """The facts.json of the rival's bundle."""
        return self._registry.facts(self._record.version)

    @cached_property
    def rows(self) -> pa.Table:
        """The test rows of a fair comparison, at most `max_rows`."""
        rows = self.evidence.rows
        fair = fair_rows(self.evidence.facts, self.facts, rows["timestamp"].to_numpy())
        return self.evidence.draw(rows.filter(pa.array(fair)))

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """The rival's probabilities of `rows`."""
        rows = self.rows
        name = f"the {self.role} {self._record.version[:12]}"
        workspace = self.evidence.workspace
        bundle = self._registry.fetch(self._record.version, workspace.rival(self.role))
        try:
            scores = np.asarray(self._score(workspace, bundle, rows), np.float64)
        except Exception as error:  # an old bundle may fail in any way, and then there is no comparison
            raise InputError(f"{name} can't score today's rows: {error!r}") from error
        if scores.shape != (len(rows),):
            raise InputError(f"{name} gave {scores.shape} probabilities for {len(rows)} rows")
        return scores


def _floor(evidence: Evidence, column: str, rule: Callable[[Interval, float], Verdict]) -> Finding:
    rows = evidence.sample
    interval = evidence.interval(evidence.limits.metric, rows, rows[column].to_numpy())
    return from_interval(rule(interval, 0.0), interval, 0.0, len(rows))


def _until(champion: Rival) -> Finding:
    ours = until(champion.evidence.facts)
    theirs = until(champion.facts)
    if ours >= theirs:
        return Finding("open", str(ours), str(theirs))
    if champion.evidence.limits.allow_older:
        return Finding("open", str(ours), str(theirs), reason="the champion saw newer data: waived by gate.allow_older")
    reason = "the champion saw newer data; to promote nevertheless, set gate.allow_older: true in params.yaml"
    return Finding("closed", str(ours), str(theirs), reason=reason)


def _not_rolled_back(evidence: Evidence, history: list[Record]) -> Finding:
    record = rolled_back(history).get(evidence.version)
    if record is None:
        return Finding("open", "no", "no")
    reason = f"{record.by} rolled this bundle back ({record.reason}); reinstate it with `din registry rollback`"
    return Finding("closed", f"in record {record.number}", "no", reason=reason)


def _no_earlier_champion(evidence: Evidence, registry: Registry) -> Finding:
    """No other bundle is stored beside the empty log; otherwise the log was lost, and this is not a first run."""
    others = [version for version in registry.versions() if version != evidence.version]
    if not others:
        return Finding("open", 0, 0)
    reason = (
        f"{len(others)} other bundles are stored although the log of promotions is empty ({listed(others)}), so this "
        "may not be a first run; restore the log, or, if a bundle was never promoted, run `din registry gc --bundle "
        "VERSION`"
    )
    return Finding("closed", len(others), 0, reason=reason)


def _today(champion: Rival) -> Finding:
    """The champion ranks today's rows about as well as the rows it was promoted on; if not, the log has changed.

    A defect of the log that affects champion and candidate equally would not show in their difference.
    """
    low = -champion.evidence.limits.max_champion_drop
    if same := champion.same(low):
        return same
    recorded = champion.facts["evaluation"]["test"]["auc"]
    if recorded is None:
        raise InputError("the champion has no recorded AUC")
    found = champion.evidence.interval_of("auc", champion.rows, champion.scores)
    drop = Interval(found.point - recorded, found.lower - recorded, found.upper - recorded)
    if drop.upper >= low:
        return Finding("open", drop.point, low, drop, len(champion.rows))
    reason = (
        f"the champion had AUC {recorded:.4f} on the rows it was promoted on and has {found.point:.4f} on today's: did "
        "labels, ids or side tables change their meaning? If the traffic changed, raise gate.max_champion_drop"
    )
    return Finding("closed", drop.point, low, drop, len(champion.rows), reason)


def _gain(champion: Rival, registry: Registry, history: list[Record]) -> Finding:
    if same := champion.same(champion.evidence.limits.max_gain):
        return same
    rejected = rolled_back(history)
    recent = {record.version for record in history[-plausibility.RECENT :] if record.version not in rejected}
    facts = [registry.facts(version) for version in sorted(recent)]
    return plausibility.gain(champion.evidence, champion.rows, champion.scores, facts)


def _delta(rival: Rival) -> Finding:
    """The candidate is not worse than an earlier champion."""
    limits = rival.evidence.limits
    if same := rival.same(-limits.margin):
        return same
    interval = rival.evidence.interval(limits.metric, rival.rows, rival.scores)
    return from_interval(within(interval, -limits.margin), interval, -limits.margin, len(rival.rows))


def _anchor_delta(evidence: Evidence, registry: Registry, history: list[Record], score: Score) -> Finding:
    record = anchor(registry, history, evidence.limits.metric)
    if record is None:
        return Finding("open", 0.0, -evidence.limits.margin, reason="the anchor is the champion")
    return _delta(Rival("anchor", record, evidence, registry, score))


def _slice_delta(champion: Rival) -> Finding:
    if same := champion.same(-champion.evidence.limits.slice_margin):
        return same
    return slices.delta(champion.evidence, champion.rows, champion.scores)


def _drift(champion: Rival) -> Finding:
    """The predictions moved less than the limit, or their log loss is not certainly worse than the champion's.

    Equal trainings differ in sharpness and level, on small logs by a PSI far above any usual limit. The labels tell
    which of the two is right.
    """
    limit = champion.evidence.limits.max_prediction_drift
    if same := champion.same(limit):
        return same
    predictions = champion.rows["prediction"].to_numpy()
    observed = population_stability_index(champion.scores, predictions)
    if observed <= limit:
        return Finding("open", observed, limit, rows=len(champion.rows))
    loss = champion.evidence.interval("log_loss", champion.rows, champion.scores)
    harmless = loss.lower <= 0  # False for NaN, which means undecided
    told = "the labels don't contradict them" if harmless else "the labels contradict them"
    reason = (
        f"predictions are distributed differently from the champion's (mean {predictions.mean():.4f}, the champion's "
        f"{champion.scores.mean():.4f}) and {told}: log loss {loss.point:+.4f} [{loss.lower:+.4f}, {loss.upper:+.4f}]"
    )
    return Finding("open" if harmless else "closed", observed, limit, rows=len(champion.rows), reason=reason)
