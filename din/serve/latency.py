"""Time one request as in a service: from raw ids to probabilities, in one thread.

The request has many candidates and a history as long as the model reads. Timing takes about a second. The bundle
provides side, behaviour and context fields; given in the request, each value would add a dictionary look-up.
"""

from itertools import cycle, islice
from time import perf_counter_ns

import numpy as np
import pyarrow.parquet as pq

from din.registry.bundle import Verified
from din.serve.scorer import Scorer

CANDIDATES = 500
_WARM_UP = 3
_REPEATS = 21


def request_ms(bundle: Verified, candidates: int = CANDIDATES) -> float:
    """Return the median time of `Scorer.score` for one request, in ms.

    Args:
        bundle: a bundle that was just verified.
        candidates: the number of candidates of the request, whose history has the model's `max_history` behaviours.
            Items repeat if the bundle knows fewer.
    """
    scorer = Scorer.of(bundle, threads=1)
    known = pq.read_table(bundle.directory / "items.parquet", columns=["value"])["value"].to_pylist()
    items = cycle(known[1:] or [None])
    history = list(islice(items, scorer.max_history))
    shown = list(islice(items, candidates))
    request = {"history": history, "candidates": shown}
    times = []
    for _ in range(_WARM_UP + _REPEATS):
        start = perf_counter_ns()
        scorer.score(request)
        times.append(perf_counter_ns() - start)
    return float(np.median(times[_WARM_UP:])) / 1e6
