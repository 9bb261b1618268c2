"""What an interval shows about the range that a gate permits, and the words for it.

    within      the whole interval lies inside     a loss of the margin is ruled out
    across      it contains a limit                it is possible
    beyond      the whole interval lies outside    it is certain
    undefined   there are no bounds                nothing

Verdicts and their sentences both follow from these four, so no sentence says more than its interval shows. The numbers
in a sentence show it too: they get more than four digits where a bound would otherwise look equal to a limit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from din.metrics.estimates import MIN_USERS, Interval

Shows = Literal["within", "across", "beyond", "undefined"]
_UNDEFINED = f"undefined: one class only, or fewer than {MIN_USERS} users tell about a class"
_DIGITS = range(4, 9)


@dataclass(frozen=True)
class Claim:
    """An interval beside the limits of a figure. A lower limit below 0 without an upper one is a permitted loss."""

    interval: Interval
    low: float
    high: float = math.inf

    @property
    def shows(self) -> Shows:
        """Where the interval lies."""
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
            return "undefined"
        form = ("+" if self.low < 0 else "") + self._form
        lower, upper = format(self.interval.lower, form), format(self.interval.upper, form)
        return f"{self.interval.point:{form}} [{lower}, {upper}]"

    def __str__(self) -> str:
        if self.shows == "undefined":
            return _UNDEFINED
        if self.low < 0 and math.isinf(self.high):
            return f"{self.figure}, so a loss of {self._loss}"
        return f"{self.figure}, {self._place}"

    @property
    def _loss(self) -> str:
        loss = f"{-self.low:{self._form}}"
        words = {"within": f"{loss} is ruled out", "across": f"{loss} is possible"}
        return words.get(self.shows, f"more than {loss} is certain")

    @property
    def _place(self) -> str:
        low = f"{self.low:{self._form}}"
        high = f"{self.high:{self._form}}"
        if self.shows == "within":
            return f"wholly above {low}" if math.isinf(self.high) else f"wholly between {low} and {high}"
        below = self.interval.lower <= self.low
        above = self.interval.upper >= self.high
        if self.shows == "across":
            return (
                f"which contains both {low} and {high}"
                if below and above
                else f"which contains {low if below else high}"
            )
        return f"wholly below {low}" if below else f"wholly above {high}"

    @property
    def _form(self) -> str:
        return form((self.interval.lower, self.interval.upper), (self.low, self.high))


def form(values: Sequence[float], limits: Sequence[float]) -> str:
    """Return the format with the fewest digits that shows on which side of each limit each value lies."""
    pairs = [(value, limit) for value in values for limit in limits if value != limit and math.isfinite(limit)]
    for digits in _DIGITS:
        if all(round(value, digits) != round(limit, digits) for value, limit in pairs):
            return f".{digits}f"
    return ""
