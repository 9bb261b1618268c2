"""The best trials against today's parameters: trained again with further seeds, and the winner without each key.

A search keeps the luckiest of many trainings, so the metric of its best trial is too high. Further seeds are nobody's
choice. Differences are paired: both sides have the same seeds and the same validation rows.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from din.metrics.estimates import Estimate, Interval, mean
from din.params import Train
from din.tune.space import Space, Values
from din.tune.training import FAILURES, Trained, run_once
from din.workspace import Workspace

SEEDS = 2
"""The largest number of further seeds."""
BEST = 3
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Candidate:
    """Today's parameters or a trial, with a training for each further seed.

    Attributes:
        trial: its number; None: today's parameters.
        changes: what differs from today's parameters.
        trained: None where the training failed.
    """

    trial: int | None
    changes: Mapping[str, Any]
    trained: Sequence[Trained | None]

    @property
    def metrics(self) -> list[float]:
        """The metric for each seed, lowest possible where the training failed."""
        return [one.estimate.value if one else float("-inf") for one in self.trained]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return fmean(self.metrics)

    def gain(self, today: "Candidate") -> Interval:
        """Return by how much it is better than today's parameters: the mean over seeds, with bounds by user.

        It is not a number if no seed has two trainings that did not fail.
        """
        pairs = [(ours, theirs) for ours, theirs in zip(self.trained, today.trained, strict=True) if ours and theirs]
        differences = [_minus(ours.estimate, theirs.estimate) for ours, theirs in pairs]
        return mean(differences).interval(_CONFIDENCE) if pairs else Interval(math.nan, math.nan, math.nan)


def _minus(ours: Estimate, theirs: Estimate) -> Estimate:
    return Estimate(ours.value - theirs.value, ours.users, ours.influence - theirs.influence, ours.tells)


@dataclass(frozen=True)
class Final:
    """Trainings after the search of a study.

    Attributes:
        permits: whether there is time for a number of whole trainings.
        seconds_for: the seconds that each of a number of trainings may take.
    """

    workspace: Workspace
    study: str
    space: Space
    pool: Executor
    permits: Callable[[int], bool]
    seconds_for: Callable[[int], float]

    def against_today(self, trials: Sequence[tuple[int, Values]]) -> list[Candidate]:
        """Train today's parameters, the first of the result, and the trials with further seeds.

        The first seed is always trained, if need be not to the end, and another one only if there is time.

        Args:
            trials: numbers and changes.
        """
        candidates: list[tuple[int | None, Values]] = [(None, {}), *trials]
        by_seed: list[list[Trained | None]] = []
        for number in range(1, SEEDS + 1):
            if number == 1 or self.permits(len(candidates)):
                by_seed.append(self._train([values for _, values in candidates], number))
        columns = zip(*by_seed, strict=True)
        return [Candidate(*one, trained) for one, trained in zip(candidates, columns, strict=True)]

    def without_each(self, changes: Values, keys: Sequence[str]) -> dict[str, float]:
        """Return the metric, with the first of the further seeds, if one of the keys has today's value again.

        Keys for which there is no time are left out, the last ones first.
        """
        while keys and not self.permits(len(keys)):
            keys = keys[:-1]
        others = [{key: value for key, value in changes.items() if key != left_out} for left_out in keys]
        trained = self._train(others, 1)
        return {key: one.estimate.value for key, one in zip(keys, trained, strict=True) if one}

    def simpler(self, winner: Candidate, without: Mapping[str, float]) -> Candidate:
        """Return the winner without the keys that it does not need, if that is as good, and there is time to try."""
        needless = [key for key, metric in without.items() if metric >= winner.metrics[0]]
        if not needless or not self.permits(len(winner.trained)):
            return winner
        changes = {key: value for key, value in winner.changes.items() if key not in needless}
        trained = [self._train([changes], number)[0] for number in range(1, len(winner.trained) + 1)]
        found = Candidate(winner.trial, changes, trained)
        return found if found.mean >= winner.mean else winner

    def _train(self, all_values: Sequence[Values], number: int) -> list[Trained | None]:
        if not all_values:
            return []
        seed = self.space.params.train.learning.seed + number
        print(f"seed {seed}: {len(all_values)} trainings", file=sys.stderr)
        settings = [self.space.settings(values, seed) for values in all_values]
        seconds = self.seconds_for(len(settings))
        waiting = [self.pool.submit(_or_none, self.workspace, self.study, one, seconds) for one in settings]
        return [one.result() for one in waiting]


def _or_none(workspace: Workspace, study: str, settings: Train, seconds: float) -> Trained | None:
    try:
        return run_once(workspace, study, settings, seconds)
    except FAILURES as error:
        print(f"a training failed: {error}", file=sys.stderr)
        return None
