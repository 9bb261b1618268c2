"""What a gate says, and how an interval becomes a verdict.

Three answers: open, closed, and borderline where the interval contains the threshold. An undefined figure is closed:
NaN compares false with everything, so every rule below asks for proof of "open" and of "borderline", never of "closed".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from din.errors import InputError, Unavailable
from din.forms import GateEntry, Verdict
from din.metrics import Interval


@dataclass(frozen=True)
class Finding:
    """One gate's answer, without its name: what was observed, against what, and why it is not open."""

    verdict: Verdict
    observed: Any
    threshold: Any
    interval: Interval | None = None
    rows: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Gate:
    """A condition for promotion, not judged yet.

    Attributes:
        name: its name in gate.json.
        look: a command that shows more.
        judge: reads the evidence and answers.
    """

    name: str
    look: str
    judge: Callable[[], Finding]

    def entry(self) -> GateEntry:
        """Judge, and return the entry of gate.json.

        A report that is missing or malformed closes the gate, with the reason; it is never a traceback. Only a registry
        that doesn't answer is no verdict: it ends the command, to be run again.

        Raises:
            Unavailable: the registry doesn't answer.
        """
        try:
            finding = self.judge()
        except Unavailable:
            raise
        except Exception as error:  # whatever keeps it from being judged, the gate is closed
            known = isinstance(error, InputError | OSError)
            cause = str(error) if known else f"malformed: {type(error).__name__} {error}"
            finding = Finding("closed", None, None, reason=f"can't be evaluated: {cause}")
        bounds = (finding.interval.lower, finding.interval.upper) if finding.interval else None
        return {
            "name": self.name,
            "observed": _finite(finding.observed),
            "threshold": finding.threshold,
            "interval": (_finite(bounds[0]), _finite(bounds[1])) if bounds else None,
            "verdict": finding.verdict,
            "look": self.look,
            "rows": finding.rows,
            "reason": finding.reason,
        }


def overall(gates: list[GateEntry]) -> Verdict:
    """Closed if any is closed (or there is none), else borderline if any is, else open."""
    verdicts = {gate["verdict"] for gate in gates}
    if verdicts == {"open"}:
        return "open"
    return "borderline" if verdicts and verdicts <= {"open", "borderline"} else "closed"


def within(interval: Interval, low: float = -math.inf, high: float = math.inf) -> Verdict:
    """Open: the interval lies between the thresholds. Borderline: it contains one. Closed: outside, or undefined."""
    if low < interval.lower and interval.upper < high:
        return "open"
    return "borderline" if interval.lower <= high and interval.upper >= low else "closed"


def not_outside(interval: Interval, low: float, high: float = math.inf) -> Verdict:
    """Open unless the interval lies wholly below or above the thresholds, or is undefined."""
    return "open" if interval.upper >= low and interval.lower <= high else "closed"


def from_interval(verdict: Verdict, interval: Interval, threshold: Any, rows: int) -> Finding:
    """A finding about a figure with its interval, the reason where it is not open."""
    reasons = {
        "open": None,
        "borderline": "the interval contains the threshold: too few rows to tell, or too close",
        "closed": "the interval lies outside the threshold",
    }
    undefined = math.isnan(interval.lower) or math.isnan(interval.upper)
    reason = "undefined: too few users, or one class only" if undefined else reasons[verdict]
    return Finding(verdict, interval.point, threshold, interval, rows, reason)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
