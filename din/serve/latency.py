"""How long one request takes in a service: raw ids in, probabilities out, one thread.

The largest request that is usual: many candidates, a history as long as the model reads. Costs about a second. Values
of side, behaviour and context fields are left to the bundle; given, they would add a dictionary look-up each.
"""

from itertools import cycle, islice
from time import perf_counter_ns

import numpy as np
import pyarrow.parquet as pq

from din.registry.bundle import Verified
from din.serve.scorer import Scorer

CANDIDATES = 500
_WARM_UP, _REPEATS = 3, 21


def request_ms(bundle: Verified, candidates: int = CANDIDATES) -> float:
    """Median time of `Scorer.score` for one request, in ms.

    Args:
        bundle: verified just now.
        candidates: of the request; its history has the model's `max_history` behaviours. Items repeat where the bundle
            knows fewer.
    """
    scorer = Scorer.of(bundle, threads=1)
    known = pq.read_table(bundle.directory / "items.parquet", columns=["value"])["value"].to_pylist()
    items = cycle(known[1:] or [None])
    history, shown = (list(islice(items, count)) for count in (scorer.max_history, candidates))
    request = {"history": history, "candidates": shown}
    times = []
    for _ in range(_WARM_UP + _REPEATS):
        start = perf_counter_ns()
        scorer.score(request)
        times.append(perf_counter_ns() - start)
    return float(np.median(times[_WARM_UP:])) / 1e6
