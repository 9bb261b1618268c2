"""Gates that compare the candidate with another model on the same rows, by the metrics of `gate.metrics`.

`champion_delta` by the first metric demands proof that the candidate loses less than the margin, whatever the candidate
started from. A log too small to prove this in one day pools its days. By further metrics, the gate closes only on
proven harm. GAUC is a mean of many small AUCs: in a month of 5,000 rows a day, its interval was three times as wide as
that of AUC. Proof by both metrics refused sound candidates there, while proof by either stops harmful ones.

`lesson_delta` demands the same proof, by the first metric, that learning the test days (the lesson) does no harm to the
judged model. Without a champion, or with a weak one, a harmful lesson would pass all other gates. A candidate that
continues a champion needs no such gate, because the champion itself is the model before the lesson.

`anchor_delta` closes only on proof that the candidate loses more than the margin. It keeps small permitted losses from
adding up, and normally a candidate that passes the champion's gates passes it too. See `din.metrics.noninferiority` for
the test, and `din.release.gates.pooling` for evidence over several days.
"""

import math
from dataclasses import replace
from functools import partial

from din.contracts.verdicts import Power
from din.metrics.drift import population_stability_index
from din.metrics.estimates import Estimate, Metric
from din.metrics.noninferiority import WORST, ComparisonResult, excludable_loss, judge, level_of
from din.params.gate import Gate as Limits
from din.release.gates import GATES
from din.release.gates.case import Case, show_log, show_record
from din.release.gates.evidence import measured
from din.release.gates.findings import Claim, Finding, finite, form, from_estimate, not_outside
from din.release.gates.pooling import Comparison, decide_pooled
from din.release.registry.champions import rolled_back
from din.release.registry.stored_comparisons import candidate_of

MIN_MARGIN = 0.002
"""The smallest margin under `auto`. A smaller loss does not justify keeping an older model."""
_EQUAL = 0.9
"""The probability that an equal candidate passes at the first comparison under `margin: auto`.

A higher one buys fewer refusals with a wider margin, so more loss is permitted; ADR 15 has the figures.
"""


@GATES.register(
    "champion_delta_{metric}",
    model="crossfit",
    run="later",
    every_metric=True,
    compares=True,
    equal=0.0,
    command=show_record,
)
def champion_delta(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate loses less than the margin to the champion.

    The first metric requires proof of this. A further metric closes the gate only if the loss is certainly larger.
    """
    limits = case.limits
    stored = case.champion.comparisons
    removed = rolled_back(case.history).keys() - {case.evidence.version}
    compared = [Comparison.of(rows, metric, candidate_of(rows) not in removed) for rows in stored]
    outcome = decide_pooled(compared, partial(margin_of, limits), 1 - limits.confidence)
    finding = _finding(outcome, margin_of(limits, compared[-1].difference), limits, len(stored[-1]))
    if finding.verdict != "borderline":
        return finding
    if metric == limits.metrics[0]:
        return replace(finding, reason=f"{finding.reason}. The next run adds its days to these")
    further = f"Only proven harm closes a gate by another metric than {limits.metrics[0]}"
    return replace(finding, verdict="open", reason=f"{finding.reason}. {further}")


@GATES.register(
    "lesson_delta_{metric}",
    model="crossfit",
    command=lambda case: case.evidence.show(case.workspace.refit),
    applies=lambda case: not case.evidence.params.train.continues,
)
def lesson_delta(case: Case, metric: Metric) -> Finding:
    """Judge that learning the test days made the model worse by less than the margin."""
    limits = case.limits
    evidence = case.evidence
    if not evidence.learned:
        return Finding("open", 0.0, 0.0, reason="nothing was learned after the model was judged")
    sample = evidence.draw(evidence.crossfit_rows.append_column("judged", evidence.judged_rows["prediction"]))
    change = measured(metric, sample, against="judged")
    margin = margin_of(limits, change)
    return _finding(judge([change], margin, 1, 1 - limits.confidence), margin, limits, len(sample))


@GATES.register(
    "anchor_delta_{metric}", model="crossfit", run="later", every_metric=True, compares=True, command=show_log
)
def anchor_delta(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate does not certainly lose more than the margin to the anchor."""
    anchor = case.anchor
    if anchor is None:
        return Finding("open", 0.0, 0.0, reason="no earlier champion of the last 90 days can be compared with")
    if anchor.is_candidate:
        return Finding("open", 0.0, 0.0, reason="the anchor is this bundle")
    difference = measured(metric, anchor.rows, against=anchor.scores)
    margin = margin_of(case.limits, difference)
    return from_estimate(not_outside, difference, case.limits.confidence, -margin, rows=len(anchor.rows))


@GATES.register("prediction_drift", model="crossfit", run="later", compares=True, equal=0.0, command=show_record)
def prediction_drift(case: Case) -> Finding:
    """Judge that the predictions drifted less than the limit (PSI), or are not certainly worse by log loss.

    Even equal trainings differ in sharpness and level, on small logs by a PSI far above any usual limit. The labels
    then show whether the champion's predictions were better.
    """
    rows = case.champion.rows
    scores = case.champion.scores
    limit = case.limits.max_prediction_drift
    predictions = rows["prediction"].to_numpy()
    observed = population_stability_index(scores, predictions)
    if observed <= limit:
        return Finding("open", observed, limit, rows=len(rows))
    loss = measured("log_loss", rows, against=scores).interval(case.limits.confidence)
    claim = Claim(loss, -math.inf, 0.0)
    meanings = {"beyond": "the labels contradict them", "undefined": "too few users tell which are right"}
    reason = (
        f"predictions are distributed differently from the champion's (mean {predictions.mean():.4f}, the champion's "
        f"{scores.mean():.4f}) and {meanings.get(claim.shows, 'the labels do not contradict them')}: log loss "
        f"{claim.figure}"
    )
    return Finding(not_outside(claim), observed, limit, rows=len(rows), reason=reason)


def _finding(outcome: ComparisonResult, margin: float, limits: Limits, rows: int) -> Finding:
    return Finding(
        verdict=outcome.verdict,
        observed=outcome.interval.point,
        threshold=-margin,
        interval=outcome.interval,
        rows=rows,
        reason=tell(outcome, margin, limits.max_margin),
        power=Power(
            look=outcome.number,
            users=outcome.users,
            excludes=finite(outcome.excludes),
            users_needed=outcome.users_needed,
        ),
    )


def margin_of(limits: Limits, today: Estimate) -> float:
    """Return the permitted loss: `gate.margin`, or with `auto` what today's rows can exclude at a first comparison.

    With `auto`, an equal candidate passes with probability `_EQUAL`, unless that takes a margin above `max_margin`.

    Args:
        today: the difference candidate − champion on today's rows.
    """
    if limits.margin != "auto":
        return limits.margin
    excluded = excludable_loss(today, level_of(1, 1 - limits.confidence), _EQUAL)
    if math.isnan(excluded):
        return limits.max_margin
    return min(max(excluded, MIN_MARGIN), limits.max_margin)


def tell(outcome: ComparisonResult, margin: float, max_margin: float) -> str:
    """Return what a comparison shows about a loss of the margin and, if undecided, how many users would decide it."""
    pooled = Claim(outcome.interval, -margin)
    today = Claim(outcome.today, -margin)
    if today.shows == "undefined":
        return f"today's rows: {today}"
    text = f"for {outcome.users:,} users the difference is {pooled}"
    if outcome.verdict == "open":
        return text
    if outcome.verdict == "closed":
        return text if pooled.shows == "beyond" else f"{text}; but on today's rows alone it is {today}"
    text = f"undecided at comparison {outcome.number}: {text}"
    if pooled.shows == "within":
        return f"{text}; but on today's rows alone it is {Claim(outcome.today, -WORST * margin)}"
    digits = form((outcome.excludes,), (margin,))
    text += f". An equal candidate rules out {outcome.excludes:{digits}} with these users in four of five cases"
    if outcome.users_needed:
        text += f", and {margin:{digits}} with about {outcome.users_needed:,}"
    if margin == max_margin < outcome.excludes:
        text += "; gate.max_margin permits no wider margin"
    return text
