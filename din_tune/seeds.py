"""The best trials against today's parameters: trained again with further seeds, and the winner without each key.

A search keeps the luckiest of many trainings, so the metric of its best trial is too high. Further seeds are nobody's
choice. Differences are paired: both sides have the same seeds and the same validation rows. Each training that has
ended is kept in a file, so a call that is killed here loses only those that were running.
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
from zipfile import BadZipFile

import numpy as np
from scipy.special import stdtrit

from din.base.artifacts import atomic_path
from din.base.workspace import Workspace
from din.metrics.estimates import Estimate, mean
from din.stages import code
from din_tune.result import Finalist, in_a_line
from din_tune.space import Space, Values
from din_tune.training import FAILURES, run_and_judge

FEWEST_SEEDS = 2
MOST_SEEDS = 4
BEST = 3
_CONFIDENCE = 1 - 0.05 / BEST
"""The confidence of each bound of a gain. The winner is the best of several, so each is allowed a part of the error."""


def folder(workspace: Workspace, study: str) -> Path:
    """Return where the trainings of a study are kept as long as nothing changes that trains or judges them."""
    key = json.dumps([study, code.digest(["din_tune.training"], ["train"])])
    return workspace.tuning / "seeds" / hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FinalRound:
    """Trainings after the search of a study.

    Attributes:
        folder: where the trainings that have ended are kept.
        jobs: how many train at once.
        seconds: how long one training takes, roughly.
        stop_at: when the call should end, in seconds of the monotonic clock. It limits the number of seeds.
    """

    features: Path
    space: Space
    pool: Executor
    folder: Path
    jobs: int
    seconds: float
    stop_at: float

    def against_today(self, ranked: Sequence[tuple[int, Values]]) -> list[Finalist]:
        """Train today's parameters, the first of the result, and the best trials with further seeds.

        Args:
            ranked: numbers and changes of trials, the best first.
        """
        entries: list[tuple[int | None, Values]] = [(None, {}), *ranked[:BEST]]
        all_values = [values for _, values in entries]
        by_seed: list[list[Estimate | None]] = []
        for number in range(1, MOST_SEEDS + 1):
            if number > FEWEST_SEEDS and not self._has_time(all_values, number):
                break
            by_seed.append(self._train(all_values, number))
        columns = list(zip(*by_seed, strict=True))
        return [
            _judged(trial, changes, trained, columns[0])
            for (trial, changes), trained in zip(entries, columns, strict=True)
        ]

    def without_each(self, changes: Values) -> dict[str, float | None]:
        """Return the metric, with the first of the further seeds, if one of the keys has today's value again."""
        others = [{key: value for key, value in changes.items() if key != left_out} for left_out in changes]
        trained = self._train(others, 1)
        return {key: estimate and estimate.value for key, estimate in zip(changes, trained, strict=True)}

    def _has_time(self, all_values: Sequence[Values], number: int) -> bool:
        """Return whether a seed can be trained, and then the winner without each key, before the call should end."""
        missing = sum(not self._path(values, self._seed(number)).exists() for values in all_values)
        keys = max(len(values) for values in all_values)
        rounds = math.ceil(missing / self.jobs) + math.ceil(keys / self.jobs)
        return missing == 0 or time.monotonic() + rounds * self.seconds <= self.stop_at

    def _train(self, all_values: Sequence[Values], number: int) -> list[Estimate | None]:
        seed = self._seed(number)
        print(f"seed {seed}: {len(all_values)} trainings", file=sys.stderr)
        waiting = [
            self.pool.submit(_kept_or_trained, self._path(values, seed), self.features, self.space, values, seed)
            for values in all_values
        ]
        return [future.result() for future in waiting]

    def _seed(self, number: int) -> int:
        return self.space.params.train.learning.seed + number

    def _path(self, values: Values, seed: int) -> Path:
        name = hashlib.sha256(json.dumps([values, seed], sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{name}.npz"


def _kept_or_trained(path: Path, features: Path, space: Space, values: Values, seed: int) -> Estimate | None:
    """Return what a training reached, from its file or after training and keeping it; None if it failed."""
    kept = _read(path)
    if kept is not None:
        return kept
    began = time.monotonic()
    try:
        estimate = run_and_judge(features, space.settings(values, seed))
    except FAILURES as error:
        print(f"a training failed: {error}", file=sys.stderr)
        return None
    with atomic_path(path) as temporary:
        np.savez(
            temporary, value=estimate.value, users=estimate.users, influence=estimate.influence, tells=estimate.tells
        )
    seconds = time.monotonic() - began
    print(f"seed {seed}, {in_a_line(values)}: {estimate.value:.4f}, {seconds:.0f} s", file=sys.stderr)
    return estimate


def _read(path: Path) -> Estimate | None:
    """Return a training that was kept; None if there is none, or if its file is damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path) as arrays:
            return Estimate(float(arrays["value"]), arrays["users"], arrays["influence"], arrays["tells"])
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        print(f"{path}: damaged ({error}); it is trained again", file=sys.stderr)
        return None


def _judged(
    trial: int | None, changes: Values, trained: Sequence[Estimate | None], today: Sequence[Estimate | None]
) -> Finalist:
    """Return a finalist, given its trainings and those of today's parameters with the same seeds."""
    metrics = [estimate.value if estimate and math.isfinite(estimate.value) else None for estimate in trained]
    reached = [metric for metric in metrics if metric is not None]
    finalist = Finalist(trial, changes, metrics, fmean(reached) if len(reached) == len(metrics) else None)
    differences = [new - old for new, old in zip(trained, today, strict=True) if new and old]
    if trial is None or not differences:
        return finalist
    gain = mean(differences)
    width = math.hypot(gain.width(_CONFIDENCE), _width_by_seed([difference.value for difference in differences]))
    if not math.isfinite(width):  # too few users tell, or one seed
        return replace(finalist, gain=gain.value)
    return replace(finalist, gain=gain.value, lower=gain.value - width, upper=gain.value + width)


def _width_by_seed(gains: Sequence[float]) -> float:
    """Return how far the mean gain of other seeds may be from this one, in one direction; NaN for a single seed."""
    if len(gains) < FEWEST_SEEDS:
        return math.nan
    return float(stdtrit(len(gains) - 1, _CONFIDENCE)) * float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
