"""The best trials against today's parameters: trained again with further seeds, and the winner without each key.

A search keeps the luckiest of many trainings, so the metric of its best trial is too high. Further seeds are nobody's
choice. Differences are paired: both sides have the same seeds and the same validation rows.
"""

import math
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from din.metrics.estimates import Estimate, mean
from din.tune.result import Candidate
from din.tune.space import Space, Values
from din.tune.training import FAILURES, run_and_judge

SEEDS = 4
BEST = 3
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Final:
    """Trainings after the search of a study."""

    features: Path
    space: Space
    pool: Executor

    def against_today(self, ranked: Sequence[tuple[int, Values]]) -> list[Candidate]:
        """Train today's parameters, the first of the result, and the best trials with further seeds.

        Args:
            ranked: numbers and changes of trials, the best first.
        """
        candidates: list[tuple[int | None, Values]] = [(None, {}), *ranked[:BEST]]
        by_seed = [self._train([values for _, values in candidates], number) for number in range(1, SEEDS + 1)]
        columns = list(zip(*by_seed, strict=True))
        return [
            _judged(trial, changes, trained, columns[0])
            for (trial, changes), trained in zip(candidates, columns, strict=True)
        ]

    def without_each(self, changes: Values) -> dict[str, float | None]:
        """Return the metric, with the first of the further seeds, if one of the keys has today's value again."""
        others = [{key: value for key, value in changes.items() if key != left_out} for left_out in changes]
        trained = self._train(others, 1)
        return {key: one and one.value for key, one in zip(changes, trained, strict=True)}

    def _train(self, all_values: Sequence[Values], number: int) -> list[Estimate | None]:
        seed = self.space.params.train.learning.seed + number
        print(f"seed {seed}: {len(all_values)} trainings", file=sys.stderr)
        waiting = [self.pool.submit(_or_none, self.features, self.space, one, seed) for one in all_values]
        return [one.result() for one in waiting]


def _or_none(features: Path, space: Space, values: Values, seed: int) -> Estimate | None:
    try:
        return run_and_judge(features, space.settings(values, seed))
    except FAILURES as error:
        print(f"a training failed: {error}", file=sys.stderr)
        return None


def _judged(
    trial: int | None, changes: Values, trained: Sequence[Estimate | None], today: Sequence[Estimate | None]
) -> Candidate:
    """Return a candidate, given its trainings and those of today's parameters with the same seeds."""
    metrics = [one.value if one and math.isfinite(one.value) else None for one in trained]
    known = [one for one in metrics if one is not None]
    found = Candidate(trial, changes, metrics, fmean(known) if len(known) == len(metrics) else None)
    differences = [ours - theirs for ours, theirs in zip(trained, today, strict=True) if ours and theirs]
    if trial is None or not differences:
        return found
    gain = mean(differences).interval(_CONFIDENCE)
    if math.isnan(gain.lower):  # too few users tell
        return replace(found, gain=gain.point)
    return replace(found, gain=gain.point, lower=gain.lower, upper=gain.upper)
