"""Resampled score pairs: users drawn from a large test set on which two real models were scored, so the truth is known.

The candidate's logits get as much noise as makes it lose a given AUC on the whole set. A pair is the rows of N users
drawn from the set with replacement. A user who is drawn twice counts as two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.warranty.trainings import Pair
from din.document_types import Verdict
from din.gates.delta import margin_of, ruling
from din.metrics import auc
from din.metrics.estimates import Estimate, Metric, difference
from din.metrics.noninferiority import Look, judge, level_of, resolves
from din.params.gate import Gate
from din.registry.looks import View, judged

DAYS = 30


@dataclass(frozen=True)
class Population:
    """All test users of two trained models, with rows [B] ordered by user.

    Attributes:
        starts: the first row of each user, and the end, [U + 1].
    """

    label: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, pair: Pair) -> "Population":
        """Order the rows of a pair by user; the better of the two models becomes the candidate."""
        order = np.argsort(pair.user, kind="stable")
        label, champion, candidate = (column[order] for column in (pair.label, pair.champion, pair.candidate))
        if auc(label, candidate) < auc(label, champion):
            champion, candidate = candidate, champion
        first_rows = np.unique(pair.user[order], return_index=True)[1]
        return cls(label, champion, candidate, np.append(first_rows, len(order)))

    @property
    def difference(self) -> float:
        """The true AUC of the candidate less the champion's."""
        return auc(self.label, self.candidate) - auc(self.label, self.champion)

    def losing(self, loss: float, rng: np.random.Generator) -> "Population":
        """Return the population with a candidate that loses about this much AUC."""
        logit = np.log(self.candidate) - np.log1p(-self.candidate)
        noise = rng.normal(size=len(logit))
        low, high = 0.0, 10.0
        while high - low > 1e-4:
            middle = (low + high) / 2
            if auc(self.label, self.champion) - auc(self.label, logit + middle * noise) < loss:
                low = middle
            else:
                high = middle
        return replace(self, candidate=1 / (1 + np.exp(-(logit + low * noise))))

    def draw(self, users: int, rng: np.random.Generator) -> dict[Metric, Estimate]:
        """Return candidate − champion by both metrics on users drawn with replacement."""
        drawn = rng.integers(len(self.starts) - 1, size=users)
        lengths = np.diff(self.starts)[drawn]
        user = np.repeat(np.arange(users), lengths)
        offset = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(self.starts[drawn], lengths) + offset
        columns = (self.label[rows], self.candidate[rows], self.champion[rows], user)
        metrics: tuple[Metric, ...] = ("auc", "gauc")
        return {metric: difference(metric, *columns) for metric in metrics}


@dataclass(frozen=True)
class Drawn:
    """The verdicts on pairs of one size and one true loss.

    Attributes:
        users: the number of test users.
        loss: the true loss in margins.
        margin: the median margin of AUC.
        verdicts: the verdict on each pair, all metrics together.
        lower_holds: the share of pairs whose lower bound of AUC lies below the truth.
        upper_holds: the share of pairs whose upper bound lies above it.
        excluded: the share of pairs that rule out, if the truth were no difference, what they say they exclude in four
            of five cases.
    """

    users: int
    loss: float
    margin: float
    verdicts: list[Verdict]
    lower_holds: float
    upper_holds: float
    excluded: float

    def share(self, verdict: Verdict) -> float:
        """Return the share of pairs with a verdict."""
        return self.verdicts.count(verdict) / len(self.verdicts)


@dataclass(frozen=True)
class Month:
    """Runs of `DAYS` days against one champion, every day with other users and a candidate of the same true loss.

    Attributes:
        users: the number of test users of a day.
        loss: the true loss in margins.
        opened: the day, from 1, on which each run first opened; None if it never did.
    """

    users: int
    loss: float
    opened: list[int | None]

    def by(self, day: int) -> float:
        """Return the share of runs that had opened by a day."""
        return sum(one is not None and one <= day for one in self.opened) / len(self.opened)


def resample(
    population: Population, users: int, loss: float, limits: Gate, trials: int, rng: np.random.Generator
) -> Drawn:
    """Judge pairs of one size, each as a first look.

    Args:
        population: what to draw from.
        users: the number of users in a pair.
        loss: the true loss in margins of AUC.
        limits: the block `gate`.
        trials: the number of pairs.
        rng: draws noise and users.
    """
    margin = _typical_margin(population, users, limits, rng)
    losing = population.losing(loss * margin, rng)
    truth = losing.difference
    level = 1 - limits.confidence
    first = level_of(1, level)
    verdicts = []
    bounds = []
    excluded = 0
    for _ in range(trials):
        found = losing.draw(users, rng)
        looks: dict[Metric, Look] = {
            metric: judge([one], margin_of(limits, one), 1, level) for metric, one in found.items()
        }
        verdicts.append(together(looks, limits))
        bounds.append(looks["auc"].interval)
        excluded += looks["auc"].interval.lower - truth > -resolves(found["auc"], first)
    return Drawn(
        users=users,
        loss=loss,
        margin=margin,
        verdicts=verdicts,
        lower_holds=float(np.mean([one.lower <= truth for one in bounds])),
        upper_holds=float(np.mean([one.upper >= truth for one in bounds])),
        excluded=excluded / trials,
    )


def repeat(
    population: Population, users: int, loss: float, limits: Gate, trials: int, rng: np.random.Generator
) -> Month:
    """Judge runs of `DAYS` days, in which looks spend and add up as in the gate; arguments as for `resample`."""
    losing = population.losing(loss * _typical_margin(population, users, limits, rng), rng)
    opened = [_first_open(losing, users, limits, rng) for _ in range(trials)]
    return Month(users, loss, opened)


def _first_open(losing: Population, users: int, limits: Gate, rng: np.random.Generator) -> int | None:
    views: dict[Metric, list[View]] = {"auc": [], "gauc": []}
    for day in range(1, DAYS + 1):
        for metric, found in losing.draw(users, rng).items():
            todays = replace(found, users=found.users + day * users)
            views[metric].append(View(frozenset([day]), todays))
        level = 1 - limits.confidence
        looks: dict[Metric, Look] = {
            metric: judged(seen, partial(margin_of, limits), level) for metric, seen in views.items()
        }
        if together(looks, limits) == "open":
            return day
    return None


def together(looks: Mapping[Metric, Look], limits: Gate) -> Verdict:
    """Return the verdict by all metrics: open if all are, closed if any is."""
    verdicts = {ruling(look, metric, limits) for metric, look in looks.items()}
    if verdicts == {"open"}:
        return "open"
    return "closed" if "closed" in verdicts else "borderline"


def _typical_margin(population: Population, users: int, limits: Gate, rng: np.random.Generator) -> float:
    """Return the median margin of AUC for a number of users."""
    return float(np.median([margin_of(limits, population.draw(users, rng)["auc"]) for _ in range(20)]))
