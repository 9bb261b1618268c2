"""The best trials against today's parameters: trained again with further seeds, and the winner without each key.

A search keeps the luckiest of many trainings, so the metric of its best trial is too high. Further seeds are nobody's
choice. Differences are paired: both sides have the same seeds and the same validation rows. Each training that has
ended is kept in a file, so that a search that was killed here goes on from them.
"""

import hashlib
import json
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from din.artifacts import atomic_path
from din.metrics.estimates import Estimate, mean
from din.tune.result import Candidate
from din.tune.space import Space, Values
from din.tune.training import FAILURES, run_and_judge

FEWEST_SEEDS = 2
SEEDS = 4
BEST = 3
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Final:
    """Trainings after the search of a study.

    Attributes:
        kept: the folder of the study's trainings that have ended.
        stop_at: seconds of the monotonic clock, which decide the number of seeds.
    """

    features: Path
    space: Space
    pool: Executor
    kept: Path
    stop_at: float

    def against_today(self, ranked: Sequence[tuple[int, Values]]) -> list[Candidate]:
        """Train today's parameters, the first of the result, and the best trials with further seeds.

        Args:
            ranked: numbers and changes of trials, the best first.
        """
        candidates: list[tuple[int | None, Values]] = [(None, {}), *ranked[:BEST]]
        by_seed: list[list[Estimate | None]] = []
        for number in range(1, SEEDS + 1):
            began = time.monotonic()
            by_seed.append(self._train([values for _, values in candidates], number))
            ended = time.monotonic()
            with_each_key = 2 * (ended - began)  # another seed, and a training for each changed key
            if number >= FEWEST_SEEDS and ended + with_each_key > self.stop_at:
                break
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
        waiting = [self.pool.submit(_or_none, self.kept, self.features, self.space, one, seed) for one in all_values]
        return [one.result() for one in waiting]


def _or_none(kept: Path, features: Path, space: Space, values: Values, seed: int) -> Estimate | None:
    name = hashlib.sha256(json.dumps([values, seed], sort_keys=True).encode()).hexdigest()[:16]
    path = kept / f"{name}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return Estimate(float(arrays["value"]), arrays["users"], arrays["influence"], arrays["tells"])
    began = time.monotonic()
    try:
        found = run_and_judge(features, space.settings(values, seed))
    except FAILURES as error:
        print(f"a training failed: {error}", file=sys.stderr)
        return None
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, value=found.value, users=found.users, influence=found.influence, tells=found.tells)
    print(f"seed {seed}: {found.value:.4f}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found


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
