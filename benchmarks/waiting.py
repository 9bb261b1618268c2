"""Measure what the gate gains by pooling undecided comparisons: `python -m benchmarks.waiting`, two minutes.

Every day another candidate is compared with the same champion, and each loses the same: nothing, or exactly the margin
of `gate.margin`. `judge` is the gate's own test; only the rows that it is given differ:

    pooled    today's, with those of the earlier undecided days, as the gate does
    spending  today's alone, at the same levels, which shrink with each comparison
    fresh     today's alone, at the level of a first comparison each day

The noise of a day is the standard error of the difference, in margins. A log of few users has 0.5 and more.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from din.base.printing import print_table
from din.metrics.estimates import Estimate
from din.metrics.noninferiority import ComparisonResult, judge

USERS = 300
DAYS = 40
LEVEL = 0.05
NOISES = (0.3, 0.5, 0.7, 1.0, 1.5)
RULES: dict[str, Callable[[list[Estimate]], ComparisonResult]] = {
    "pooled": lambda days: judge(days, 1, len(days), LEVEL),
    "spending": lambda days: judge(days[-1:], 1, len(days), LEVEL),
    "fresh": lambda days: judge(days[-1:], 1, 1, LEVEL),
}


def days(random: np.random.Generator, loss: float, noise: float) -> Iterator[Estimate]:
    """Yield the difference candidate − champion of each day, in margins, each day from users of its own."""
    for day in range(DAYS):
        influence = random.normal(0, 1, USERS)
        influence -= influence.mean()
        influence *= noise / np.sqrt((influence**2).sum())
        users = day * USERS + np.arange(USERS)
        yield Estimate(random.normal(-loss, noise), users, influence, np.ones((2, USERS), bool))


def waited(rule: str, differences: Iterator[Estimate]) -> float:
    """Return the day on which a rule lets a candidate pass; infinity if none passes in time."""
    seen: list[Estimate] = []
    for day, difference in enumerate(differences, 1):
        seen.append(difference)
        if RULES[rule](seen).verdict == "open":
            return day
    return float("inf")


def main() -> None:
    """Print how long equal candidates wait, and how many harmful ones pass."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=300, help="champions per row (default: 300)")
    draws = parser.parse_args().draws
    rows = []
    for noise in NOISES:
        for rule in RULES:
            equal, harmful = (
                np.array([waited(rule, days(np.random.default_rng(seed), loss, noise)) for seed in range(draws)])
                for loss in (0, 1)
            )
            rows.append([noise, rule, np.median(equal), np.mean(equal <= 7), np.mean(np.isfinite(harmful))])
    columns = ["noise", "rule", "median days", "equal, in a week", f"lose the margin, in {DAYS} days"]
    print_table("Candidates that pass", columns, rows)


if __name__ == "__main__":
    main()
