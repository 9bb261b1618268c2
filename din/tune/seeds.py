"""The best trials against today's parameters: trained again with further seeds, and the winner without each key.

A search keeps the luckiest of many trainings, so the metric of its best trial is too high. Further seeds are nobody's
choice. Differences are paired: both sides have the same seeds and the same validation rows.
"""

import math
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from statistics import fmean

from din.metrics.estimates import Estimate, mean
from din.params import Train
from din.tune.result import Candidate
from din.tune.space import Space, Values
from din.tune.study import Budget
from din.tune.training import FAILURES, run_once
from din.workspace import Workspace

SEEDS = 2
"""The largest number of further seeds."""
BEST = 3
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Final:
    """Trainings after the search of a study.

    Attributes:
        workspace: the workspace.
        study: the name of the study.
        space: today's parameters.
        pool: trains.
        budget: of the command.
        seconds: of one training.
    """

    workspace: Workspace
    study: str
    space: Space
    pool: Executor
    budget: Budget
    seconds: float

    def against_today(self, ranked: Sequence[tuple[int, Values]]) -> list[Candidate]:
        """Train today's parameters, the first of the result, and the best trials with further seeds.

        The first seed is always trained, if need be not to the end. More trials and another seed need time.

        Args:
            ranked: numbers and changes of trials, the best first.
        """
        most = next((n for n in range(BEST, 1, -1) if self.budget.permits(SEEDS * (n + 1), self.seconds)), 1)
        candidates: list[tuple[int | None, Values]] = [(None, {}), *ranked[:most]]
        by_seed: list[list[Estimate | None]] = []
        for number in range(1, SEEDS + 1):
            if number == 1 or self.budget.permits(len(candidates), self.seconds):
                by_seed.append(self._train([values for _, values in candidates], number))
        columns = list(zip(*by_seed, strict=True))
        return [
            _judged(trial, changes, trained, columns[0])
            for (trial, changes), trained in zip(candidates, columns, strict=True)
        ]

    def without_each(self, changes: Values) -> dict[str, float]:
        """Return the metric, with the first of the further seeds, if one of the keys has today's value again.

        Keys for which there is no time are left out, the last ones first.
        """
        keys = list(changes)
        while keys and not self.budget.permits(len(keys), self.seconds):
            keys.pop()
        others = [{key: value for key, value in changes.items() if key != left_out} for left_out in keys]
        trained = self._train(others, 1)
        return {key: one.value for key, one in zip(keys, trained, strict=True) if one}

    def _train(self, all_values: Sequence[Values], number: int) -> list[Estimate | None]:
        if not all_values:
            return []
        seed = self.space.params.train.learning.seed + number
        print(f"seed {seed}: {len(all_values)} trainings", file=sys.stderr)
        settings = [self.space.settings(values, seed) for values in all_values]
        seconds = self.budget.seconds_left / self.budget.turns(len(settings))
        waiting = [self.pool.submit(_or_none, self.workspace, self.study, one, seconds) for one in settings]
        return [one.result() for one in waiting]


def _or_none(workspace: Workspace, study: str, settings: Train, seconds: float) -> Estimate | None:
    try:
        return run_once(workspace, study, settings, seconds)
    except FAILURES as error:
        print(f"a training failed: {error}", file=sys.stderr)
        return None


def _judged(
    trial: int | None, changes: Values, trained: Sequence[Estimate | None], today: Sequence[Estimate | None]
) -> Candidate:
    """Return a candidate, given its trainings and those of today's parameters with the same seeds."""
    metrics = [one.value if one and math.isfinite(one.value) else None for one in trained]
    known = [one for one in metrics if one is not None]
    mean_metric = fmean(known) if len(known) == len(metrics) else None
    found = Candidate(trial, changes, metrics, mean_metric)
    differences = [_minus(ours, theirs) for ours, theirs in zip(trained, today, strict=True) if ours and theirs]
    if trial is None or not differences:
        return found
    gain = mean(differences).interval(_CONFIDENCE)
    if math.isnan(gain.lower):  # too few users tell
        return replace(found, gain=gain.point)
    return replace(found, gain=gain.point, lower=gain.lower, upper=gain.upper)


def _minus(ours: Estimate, theirs: Estimate) -> Estimate:
    return Estimate(ours.value - theirs.value, ours.users, ours.influence - theirs.influence, ours.tells)
