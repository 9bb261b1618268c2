"""The findings of gates: what a confidence interval shows about a permitted range, and the verdict that follows.

    within      the whole interval is inside       a loss of the margin is ruled out
    across      the interval contains a limit      the loss is possible
    beyond      the whole interval is outside      the loss is certain
    undefined   there are no bounds                nothing

Verdicts and reasons both follow from these four cases, so no reason claims more than its interval shows. Some gates
demand proof that a figure is good (`within`), and others close only on proof that it is bad (`not_outside`). An
undefined figure closes both. Numbers in a reason have more than four digits if a bound would otherwise look equal to a
limit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from din.contracts.verdicts import GateEntry, Power, Verdict
from din.metrics.estimates import MIN_USERS, Estimate, Interval
from din.metrics.noninferiority import excludable_loss

Shows = Literal["within", "across", "beyond", "undefined"]
_UNDEFINED = f"undefined: one class only, or fewer than {MIN_USERS} users tell about a class"
_LOSS = {
    "within": "a loss of {} is ruled out",
    "across": "a loss of {} is possible",
    "beyond": "a loss of more than {} is certain",
}
_SHARE = {"within": "all", "across": "not all", "beyond": "none"}
_DIGITS = range(4, 9)


@dataclass(frozen=True)
class Claim:
    """An interval and the limits of its figure. A negative lower limit without an upper one is a permitted loss."""

    interval: Interval
    low: float
    high: float = math.inf

    @property
    def shows(self) -> Shows:
        """The position of the interval relative to the limits."""
        lower = self.interval.lower
        upper = self.interval.upper
        if math.isnan(lower) or math.isnan(upper):
            return "undefined"
        if self.low < lower and upper < self.high:
            return "within"
        return "across" if lower <= self.high and upper >= self.low else "beyond"

    @property
    def figure(self) -> str:
        """The figure with its bounds."""
        if self.shows == "undefined":
            return _UNDEFINED
        signed = ("+" if self.low < 0 else "") + self._form
        return f"{self.interval.point:{signed}} [{self.interval.lower:{signed}}, {self.interval.upper:{signed}}]"

    def __str__(self) -> str:
        if self.shows == "undefined":
            return _UNDEFINED
        if self.low < 0 and math.isinf(self.high):
            return f"{self.figure}, so {_LOSS[self.shows].format(f'{-self.low:{self._form}}')}"
        permitted = f"above {self.low:{self._form}}"
        if math.isfinite(self.high):
            permitted = f"within {self.low:{self._form}} to {self.high:{self._form}}"
        return f"{self.figure}, {_SHARE[self.shows]} of it {permitted}"

    @property
    def _form(self) -> str:
        return form((self.interval.lower, self.interval.upper), (self.low, self.high))


Rule = Callable[[Claim], Verdict]


def form(values: Sequence[float], limits: Sequence[float]) -> str:
    """Return the number format with the fewest digits in which every value looks different from every limit."""
    pairs = [(value, limit) for value in values for limit in limits if value != limit and math.isfinite(limit)]
    for digits in _DIGITS:
        if all(round(value, digits) != round(limit, digits) for value, limit in pairs):
            return f".{digits}f"
    return ""


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


def within(claim: Claim) -> Verdict:
    """Return open if the interval is between the limits, borderline if it contains one, else closed."""
    verdicts: dict[str, Verdict] = {"within": "open", "across": "borderline"}
    return verdicts.get(claim.shows, "closed")


def not_outside(claim: Claim) -> Verdict:
    """Return closed if the interval is entirely outside the limits or undefined, else open."""
    return "open" if claim.shows in ("within", "across") else "closed"


def from_estimate(
    rule: Rule, estimate: Estimate, confidence: float, low: float, high: float = math.inf, *, rows: int
) -> Finding:
    """Return the finding about a figure that must be between thresholds, with its power.

    It has a reason unless the gate is open and the whole interval is between the thresholds.

    Args:
        confidence: the confidence of each bound of the interval.
    """
    interval = estimate.interval(confidence)
    claim = Claim(interval, low, high)
    verdict = rule(claim)
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
    excludes = finite(excludable_loss(estimate, 1 - confidence))
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
