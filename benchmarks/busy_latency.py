"""Count how often other work on the machine would close the gates on latency, by wall time and by CPU time.

    python -m benchmarks.busy_latency BUNDLE EQUAL SLOW --repeats 200

BUNDLE is the candidate, EQUAL a bundle of the same shape, and SLOW one that the gate has to catch. Four processes use
the processors and the memory throughout. SLOW is measured a tenth as often as the others.

wall      the median wall time of a request, best of up to five tries; a ratio is that of two medians
in turns  `din.serve.latency`, as the gate measures
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from din.registry.bundle import verify_bundle
from din.serve import latency

TRIES = 5
_BUSY = """
import numpy as np
matrix, large = np.ones((256, 256), np.float32), np.ones(8_000_000)
while True:
    for _ in range(200):
        matrix @ matrix
    large += 1
"""


@dataclass(frozen=True)
class Measured:
    """One measurement: the median wall time of the request and of the yardstick in ms, and the ratio in turns."""

    wall_ms: float
    yardstick_wall_ms: float
    ratio: float


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep processors and memory busy with this number of processes."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(request: Callable[[], Any], yardstick: Callable[[], Any]) -> Measured:
    """Measure once by both rules, from the same calls."""
    walls: dict[str, list[float]] = {"request": [], "yardstick": []}

    def timed(name: str, run: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> None:
            start = perf_counter()
            run()
            walls[name].append(1e3 * (perf_counter() - start))

        return call

    ratio = latency.median_ratio(timed("request", request), timed("yardstick", yardstick))
    return Measured(float(np.median(walls["request"])), float(np.median(walls["yardstick"])), ratio)


def print_figures(name: str, figures: list[float], limit: float) -> None:
    """Print the share of figures above a limit, with the smallest, the median and the largest."""
    closed = np.mean(np.array(figures) > limit)
    print(f"{name:40}{closed:8.1%}{min(figures):9.2f}{np.median(figures):9.2f}{max(figures):9.2f}", flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bundle", "equal", "slow"):
        parser.add_argument(name, type=lambda path: latency.request(verify_bundle(Path(path))))
    parser.add_argument("--repeats", type=positive, default=200)
    parser.add_argument("--max-ms", type=float, default=100)
    parser.add_argument("--max-ratio", type=float, default=1.5)
    given = parser.parse_args()
    workload = latency.calibration()
    with busy(4):
        alone = [measure(given.bundle, workload) for _ in range(given.repeats)]
        equal = [measure(given.equal, given.bundle) for _ in range(given.repeats)]
        slow = [measure(given.slow, given.bundle) for _ in range(max(1, given.repeats // 10))]
    print(f"{'':40}{'closed':>8}{'smallest':>9}{'median':>9}{'largest':>9}")
    best = [min(one.wall_ms for one in alone[start : start + TRIES]) for start in range(given.repeats)]
    print_figures("ms, wall, best of five", best, given.max_ms)
    print_figures("ms, in turns", [latency.NOMINAL_MS * one.ratio for one in alone], given.max_ms)
    for name, pairs in (("equal", equal), ("slow", slow)):
        print_figures(f"ratio of {name}, wall", [one.wall_ms / one.yardstick_wall_ms for one in pairs], given.max_ratio)
        print_figures(f"ratio of {name}, in turns", [one.ratio for one in pairs], given.max_ratio)


if __name__ == "__main__":
    main()
