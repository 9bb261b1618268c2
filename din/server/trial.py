"""The conditions for a bundle to answer: it must be as good a server as the one before.

Whether it is as good a model was judged by the gates. They did not see the requests of this service, nor this machine.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import thread_time_ns

import numpy as np

from din.errors import InputError
from din.serve.agreement import ATOL_PROBABILITY
from din.serve.golden import Golden, difference
from din.serve.scorer import Request, Scorer, Vector

MOST_TIMES_SLOWER = 2.0
"""How many times as long a request may take; `gate.max_latency_ratio` is the finer limit, on one standard request."""
_TURNS = 16
"""The least number of comparisons of two times."""
_PAUSE = 0.001
"""The seconds between two requests of a trial. Without them, those who wait for an answer would notice the trial."""


class Cause(StrEnum):
    """Why a bundle is refused, for figures."""

    NOT_OPENED = "not opened"
    GOLDEN = "golden requests"
    UNANSWERED = "unanswered"
    GRAPHS = "graphs differ"
    SLOWER = "slower"
    EARLIER = "refused before"


@dataclass(frozen=True)
class Objection:
    """Why a bundle must not answer: the cause, and a sentence with the figures."""

    cause: Cause
    reason: str


def objection(new: Scorer, golden: Golden, old: Scorer | None, recorded: Sequence[Request]) -> Objection | None:
    """Return why a bundle must not answer, or None. It is warm afterwards.

    Args:
        new: the bundle.
        golden: its golden requests.
        old: the one that answers now. None: no comparison.
        recorded: requests that `old`, or the one before it, has answered.
    """
    if problem := difference(new, golden, _PAUSE):
        return Objection(Cause.GOLDEN, problem)
    if old:
        recorded = [request for request in recorded if can_answer(old, request)]
    return _unanswered_or_torn(new, old, recorded) or (_slower(new, old, recorded) if old and recorded else None)


def can_answer(scorer: Scorer, request: Request) -> bool:
    """Return whether a bundle answers a request. The one that answers now may not: the one before may have done so."""
    try:
        _timed(scorer, request)
    except InputError:
        return False
    return True


def _unanswered_or_torn(new: Scorer, old: Scorer | None, recorded: Sequence[Request]) -> Objection | None:
    """Object to a request without an answer, or with two different ones, each from one graph."""
    try:
        packed = new.score_many(recorded)  # first, because its errors number the requests
        alone = [_timed(new, request)[0] for request in recorded]
    except InputError as error:
        answered = f"it does not answer a request that version {old.version[:12]} answered: " if old else ""
        return Objection(Cause.UNANSWERED, f"{answered}{error}")
    far = max((np.abs(one - other).max(initial=0) for one, other in zip(alone, packed, strict=True)), default=0.0)
    if far > ATOL_PROBABILITY:
        expected = f"expected at most {ATOL_PROBABILITY:g}"
        return Objection(Cause.GRAPHS, f"its two graphs differ by {far:.2g} on one request; {expected}")
    return None


def _slower(new: Scorer, old: Scorer, recorded: Sequence[Request]) -> Objection | None:
    turns = math.ceil(_TURNS / len(recorded))
    ratios = [_timed(new, request)[1] / _timed(old, request)[1] for request in recorded for _ in range(turns)]
    ratio = float(np.median(ratios))
    if ratio > MOST_TIMES_SLOWER:
        slower = f"a request takes {ratio:.1f} times as long as before; expected at most {MOST_TIMES_SLOWER:g}"
        return Objection(Cause.SLOWER, slower)
    return None


def _timed(scorer: Scorer, request: Request) -> tuple[Vector, int]:
    """Return the probabilities of a request, and its CPU time in nanoseconds."""
    time.sleep(_PAUSE)
    start = thread_time_ns()
    found = scorer.score(request)
    return found, thread_time_ns() - start
