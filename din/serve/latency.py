"""Time one request, from raw ids to probabilities, in turns with another request or with a fixed workload.

A request has many candidates and a history as long as the model reads. It runs in one thread, and its time is the CPU
time of that thread: a neighbour that takes the processor away adds nothing to it. A neighbour that uses the caches
slows both sides of a turn, so the result is the median of the turns' ratios. Timing takes about a second of CPU time.
The bundle provides side, behaviour and context fields; given in the request, each value would add a dictionary look-up.
"""

from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from time import thread_time_ns
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from din.registry.bundle import Verified
from din.serve.calibration import attention_products
from din.serve.scorer import Scorer

CANDIDATES = 500
NOMINAL_MS = 7.0
"""The time of the calibration workload on an idle core of the reference machine, an AMD EPYC of 2022 (Zen 4)."""
_WARM_UP = 3
_TURNS = 21


def relative_time(bundle: Verified, other: Verified | None) -> float:
    """Return the time of `Scorer.score` for one request, divided by that of `other`.

    Args:
        bundle: a bundle that was just verified.
        other: another one, or None for the calibration workload.
    """
    return median_ratio(request(bundle), calibration() if other is None else request(other))


def calibration() -> Callable[[], Any]:
    """Return the calibration workload: an activation unit's products for `CANDIDATES` candidates and 50 behaviours."""
    return attention_products(CANDIDATES * 50, (64, 80, 40, 1), threads=1)


def request(bundle: Verified) -> Callable[[], Any]:
    """Return a call that answers a request of items that the bundle knows; they repeat if they are too few."""
    scorer = Scorer.of(bundle, threads=1)
    known = pq.read_table(bundle.directory / "items.parquet", columns=["value"])["value"].to_pylist()
    items = cycle(known[1:] or [None])
    history = list(islice(items, scorer.max_history))
    return partial(scorer.score, {"history": history, "candidates": list(islice(items, CANDIDATES))})


def median_ratio(run: Callable[[], Any], yardstick: Callable[[], Any]) -> float:
    """Return the time of one call, divided by that of another."""
    ratios = [_cpu_ns(run) / _cpu_ns(yardstick) for _ in range(_WARM_UP + _TURNS)]
    return float(np.median(ratios[_WARM_UP:]))


def _cpu_ns(run: Callable[[], Any]) -> int:
    start = thread_time_ns()
    run()
    return thread_time_ns() - start
