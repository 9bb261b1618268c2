"""The findings of gates, and the rules that turn an interval into a verdict.

A rule maps the position of the interval (`din.gates.claims`) to open, closed or borderline. Some gates demand proof
that a figure is good, and others close only on proof that it is bad. An undefined figure closes both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from din.gates.claims import Claim
from din.metrics.estimates import Estimate, Interval
from din.metrics.noninferiority import resolves
from din.verdicts import GateEntry, Power, Verdict

Rule = Callable[[Interval, float, float], Verdict]
"""Turns an interval and two thresholds into a verdict."""


@dataclass(frozen=True)
class Finding:
    """The verdict of a gate, the observed value and its threshold, the number of rows judged, and a reason if any."""

    verdict: Verdict
    observed: Any
    threshold: Any
    interval: Interval | None = None
    rows: int | None = None
    reason: str | None = None
    power: Power | None = None


def decide(is_open: bool, observed: Any, threshold: Any, reason: str, rows: int | None = None) -> Finding:
    """Return an open finding, or a closed one with its reason."""
    if is_open:
        return Finding("open", observed, threshold, rows=rows)
    return Finding("closed", observed, threshold, rows=rows, reason=reason)


def overall(gates: list[GateEntry]) -> Verdict:
    """Return closed if any gate is closed or there are no gates, else borderline if any gate is, else open."""
    verdicts = {gate.verdict for gate in gates}
    if verdicts == {"open"}:
        return "open"
    return "borderline" if verdicts and verdicts <= {"open", "borderline"} else "closed"


def within(interval: Interval, low: float = -math.inf, high: float = math.inf) -> Verdict:
    """Return open if the interval is between the thresholds, borderline if it contains one, else closed."""
    verdicts: dict[str, Verdict] = {"within": "open", "across": "borderline"}
    return verdicts.get(Claim(interval, low, high).shows, "closed")


def not_outside(interval: Interval, low: float, high: float = math.inf) -> Verdict:
    """Return closed if the interval is entirely outside the thresholds or undefined, else open."""
    return "open" if Claim(interval, low, high).shows in ("within", "across") else "closed"


def from_estimate(
    rule: Rule, estimate: Estimate, confidence: float, low: float, high: float = math.inf, *, rows: int
) -> Finding:
    """Return the finding about a figure that must be between thresholds, with its power.

    It has a reason unless the gate is open and the whole interval is between the thresholds.

    Args:
        confidence: the confidence of each bound of the interval.
    """
    interval = estimate.interval(confidence)
    verdict = rule(interval, low, high)
    claim = Claim(interval, low, high)
    users = len(estimate.users)
    needed = None
    reason = None if verdict == "open" and claim.shows == "within" else str(claim)
    if verdict == "borderline":
        distance = min(abs(interval.point - low), abs(high - interval.point))
        needed = _users_to_decide(users, interval.upper - interval.point, distance)
        reason = f"undecided: {claim}"
        if needed:
            reason += f"; if the observed value is the true one, {needed:,} users decide it; today has {users:,}"
    elif verdict == "open" and reason:
        reason += "; this gate closes only if the whole interval lies outside"
    threshold = low if math.isinf(high) else [low, high]
    excludes = finite(resolves(estimate, 1 - confidence))
    power = Power(look=1, users=users, excludes=excludes, users_needed=needed)
    return Finding(verdict, interval.point, threshold, interval, rows, reason, power)


def _users_to_decide(users: int, width: float, distance: float) -> int | None:
    """Return the number of users that would exclude the threshold if the observed value is the true one.

    It is larger than today's number, and None if the observed value equals the threshold.
    """
    needed = users * (width / distance) ** 2 if distance else math.inf
    return max(math.floor(needed), users) + 1 if math.isfinite(needed) else None


def finite(value: Any) -> Any:
    """Return the value, or None for NaN and infinities, which JSON can't represent."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
