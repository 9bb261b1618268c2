"""The position of a confidence interval relative to the permitted range of a gate, and the words for it.

    within      the whole interval is inside       a loss of the margin is ruled out
    across      the interval contains a limit      the loss is possible
    beyond      the whole interval is outside      the loss is certain
    undefined   there are no bounds                nothing

Verdicts and reasons both follow from these four cases, so no reason claims more than its interval shows. Numbers in a
reason have more than four digits if a bound would otherwise look equal to a limit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from din.metrics.estimates import MIN_USERS, Interval

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


def form(values: Sequence[float], limits: Sequence[float]) -> str:
    """Return the number format with the fewest digits in which every value looks different from every limit."""
    pairs = [(value, limit) for value in values for limit in limits if value != limit and math.isfinite(limit)]
    for digits in _DIGITS:
        if all(round(value, digits) != round(limit, digits) for value, limit in pairs):
            return f".{digits}f"
    return ""
