"""The conditions for a bundle to answer: it must be as good a server as the one before.

Whether it is as good a model was judged by the gates. They did not see the requests of this service, nor this machine.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from time import thread_time_ns

import numpy as np

from din.base.errors import InputError
from din.bundle.agreement import ATOL_PROBABILITY
from din.bundle.golden import Golden, difference
from din.bundle.scorer import Request, Scorer, Vector

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


@dataclass(frozen=True)
class _Turn:
    """A recorded request, the probabilities of the new bundle, and its CPU time as a multiple of the old one's."""

    request: Request
    probabilities: Vector
    ratio: float


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
    if old is None:
        return None
    try:
        turns = list(_turns(new, old, recorded))
        packed = new.score_many([turn.request for turn in turns])
    except InputError as error:
        answered = f"it does not answer a request that version {old.version[:12]} answered"
        return Objection(Cause.UNANSWERED, f"{answered}: {error}")
    return _graphs_differ(turns, packed) or _slower(turns)


def _turns(new: Scorer, old: Scorer, recorded: Sequence[Request]) -> Iterator[_Turn]:
    """Yield the recorded requests, repeated if they are few, with the new bundle's answers and times.

    Those that `old` does not answer are left out: the one before it may have answered them.

    Raises:
        InputError: the new bundle does not answer one of the others.
    """
    for request in list(recorded) * math.ceil(_TURNS / max(len(recorded), 1)):
        try:
            _, before = _timed(old, request)
        except InputError:
            continue
        probabilities, now = _timed(new, request)
        yield _Turn(request, probabilities, now / before)


def _graphs_differ(turns: Sequence[_Turn], packed: Sequence[Vector]) -> Objection | None:
    """Object if the two graphs give one request different answers."""
    pairs = zip(turns, packed, strict=True)
    far = max((np.abs(turn.probabilities - packed_answer).max(initial=0) for turn, packed_answer in pairs), default=0.0)
    if far > ATOL_PROBABILITY:
        expected = f"expected at most {ATOL_PROBABILITY:g}"
        return Objection(Cause.GRAPHS, f"its two graphs differ by {far:.2g} on one request; {expected}")
    return None


def _slower(turns: Sequence[_Turn]) -> Objection | None:
    ratio = median([turn.ratio for turn in turns] or [0.0])
    if ratio > MOST_TIMES_SLOWER:
        slower = f"a request takes {ratio:.1f} times as long as before; expected at most {MOST_TIMES_SLOWER:g}"
        return Objection(Cause.SLOWER, slower)
    return None


def _timed(scorer: Scorer, request: Request) -> tuple[Vector, int]:
    """Return the probabilities of a request, and its CPU time in nanoseconds."""
    time.sleep(_PAUSE)
    start = thread_time_ns()
    probabilities = scorer.score(request)
    return probabilities, thread_time_ns() - start
