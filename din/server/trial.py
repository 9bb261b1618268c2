"""The conditions for a bundle to answer: it must be as good a server as the one before.

Whether it is as good a model was judged by the gates. They did not see the requests of this service.
"""

from collections.abc import Callable, Sequence
from time import thread_time_ns
from typing import Any

import numpy as np

from din.errors import InputError
from din.serve.agreement import ATOL_PROBABILITY
from din.serve.scorer import Request, Scorer

MOST_TIMES_SLOWER = 2.0
"""How many times as long a request may take; `gate.max_latency_ratio` is the finer limit, on one standard request."""
_TURNS = 5
_CANDIDATES = 100


def objection(new: Scorer, old: Scorer | None, recorded: Sequence[Request]) -> str | None:
    """Return why a bundle must not answer, or None. It is warm afterwards.

    Args:
        new: the bundle.
        old: the one that answers now. None: no comparison.
        recorded: requests that `old` has answered. If there are none, one of items that `new` knows takes their place.
    """
    requests = recorded or [new.example(min(_CANDIDATES, new.limits.candidates))]
    for request in requests:
        try:
            alone = new.score(request)
            packed = new.score_many([request])[0]
        except InputError as error:
            answered = f"it does not answer a request that version {old.version[:12]} answered: " if old else ""
            return f"{answered}{error}"
        if not np.allclose(alone, packed, rtol=0, atol=ATOL_PROBABILITY):
            far = np.abs(alone - packed).max()
            return f"its two graphs differ by {far:.2g} on one request; expected at most {ATOL_PROBABILITY:g}"
    if old is None or not recorded:
        return None
    times = float(np.median([_times_slower(new, old, request) for request in requests]))
    if times > MOST_TIMES_SLOWER:
        return f"a request takes {times:.1f} times as long as before; expected at most {MOST_TIMES_SLOWER:g}"
    return None


def _times_slower(new: Scorer, old: Scorer, request: Request) -> float:
    """Return the CPU time of a request divided by that of the bundle before, as the median of some turns."""
    return float(np.median([_time(new.score, request) / _time(old.score, request) for _ in range(_TURNS)]))


def _time(score: Callable[[Request], Any], request: Request) -> int:
    start = thread_time_ns()
    score(request)
    return thread_time_ns() - start
