"""Play many histories of the registry, then plant bugs and count the histories until each is found: `make simulate`.

    PYTHONPATH=tests python tests/registry/simulate.py --histories 100000 --jobs 2
    PYTHONPATH=tests python tests/registry/simulate.py --seed 4711        # print the steps of one history

The command exits 1 if a history breaks a rule, or a bug is not found.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from simulation.bugs import BUGS, Bug
from simulation.history import play

MOST = 1_000
"""The number of histories within which each bug must be found."""
_CHUNK = 500
_SHOWN = 3


@dataclass
class Tally:
    """The sums over some histories."""

    histories: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    violating: list[int] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add the sums over other histories."""
        self.histories += other.histories
        self.steps += other.steps
        self.faults += other.faults
        self.outcomes += other.outcomes
        self.violating += other.violating


@dataclass(frozen=True)
class Find:
    """The first history that found a bug, and the rule that was broken there; None if none did."""

    name: str
    seed: int | None
    rule: str = ""


def tally(seeds: range) -> Tally:
    """Play the histories of some seeds."""
    total = Tally()
    for seed in seeds:
        history = play(seed)
        violating = [seed] if history.violation else []
        total.add(Tally(1, history.steps, history.faults, history.outcomes, violating))
    return total


def find(bug: Bug, most: int = MOST) -> Find:
    """Plant a bug, and play histories until one breaks a rule."""
    with bug.planted():
        for seed in range(most):
            if violation := play(seed).violation:
                return Find(bug.name, seed, violation.partition(":")[0])
    return Find(bug.name, None)


def _find(index: int) -> Find:
    return find(BUGS[index])


def _chunks(histories: int) -> Iterator[range]:
    for start in range(0, histories, _CHUNK):
        yield range(start, min(start + _CHUNK, histories))


def _show(seed: int) -> None:
    history = play(seed)
    print(*history.lines(), f"seed {seed}: {history.violation or 'no rule was broken'}", sep="\n")


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
    start = time.monotonic()
    total = Tally()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for part in pool.map(tally, _chunks(arguments.histories)):
            total.add(part)
        seconds = time.monotonic() - start
        print(f"{total.histories:,} histories, {total.steps:,} steps, {seconds:.0f} s on {arguments.jobs} processes")
        print("faults:  ", ", ".join(f"{name} {count:,}" for name, count in sorted(total.faults.items())))
        print("commands:", ", ".join(f"{name} {count:,}" for name, count in sorted(total.outcomes.items())))
        print(f"histories that broke a rule: {len(total.violating)}")
        for seed in total.violating[:_SHOWN]:
            _show(seed)
        finds = list(pool.map(_find, range(len(BUGS))))
    print("\n| planted bug | found by seed | broken rule |\n|---|---|---|")
    for one in finds:
        print(f"| {one.name} | {'not found' if one.seed is None else one.seed} | {one.rule} |")
    return int(bool(total.violating) or any(one.seed is None for one in finds))


if __name__ == "__main__":
    sys.exit(main())
