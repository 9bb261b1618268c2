"""Gates and their findings, and the rules that turn an interval into a verdict.

A verdict is open, closed, or borderline if the interval contains the threshold. An undefined figure closes a gate: NaN
compares false with everything, so each rule below demands proof for "open" and "borderline", never for "closed".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from din.document_types import GateEntry, Verdict
from din.errors import InputError, Unavailable
from din.metrics.estimates import Interval


@dataclass(frozen=True)
class Finding:
    """The verdict of a gate, with the observed value, its threshold, and the reason if the gate is not open."""

    verdict: Verdict
    observed: Any
    threshold: Any
    interval: Interval | None = None
    rows: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Gate:
    """A condition for promotion that is still to be judged.

    Attributes:
        name: its name in gate.json.
        look: a command that shows more.
        judge: reads the evidence and returns a finding.
    """

    name: str
    look: str
    judge: Callable[[], Finding]

    def entry(self) -> GateEntry:
        """Judge, and return the entry of gate.json.

        A missing or malformed report closes the gate with a reason and never ends in a traceback. Only a registry that
        doesn't answer ends the command without a verdict, so that it can be run again.

        Raises:
            Unavailable: the registry doesn't answer.
        """
        try:
            finding = self.judge()
        except Unavailable:
            raise
        except Exception as error:  # a gate that can't be judged is closed
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


def from_interval(verdict: Verdict, interval: Interval, threshold: Any, rows: int) -> Finding:
    """Return the finding about a figure and its interval, with the reason if it is not open."""
    reasons = {
        "open": None,
        "borderline": "the interval contains the threshold: there are too few rows, or the difference is too small",
        "closed": "the interval lies outside the threshold",
    }
    undefined = math.isnan(interval.lower) or math.isnan(interval.upper)
    reason = "undefined: too few users, or one class only" if undefined else reasons[verdict]
    return Finding(verdict, interval.point, threshold, interval, rows, reason)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
