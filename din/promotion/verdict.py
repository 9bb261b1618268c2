"""Gates and their findings, and the rules that turn an interval into a verdict.

A verdict is open, closed, or borderline if the interval contains the threshold. An undefined figure closes a gate: NaN
compares false with everything, so each rule below demands proof for "open" and "borderline", never for "closed".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from din.document_types import GateEntry, Power, Verdict
from din.errors import InputError, Unavailable
from din.metrics.estimates import MIN_USERS, Estimate, Interval
from din.metrics.noninferiority import resolves

Rule = Callable[[Interval, float, float], Verdict]
"""Turns an interval and two thresholds into a verdict."""


@dataclass(frozen=True)
class Finding:
    """The verdict of a gate, with the observed value, its threshold, and the reason if the gate is not open."""

    verdict: Verdict
    observed: Any
    threshold: Any
    interval: Interval | None = None
    rows: int | None = None
    reason: str | None = None
    power: Power | None = None


@dataclass(frozen=True)
class Gate:
    """A condition for promotion that is still to be judged.

    Attributes:
        name: its name in gate.json.
        look: a command that shows more.
        judge: reads the evidence and returns a finding.
        compares: whether it compares the candidate with an earlier champion.
    """

    name: str
    look: str
    judge: Callable[[], Finding]
    compares: bool = False

    def entry(self) -> GateEntry:
        """Judge, and return the entry of gate.json.

        A missing or malformed report closes the gate with a reason and never ends in a traceback. Only a registry that
        doesn't answer ends the command without a verdict, so that it can be run again.

        Raises:
            Unavailable: the registry doesn't answer.
        """
        evaluated = True
        try:
            finding = self.judge()
        except Unavailable:
            raise
        except Exception as error:  # a gate that can't be judged is closed
            evaluated = False
            known = isinstance(error, InputError | OSError)
            cause = str(error) if known else f"malformed: {type(error).__name__} {error}"
            finding = Finding("closed", None, None, reason=f"can't be evaluated: {cause}")
        bounds = (finding.interval.lower, finding.interval.upper) if finding.interval else None
        return {
            "name": self.name,
            "observed": finite(finding.observed),
            "threshold": finding.threshold,
            "interval": (finite(bounds[0]), finite(bounds[1])) if bounds else None,
            "verdict": finding.verdict,
            "look": self.look,
            "rows": finding.rows,
            "power": finding.power,
            "reason": finding.reason,
            "evaluated": evaluated,
            "compares": self.compares,
        }


def overall(gates: list[GateEntry]) -> Verdict:
    """Return closed if any gate is closed or there are none, else borderline if any gate is, else open."""
    verdicts = {gate["verdict"] for gate in gates}
    if verdicts == {"open"}:
        return "open"
    return "borderline" if verdicts and verdicts <= {"open", "borderline"} else "closed"


def within(interval: Interval, low: float = -math.inf, high: float = math.inf) -> Verdict:
    """Return open if the interval lies between the thresholds, borderline if it contains one, else closed.

    An undefined interval is closed.
    """
    if low < interval.lower and interval.upper < high:
        return "open"
    return "borderline" if interval.lower <= high and interval.upper >= low else "closed"


def not_outside(interval: Interval, low: float, high: float = math.inf) -> Verdict:
    """Return closed if the interval lies wholly below or above the thresholds or is undefined, else open."""
    return "open" if interval.upper >= low and interval.lower <= high else "closed"


def from_estimate(
    rule: Rule, estimate: Estimate, confidence: float, low: float, high: float = math.inf, *, rows: int
) -> Finding:
    """Return the finding about a figure that must lie between thresholds, with its power and, if not open, a reason.

    Args:
        rule: turns interval and thresholds into a verdict.
        estimate: the figure.
        confidence: of each bound of the interval.
        low, high: the thresholds.
        rows: the number of rows that the figure is about.
    """
    interval = estimate.interval(confidence)
    verdict = rule(interval, low, high)
    threshold = low if math.isinf(high) else [low, high]
    users = len(estimate.users)
    distance = min(abs(interval.point - low), abs(high - interval.point))
    needed = _users_to_decide(users, interval.upper - interval.point, distance) if verdict == "borderline" else None
    excludes = finite(resolves(estimate, 1 - confidence))
    power: Power = {"look": 1, "users": users, "excludes": excludes, "users_needed": needed}
    reasons = {
        "open": None,
        "borderline": f"undecided: the interval contains the threshold; {_would_decide(needed, users)}",
        "closed": "the interval lies outside the threshold",
    }
    undefined = math.isnan(interval.lower) or math.isnan(interval.upper)
    few = f"undefined: one class only, or fewer than {MIN_USERS} of the {users} test users tell about a class"
    return Finding(verdict, interval.point, threshold, interval, rows, few if undefined else reasons[verdict], power)


def _users_to_decide(users: int, width: float, distance: float) -> int | None:
    """Return the number of users with which the interval would just exclude the threshold, if the point is true."""
    needed = users * (width / distance) ** 2 if distance else math.inf
    return math.ceil(needed) if math.isfinite(needed) else None


def _would_decide(needed: int | None, users: int) -> str:
    if needed is None:
        return "the observed value equals the threshold, so no number of users decides"
    return f"if the observed value is the true one, {needed:,} users decide it; today has {users:,}"


def finite(value: Any) -> Any:
    """Return the value, or None for a number that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
