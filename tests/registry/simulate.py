"""Play many histories of the registry, then plant bugs and count the histories until each is found: `make simulate`.

    PYTHONPATH=.:tests python tests/registry/simulate.py --histories 100000 --jobs 2
    PYTHONPATH=.:tests python tests/registry/simulate.py --seed 4711        # print the steps of one history

The command exits 1 if a history breaks a rule, or a bug is not found.
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from simulation.bugs import BUGS, Bug
from simulation.history import play

MOST = 1_000
"""The number of histories within which each bug must be found."""
_CHUNK = 500
_SHOWN = 3


def tally(start: int, histories: int) -> tuple[Counter[str], list[int]]:
    """Play histories from a seed on; count steps, faults and ends of commands, and list the seeds that broke a rule."""
    counts: Counter[str] = Counter()
    violating = []
    for seed in range(start, min(start + _CHUNK, histories)):
        world = play(seed)
        counts += world.counts
        if world.violation:
            violating.append(seed)
    return counts, violating


def find(bug: Bug) -> tuple[int, str] | None:
    """Plant a bug, and return the first seed whose history breaks a rule, with the rule; None if there is none."""
    with bug.planted():
        for seed in range(MOST):
            if violation := play(seed).violation:
                return seed, violation.partition(":")[0]
    return None


def _find(index: int) -> tuple[int, str] | None:
    return find(BUGS[index])


def _show(seed: int) -> None:
    world = play(seed)
    print(*world.lines(), f"seed {seed}: {world.violation or 'no rule was broken'}", sep="\n")


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, help="print the steps of this history only")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        _show(arguments.seed)
        return 0
    begin = time.monotonic()
    counts: Counter[str] = Counter()
    violating: list[int] = []
    starts = range(0, arguments.histories, _CHUNK)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for part, broken in pool.map(tally, starts, [arguments.histories] * len(starts)):
            counts += part
            violating += broken
        seconds = time.monotonic() - begin
        print(f"{arguments.histories:,} histories, {seconds:.0f} s on {arguments.jobs} processes")
        print(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
        print(f"histories that broke a rule: {len(violating)}")
        for seed in violating[:_SHOWN]:
            _show(seed)
        finds = list(pool.map(_find, range(len(BUGS))))
    print("\n| planted bug | found by seed | broken rule |\n|---|---|---|")
    for bug, found in zip(BUGS, finds, strict=True):
        print(f"| {bug.name} | {found[0]} | {found[1]} |" if found else f"| {bug.name} | not found | |")
    return int(bool(violating) or None in finds)


if __name__ == "__main__":
    sys.exit(main())
