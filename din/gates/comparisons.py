"""Gates that compare the candidate with another model on the same rows, by metrics of `gate.metrics`.

The champion's gate by the first metric demands proof that the candidate loses less than the margin, whatever the
candidate started from. A log too small for this proof on one day pools its days. The gates by further metrics close
only on certain harm. A GAUC is the mean of many small AUCs, and its interval was three times as wide on a month of
5,000 rows a day: a proof by both metrics refused sound lessons there, and one by either stops those that harm.

The lesson's gate demands the same proof, by the first metric, against the model before its lesson. Without a champion,
or with a weak one, a lesson that harms would pass all others. A candidate that goes on from a champion needs none,
since its lesson began with a champion.

The anchor's gates close only on proof that the candidate loses more: they are there so that small permitted losses
don't add up, and a candidate that passed the champion's gates is the rule. See `din.metrics.noninferiority` for the
test, and `din.registry.stored_comparisons` for evidence over days.
"""

import math
from dataclasses import replace
from functools import partial

from din.errors import InputError
from din.gates import GATES, about
from din.gates.case import Case, show_log, show_record
from din.gates.claims import Claim, form
from din.gates.evidence import measured
from din.gates.verdict import Finding, finite, from_estimate, not_outside
from din.metrics import population_stability_index
from din.metrics.estimates import Estimate, Metric
from din.metrics.noninferiority import WORST, Outcome, judge, level_of, resolves
from din.params.gate import Gate as Limits
from din.registry.stored_comparisons import Comparison, judged
from din.verdicts import Power

MIN_MARGIN = 0.002
"""The smallest margin under `auto`: a loss below it does not justify keeping an older model."""
_EQUAL = 0.95
"""The probability with which `margin: auto` lets an equal candidate pass on a first look."""
_KEY = ["sequence", "item"]
"""The columns that identify a test row, sampled negatives included."""


@GATES.register("champion_delta_{metric}")
@about(model="crossfit", run="later", every_metric=True, compares=True, equal=0.0, command=show_record)
def champion_delta(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate loses less than the margin to the champion, by a further metric not certainly more."""
    limits = case.limits
    stored = case.champion.comparisons
    compared = [Comparison.of(rows, metric) for rows in stored]
    outcome = judged(compared, partial(margin_of, limits), 1 - limits.confidence)
    found = _finding(outcome, margin_of(limits, compared[-1].difference), limits, len(stored[-1]))
    if found.verdict != "borderline":
        return found
    if metric == limits.metrics[0]:
        return replace(found, reason=f"{found.reason}. The next run adds its days to these")
    further = f"Only certain harm closes a gate by another metric than {limits.metrics[0]}"
    return replace(found, verdict="open", reason=f"{found.reason}. {further}")


@GATES.register("lesson_delta_{metric}")
@about(
    model="crossfit",
    command=lambda case: case.evidence.show(case.workspace.refit),
    applies=lambda case: not case.evidence.params.train.continues,
)
def lesson_delta(case: Case, metric: Metric) -> Finding:
    """Judge that learning the test days costs less than the margin.

    Raises:
        InputError: the cross-fitted rows are not the test rows of the judged model.
    """
    limits = case.limits
    evidence = case.evidence
    if not evidence.refit.crossfit:
        return Finding("open", 0.0, 0.0, reason="nothing was learned after the model was judged")
    rows = evidence.crossfit
    if not rows.select(_KEY).equals(evidence.rows.select(_KEY)):
        raise InputError(f"{case.workspace.crossfit} has other rows than the judged model's; run `dvc repro`")
    some = evidence.draw(rows.append_column("judged", evidence.rows["prediction"]))
    found = measured(metric, some, against="judged")
    margin = margin_of(limits, found)
    return _finding(judge([found], margin, 1, 1 - limits.confidence), margin, limits, len(some))


@GATES.register("anchor_delta_{metric}")
@about(model="crossfit", run="later", every_metric=True, compares=True, command=show_log)
def anchor_delta(case: Case, metric: Metric) -> Finding:
    """Judge that the candidate does not certainly lose more than the margin to the anchor."""
    anchor = case.anchor
    if anchor is None or anchor.is_candidate:
        return Finding("open", 0.0, 0.0, reason=f"the anchor is {'this bundle' if anchor else 'the champion'}")
    difference = measured(metric, anchor.rows, against=anchor.scores)
    margin = margin_of(case.limits, difference)
    return from_estimate(not_outside, difference, case.limits.confidence, -margin, rows=len(anchor.rows))


@GATES.register("prediction_drift")
@about(model="crossfit", run="later", compares=True, equal=0.0, command=show_record)
def prediction_drift(case: Case) -> Finding:
    """The predictions moved less than the limit, or their log loss is not certainly worse than the champion's.

    Equal trainings differ in sharpness and level, on small logs by a PSI far above any usual limit. The labels tell
    which of the two is right.
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
    told = {"beyond": "the labels contradict them", "undefined": "too few users tell which are right"}
    reason = (
        f"predictions are distributed differently from the champion's (mean {predictions.mean():.4f}, the champion's "
        f"{scores.mean():.4f}) and {told.get(claim.shows, 'the labels do not contradict them')}: log loss "
        f"{claim.figure}"
    )
    return Finding(not_outside(loss, -math.inf, 0.0), observed, limit, rows=len(rows), reason=reason)


def _finding(outcome: Outcome, margin: float, limits: Limits, rows: int) -> Finding:
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
    """Return the permitted loss: `gate.margin`, or with `auto` what today's rows exclude on a first look.

    With `auto`, an equal candidate passes with probability `_EQUAL`, unless `max_margin` forbids a margin that wide.

    Args:
        limits: the block `gate`.
        today: candidate − champion on today's rows.
    """
    if limits.margin != "auto":
        return limits.margin
    excluded = resolves(today, level_of(1, 1 - limits.confidence), _EQUAL)
    if math.isnan(excluded):
        return limits.max_margin
    return min(max(excluded, MIN_MARGIN), limits.max_margin)


def tell(outcome: Outcome, margin: float, max_margin: float) -> str:
    """Say what a comparison shows about a loss of the margin, and if it is undecided, what would decide.

    Args:
        outcome: the outcome of the comparison.
        margin: the permitted loss.
        max_margin: the largest loss that may be permitted.
    """
    pooled = Claim(outcome.interval, -margin)
    today = Claim(outcome.today, -margin)
    if today.shows == "undefined":
        return f"today's rows: {today}"
    told = f"for {outcome.users:,} users the difference is {pooled}"
    if outcome.verdict == "open":
        return told
    if outcome.verdict == "closed":
        return told if pooled.shows == "beyond" else f"{told}; but on today's rows alone it is {today}"
    told = f"undecided at look {outcome.number}: {told}"
    if pooled.shows == "within":
        return f"{told}; but on today's rows alone it is {Claim(outcome.today, -WORST * margin)}"
    digits = form((outcome.excludes,), (margin,))
    told += f". An equal candidate rules out {outcome.excludes:{digits}} with these users in four of five cases"
    if outcome.users_needed:
        told += f", and {margin:{digits}} with about {outcome.users_needed:,}"
    if margin == max_margin < outcome.excludes:
        told += "; gate.max_margin permits no wider margin"
    return told
